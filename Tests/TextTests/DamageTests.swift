import Checkpoint
import Kernels
import TestSupport
import Testing

@testable import Text

/// Files that are wrong give one line of error, and never a trap.
struct DamageTests {
    let good = smallFiles(merges: [("a", "b"), ("ab", "c</w>")])

    func expectRefused(
        _ file: String, _ contents: String?, _ message: String, kind: MCMError.Kind = .format,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        var files = good
        files[file] = contents
        expectFailure(kind, message, sourceLocation: sourceLocation) { try tokenizer(files) }
    }

    @Test func vocabulary() throws {
        let text = good["vocab.json"] ?? ""
        func replacing(_ part: String, _ other: String) throws -> String {
            let parts = text.split(separator: part, omittingEmptySubsequences: false)
            try #require(parts.count == 2)
            return parts.joined(separator: other)
        }
        expectRefused("vocab.json", "", "vocab.json: is no valid JSON")
        expectRefused("vocab.json", "[1]", "vocab.json: is [1], expected an object")
        expectRefused("vocab.json", "{}", "vocab.json: has no special token")
        for id in ["-1", "1.5", "\"1\"", "null", "10000000", "1e300", "[]", "true"] {
            expectRefused("vocab.json", try replacing("\"ab\":512", "\"ab\":\(id)"), "expected an integer from 0 to")
        }
        expectRefused(
            "vocab.json", try replacing("\"ab\":512", "\"ab\":0"), "\"ab\" and \"Ā\" both have the id 0")
        expectRefused("vocab.json", try replacing("\"ab\":512", "\"ab\":512,\"ab\":512"), "duplicate")
        expectRefused("vocab.json", try replacing("\"ab\":512", "\"ab\":512,\"xyz\":900"), "makes the token \"xyz\"")
        for special in ["start", "end"] {
            let other = try replacing("\"<|\(special)oftext|>\"", "\"q\(special)\"")
            expectRefused("vocab.json", other, "has no special token \"<|\(special)oftext|>\"")
        }
    }

    @Test func merges() throws {
        expectRefused("merges.txt", "", "line 1 is \"\", expected \"#version: 0.2\"")
        expectRefused("merges.txt", "#version: 0.3\na b\nab c</w>\n", "line 1 is \"#version: 0.3\"")
        expectRefused("merges.txt", "a b\nab c</w>\n", "line 1 is \"a b\"")
        expectRefused("merges.txt", "#version: 0.2\nab c</w>\n", "merges.txt: has no merge that makes the token \"ab\"")
        expectRefused("merges.txt", "#version: 0.2\na b\nab zz\n", "merge 2, \"ab zz\", needs the token \"zz\"")
        expectRefused("merges.txt", "#version: 0.2\na b\nb a\n", "needs the token \"ba\"")
        for line in ["a", "a b c", "a  b", " a b", "a b ", "", "a\tb"] {
            expectRefused(
                "merges.txt", "#version: 0.2\n\(line)\nab c</w>\n",
                "line 2 is \(JSONValue.string(line)), expected two tokens")
        }
        var files = good.mapValues { Array($0.utf8) }
        files["merges.txt"]?.append(0xff)
        expectFailure(.format, "merges.txt: is no UTF-8") { try tokenizer(files) }
        // With or without a last line feed, and with those of another system.
        for text in ["#version: 0.2\na b\nab c</w>", "#version: 0.2\r\na b\r\nab c</w>\r\n"] {
            files["merges.txt"] = Array(text.utf8)
            try #expect(tokenizer(files).encode("abc") == [513])
        }
    }

    @Test func configs() throws {
        let config = "tokenizer_config.json"
        expectRefused(config, "{", config)
        expectRefused(config, #"{"model_max_length": 1}"#, "\"model_max_length\" is 1, expected an integer >= 2")
        expectRefused(config, #"{"model_max_length": "77"}"#, "expected an integer")
        expectRefused(config, #"{"padding_side": "left"}"#, "\"padding_side\" is \"left\", expected \"right\"")
        expectRefused(config, #"{"pad_token": 3}"#, "\"pad_token\" is 3, expected a token")
        expectRefused(config, #"{"pad_token": ""}"#, "expected a token")
        expectRefused(config, #"{"pad_token": {"content": ""}}"#, "expected a token")
        expectRefused(config, #"{"pad_token": {}}"#, "\"content\" is missing")
        expectRefused(
            config, #"{"pad_token": {"content": "a", "lstrip": 1}}"#, "\"lstrip\" is 1, expected true or false")
        expectRefused(config, #"{"pad_token": "[PAD]"}"#, "has no special token \"[PAD]\"")
        expectRefused(config, #"{"added_tokens_decoder": {"x": "a"}}"#, "the key \"x\" is no id")
        expectRefused(config, #"{"added_tokens_decoder": {"-1": "a"}}"#, "the key \"-1\" is no id")
        expectRefused(
            config, #"{"added_tokens_decoder": {"7": {"content": "<new>"}}}"#,
            "the added token \"<new>\" has the id 7, expected 516")
        expectRefused(
            config, #"{"added_tokens_decoder": {"7": {"content": "<|endoftext|>"}}}"#,
            "has the id 7, expected 515")
        expectRefused("special_tokens_map.json", #"{"bos_token": []}"#, "\"bos_token\" is [], expected a token")
        expectRefused("added_tokens.json", #"{"<new>": "516"}"#, "expected an integer")
        for length in ["1e30", "1000000000000000019884624838656", "9007199254740993", "null"] {
            var files = good
            files[config] = "{\"model_max_length\": \(length)}"
            try #expect(tokenizer(files).maximumLength == 77)
        }
    }

    @Test func tokenizerJSON() {
        let name = "tokenizer.json"
        expectRefused(name, "{}", "tokenizer.json: \"model\" is missing")
        expectRefused(name, #"{"model": {"type": "Unigram"}}"#, "\"type\" is \"Unigram\", expected \"BPE\"")
        expectRefused(name, #"{"model": {"end_of_word_suffix": ""}}"#, "\"end_of_word_suffix\" is \"\"")
        let model = #""end_of_word_suffix": "</w>", "vocab": {"a": 0, "b": 1, "ab": 2}"#
        expectRefused(name, "{\"model\": {\(model)}}", "\"merges\" is missing")
        for merge in ["1", "\"ab\"", "[\"a\"]", "[\"a\", 1]", "[]"] {
            expectRefused(name, "{\"model\": {\(model), \"merges\": [\(merge)]}}", "expected two tokens")
        }
        expectRefused(name, "{\"model\": {\(model), \"merges\": [\"a b\"]}}", "has no special token")
    }

    /// Every kind of files, damaged at random: cut, with other bytes, with bytes left out or doubled.
    @Test func random() throws {
        let golden = try GoldenTokenizers()
        for name in ["tokenizer.json", "no config", "added", "sd1"] {
            let good = golden[name].mapValues { Array($0.utf8) }
            for _ in 0..<150 {
                var files = good
                guard let file = files.keys.randomElement(), var bytes = files[file] else { continue }
                for _ in 0..<Int.random(in: 1...3) where !bytes.isEmpty {
                    let position = Int.random(in: 0..<bytes.count)
                    switch Int.random(in: 0..<6) {
                    case 0: bytes.removeSubrange(position...)
                    case 1: bytes.remove(at: position)
                    case 2: bytes.insert(bytes[position], at: position)
                    case 3: bytes[position] = .random(in: 0x20...0x7e)
                    case 4: bytes[position] ^= UInt8(1) << UInt8.random(in: 0..<8)
                    default: bytes[position] = .random(in: 0...255)
                    }
                }
                files[file] = bytes
                do {
                    let tokenizer = try tokenizer(files)
                    let ids = tokenizer.encode("A photo of a cat, isn't it? Ünïcödé 猫 <|endoftext|>\0")
                    #expect(ids.allSatisfy { (0..<tokenizer.idCount).contains($0) })
                    _ = tokenizer.decode(ids)
                } catch let error as MCMError {
                    #expect(!error.message.contains { $0.isNewline }, "\(error)")
                } catch {
                    Issue.record("threw \(error)")
                }
            }
        }
    }

    /// Any scalars at all are text.
    @Test func randomTexts() throws {
        let golden = try GoldenTokenizers()
        let tokenizer = try tokenizer(golden["added"])
        for _ in 0..<300 {
            var text = String.UnicodeScalarView()
            for _ in 0..<Int.random(in: 0...60) {
                let limit: UInt32 = [0x80, 0x800, 0x10000, 0x110000].randomElement() ?? 0x80
                if let scalar = Unicode.Scalar(.random(in: 0..<limit)) { text.append(scalar) }
            }
            let ids = tokenizer.encode(String(text))
            #expect(ids.allSatisfy { (0..<tokenizer.idCount).contains($0) })
            _ = PromptWeights(parsing: String(text))
        }
    }
}
