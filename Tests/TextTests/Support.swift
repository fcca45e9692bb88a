import Checkpoint
import Kernels
import TestSupport
import Testing

@testable import Text

/// A tokenizer of files in memory.
func tokenizer(_ files: [String: [UInt8]], component: String = "") throws -> CLIPTokenizer {
    let buffers = files.mapValues { bytes in
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        copy.copyBytes(from: bytes)
        return copy
    }
    defer { buffers.values.forEach { $0.deallocate() } }
    return try CLIPTokenizer(.memory(buffers.mapValues { UnsafeRawBufferPointer($0) }), component: component)
}

func tokenizer(_ files: [String: String], component: String = "") throws -> CLIPTokenizer {
    try tokenizer(files.mapValues { Array($0.utf8) }, component: component)
}

/// Tests/Fixtures/tokenizer.json.
struct GoldenTokenizers {
    struct Case {
        let name: String
        let files: [String: String]
        let expected: JSONObject

        /// The ids of each text, or the CRC-32 of many.
        let ids: [JSONValue]
    }

    let texts: [String]
    let cases: [Case]

    init() throws {
        let root = try JSONObject(.disk(fixturesFolder), "tokenizer.json")
        let files = try root.object("files")
        texts = try root.strings("texts")
        cases = try root.objects("cases").map { object in
            let names = try object.object("files")
            var contents: [String: String] = [:]
            for name in names.members.keys { contents[name] = try files.string(names.string(name)) }
            guard case .array(let ids) = object.value("ids") else { throw object.error("ids", expected: "a list") }
            return try Case(name: object.string("name"), files: contents, expected: object, ids: ids)
        }
    }

    /// The files of one case.
    subscript(name: String) -> [String: String] { cases.first { $0.name == name }?.files ?? [:] }
}

func checksum(_ ids: [Int]) -> Int { Int(crc32(ids.map(String.init).joined(separator: " "))) }

/// The bytes of CLIP's smallest vocabulary, without merges but those given; the specials come last.
func smallFiles(merges: [(String, String)] = []) -> [String: String] {
    let symbols = ByteCharacters.all().map { String($0) }
    var tokens = symbols + symbols.map { $0 + "</w>" }
    for (left, right) in merges where !tokens.contains(left + right) { tokens.append(left + right) }
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    let vocabulary = tokens.enumerated().map { (token: $1, id: JSONValue.integer($0)) }
    return [
        "vocab.json": JSONValue.object(Dictionary(uniqueKeysWithValues: vocabulary)).text,
        "merges.txt": "#version: 0.2\n" + merges.map { "\($0) \($1)\n" }.joined(),
    ]
}
