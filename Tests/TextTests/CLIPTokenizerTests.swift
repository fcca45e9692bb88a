import Checkpoint
import Kernels
import TestSupport
import Testing

@testable import Text

struct CLIPTokenizerTests {
    /// transformers' ids for every text, by every kind of files.
    @Test func golden() throws {
        let golden = try GoldenTokenizers()
        #expect(golden.cases.count >= 9 && golden.texts.count > 300)
        for expected in golden.cases {
            let tokenizer = try tokenizer(expected.files)
            try #expect(tokenizer.startID == expected.expected.int("start"), "\(expected.name)")
            try #expect(tokenizer.endID == expected.expected.int("end"), "\(expected.name)")
            try #expect(tokenizer.paddingID == expected.expected.int("padding"), "\(expected.name)")
            try #expect(tokenizer.maximumLength == expected.expected.int("length"), "\(expected.name)")
            for (text, ids) in zip(golden.texts, expected.ids) {
                let found = tokenizer.encode(text)
                let same = ids == .array(found.map { .integer($0) }) || ids == .integer(checksum(found))
                #expect(same, "\(expected.name): \(JSONValue.string(text)) gives \(found), not \(ids.text)")
            }
            var framed: [Int] = []
            for text in golden.texts {
                let (ids, isTruncated) = try tokenizer.encode(text, length: nil)
                #expect(ids.count == tokenizer.maximumLength)
                #expect(isTruncated == (tokenizer.encode(text).count > tokenizer.maximumLength - 2))
                framed += ids
            }
            try #expect(checksum(framed) == expected.expected.int("framed"), "\(expected.name)")
            let decoded = try expected.expected.strings("decoded")
            for (text, decoded) in zip(golden.texts, decoded) {
                #expect(tokenizer.decode(tokenizer.encode(text)) == decoded, "\(expected.name)")
            }
        }
    }

    /// CLIP's own, which needs no files, with the padding of OpenAI's models and of OpenCLIP's.
    @Test func standard() throws {
        let texts = try GoldenTokenizers().texts
        for golden in try JSONObject(.disk(fixturesFolder), "clip_tokenizer.json").objects("cases", count: 2...2) {
            let padding = try golden.string("padding")
            guard case .array(let expected) = golden.value("ids") else { throw golden.error("ids", expected: "a list") }
            try #require(expected.count == texts.count)
            let tokenizer = try CLIPTokenizer.standard(padding: padding)
            #expect(tokenizer.startID == 49406 && tokenizer.endID == 49407 && tokenizer.idCount == 49408)
            #expect(tokenizer.paddingID == (padding == "!" ? 0 : 49407) && tokenizer.maximumLength == 77)
            for (text, ids) in zip(texts, expected) {
                let found = tokenizer.encode(text)
                let same = ids == .array(found.map { .integer($0) }) || ids == .integer(checksum(found))
                #expect(same, "\(JSONValue.string(text)) gives \(found), not \(ids.text)")
            }
            let framed = try texts.flatMap { try tokenizer.encode($0, length: nil).ids }
            try #expect(checksum(framed) == golden.int("framed"))
        }
    }

    /// The golden case with every ids written out, so that a difference is readable.
    @Test func frames() throws {
        let tokenizer = try tokenizer(smallFiles(merges: [("h", "i</w>")]))
        #expect(tokenizer.encode("Hi a") == [512, 353])
        #expect(tokenizer.encode("") == [])
        #expect(tokenizer.idCount == 515)
        let framed = try tokenizer.encode("Hi a", length: 6)
        #expect(framed.ids == [513, 512, 353, 514, 514, 514] && !framed.isTruncated)
        let cut = try tokenizer.encode("hi hi hi", length: 4)
        #expect(cut.ids == [513, 512, 512, 514] && cut.isTruncated)
        try #expect(tokenizer.encode("hi", length: 2).ids == [513, 514])
        try #expect(tokenizer.encode("", length: nil).ids.count == 77)
        for length in [Int.min, -1, 0, 1, 100_001, .max] {
            expectFailure(.invalidArgument, "length is \(length), expected 2 to") {
                try tokenizer.encode("hi", length: length)
            }
        }
        #expect(tokenizer.decode([512, -5, 353, 9999, 514]) == "hi a <|endoftext|>")
    }

    /// The heap of merges against the plain definition, also for merges in an order that no training gives.
    @Test func mergesInOrderOfRank() throws {
        var generator = SystemRandomNumberGenerator()
        let letters = ["a", "b", "c", "a</w>", "b</w>", "c</w>"]
        for _ in 0..<40 {
            var tokens = letters
            var merges: [(String, String)] = []
            for _ in 0..<25 {
                guard let left = tokens.randomElement(using: &generator), !left.hasSuffix("</w>"),
                    let right = tokens.randomElement(using: &generator),
                    !merges.contains(where: { $0 == (left, right) }), (left + right).utf8.count < 14
                else { continue }
                merges.append((left, right))
                if !tokens.contains(left + right) { tokens.append(left + right) }
            }
            merges.shuffle()
            let tokenizer = try tokenizer(smallFiles(merges: merges))
            for _ in 0..<20 {
                let word = String((0..<Int.random(in: 1...30)).map { _ in "abc".randomElement() ?? "a" })
                var symbols = word.map(String.init)
                symbols[symbols.count - 1] += "</w>"
                func rank(_ i: Int) -> Int? { merges.firstIndex { $0 == (symbols[i], symbols[i + 1]) } }
                while let best = (0..<symbols.count - 1).compactMap({ i in rank(i).map { ($0, i) } }).min(by: <) {
                    symbols[best.1] += symbols.remove(at: best.1 + 1)
                }
                let reference = symbols.map { tokenizer.encode(token: $0) }
                #expect(tokenizer.encode(word) == reference, "\(word) \(merges)")
            }
        }
    }

    @Test func folders() throws {
        let files = smallFiles()
        let moved = Dictionary(uniqueKeysWithValues: files.map { ("tokenizer_2/" + $0, $1) })
        try #expect(tokenizer(moved, component: "tokenizer_2").encode("a") == [353])
        expectFailure(.io, "tokenizer/vocab.json") { try tokenizer(files, component: "tokenizer") }
        expectFailure(.io, "merges.txt") { try tokenizer(["vocab.json": files["vocab.json"] ?? ""]) }
        expectFailure(.format, "") { try tokenizer(files, component: "../x") }
    }
}

extension CLIPTokenizer {
    /// The id of a token that is known to exist.
    fileprivate func encode(token: String) -> Int { vocabulary.ids[token] ?? -1 }
}
