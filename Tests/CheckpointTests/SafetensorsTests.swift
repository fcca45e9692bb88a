import Glibc
import TestSupport
import Testing

@testable import Checkpoint
@testable import Kernels

/// The rules of the format, with the cases that the safetensors library itself tests.
struct SafetensorsTests {
    static let one = #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#

    func entry(_ name: String, _ dtype: String, _ shape: String, _ offsets: String) -> String {
        "\"\(name)\":{\"dtype\":\"\(dtype)\",\"shape\":[\(shape)],\"data_offsets\":[\(offsets)]}"
    }

    func expectRefused(
        _ bytes: [UInt8], _ text: String, kind: MCMError.Kind = .format,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        expectFailure(kind, text, sourceLocation: sourceLocation) { try withFile(bytes) { $0.names } }
    }

    func expectRefused(
        _ header: String, data: Int, _ text: String, kind: MCMError.Kind = .format,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        expectRefused(safetensors(header, data: data), text, kind: kind, sourceLocation: sourceLocation)
    }

    @Test func reads() throws {
        let header =
            "{\"__metadata__\":{\"k\":\"v\"},\(entry("b", "F32", "1,2", "0,8")),\(entry("a", "U8", "3", "8,11"))}"
        let data: [UInt8] = [0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0, 1, 2, 3]  // 1.5 and -2 as floats, then bytes
        try withFile(safetensors(Array(header.utf8), data: data)) { file in
            #expect(file.metadata == ["k": "v"])
            #expect(file.names == ["a", "b"])
            let begin = 8 + header.utf8.count
            #expect(file.info("b") == TensorInfo(dtype: .f32, shape: [1, 2], count: 2, range: begin..<begin + 8))
            #expect(file.info("c") == nil)
            try #expect(values(file, "b") == [1.5, -2])
            expectFailure(.unsupported, #"tensor "a" is U8, expected F32, F16 or BF16"#) { try values(file, "a") }
            expectFailure(.format, #"tensor "c" is missing"#) { try values(file, "c") }
        }
    }

    @Test func whitespaceAroundTheHeader() throws {
        try withFile(safetensors("  \n\t" + Self.one + " \r\n   ", data: 8)) { #expect($0.names == ["a"]) }
    }

    @Test func emptyFileOfNoTensors() throws {
        try withFile(safetensors("{}")) { #expect($0.names.isEmpty) }
    }

    // MARK: Named as in the safetensors library

    @Test func json_attack() {
        // Many tensors that claim the same bytes.
        let entries = (0..<10).map { entry("weight_\($0)", "F32", "2,2", "0,16") }
        expectRefused("{\(entries.joined(separator: ","))}", data: 16, "expected it to begin at 16")
    }

    @Test func metadata_incomplete_buffer() {
        expectRefused(Self.one, data: 7, "there are only 7")
        expectRefused(Self.one, data: 9, "expected the file's end, 9")
        expectRefused("{\(entry("a", "F32", "1", "0,4")),\(entry("b", "F32", "1", "5,9"))}", data: 9, "begin at 4")
    }

    @Test func header_too_large() {
        var bytes = safetensors(Self.one, data: 8)
        bytes.replaceSubrange(0..<8, with: withUnsafeBytes(of: UInt64(100_000_001).littleEndian) { Array($0) })
        expectRefused(bytes, "header length is 100000001")
        bytes.replaceSubrange(0..<8, with: [UInt8](repeating: 0xff, count: 8))
        expectRefused(bytes, "header length is 18446744073709551615")
    }

    @Test func header_too_small() {
        expectRefused([], "has 0 bytes")
        expectRefused([1, 0, 0], "has 3 bytes")
        expectRefused([UInt8](repeating: 0, count: 8), "JSON")
    }

    @Test func invalid_header_length() {
        expectRefused([60, 0, 0, 0, 0, 0, 0, 0], "only 0 bytes follow it")
    }

    @Test func header_non_utf8() {
        expectRefused(safetensors([0xff], data: []), "UTF-8")
        expectRefused(
            safetensors(Array("{\"a\u{301}".utf8) + [0xc3, UInt8(ascii: "\""), UInt8(ascii: "}")], data: []), "UTF-8")
        expectRefused("\u{feff}{}", data: 0, "byte order mark")
        // UTF-16 without a mark is valid UTF-8 full of NULs.
        expectRefused("{\0}\0", data: 0, "no valid JSON at byte 1")
    }

    @Test func header_not_json() {
        for text in [
            "{", "}", "", "   ", "[]", "1", "null", "nan", "{} {}", "{\"a\"}", "{\"a\":}", "{,}", "\"", "{'a':1}",
        ] {
            expectRefused(text, data: 0, "file: ")
        }
        expectRefused("{\(entry("a", "F32", "", "0,4")),}", data: 4, "a comma before the bracket")
        expectRefused(String(repeating: "[", count: 5_000_000), data: 0, "nested deeper")
        expectRefused(String(repeating: "{\"a\":", count: 1_000_000), data: 0, "nested deeper")
    }

    @Test func zero_sized_tensor() throws {
        let header =
            "{\(entry("z", "F32", "2,0", "0,0")),\(entry("a", "F16", "", "0,2")),\(entry("y", "I8", "0", "2,2"))}"
        try withFile(safetensors(header, data: 2)) { file in
            try #expect(values(file, "z") == [])
            try #expect(values(file, "a") == [0])
            #expect(file.info("y")?.shape == [0])
        }
    }

    @Test func invalid_info() {
        expectRefused("{\(entry("a", "F32", "2,2", "0,4"))}", data: 4, "expected 16 bytes for F32 [2, 2]")
        expectRefused("{\(entry("a", "F32", "1", "4,0"))}", data: 4, "begin at 0")
        expectRefused("{\(entry("a", "F32", "1", "0,4,8"))}", data: 4, "data_offsets")
        expectRefused("{\(entry("a", "F32", "1", "0"))}", data: 4, "data_offsets")
        expectRefused("{\(entry("a", "F32", "1", ""))}", data: 4, "data_offsets")
        expectRefused("{\(entry("a", "F32", "-1", "0,4"))}", data: 4, "impossible shape [-1]")
        expectRefused("{\(entry("a", "F32", "1", "-4,0"))}", data: 4, "begin at 0")
        expectRefused("{\(entry("a", "F32", "1.5", "0,4"))}", data: 4, "each an integer")
        expectRefused("{\(entry("a", "F32", "\"1\"", "0,4"))}", data: 4, "shape")
        expectRefused("{\(entry("a", "Q4", "1", "0,4"))}", data: 4, #"unknown dtype "Q4""#, kind: .unsupported)
        expectRefused("{\(entry("a", "F32", "1,1,1,1,1,1,1,1,1", "0,4"))}", data: 4, "9 dimensions")
        expectRefused(#"{"a":{"dtype":"F32","shape":[1]}}"#, data: 4, "data_offsets")
        expectRefused(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}}"#, data: 4, "unknown key")
        expectRefused(#"{"a":4}"#, data: 4, #""a""#)
        expectRefused(#"{"__metadata__":{"a":1}}"#, data: 0, "__metadata__")
        expectRefused(#"{"__metadata__":null}"#, data: 0, "__metadata__")
    }

    @Test func validation_overflow() {
        let big = "9223372036854775807"
        expectRefused("{\(entry("a", "F32", "\(big),2", "0,16"))}", data: 16, "impossible shape")
        expectRefused("{\(entry("a", "F32", big, "0,16"))}", data: 16, "impossible shape")
        expectRefused("{\(entry("a", "F32", "4294967296,4294967296,0", "0,0"))}", data: 0, "impossible shape")
        expectRefused("{\(entry("a", "F32", "18446744073709551616", "0,16"))}", data: 16, "each an integer")
        expectRefused("{\(entry("a", "F32", "4", "0,\(big)"))}", data: 16, "expected 16 bytes")
        expectRefused("{\(entry("a", "U8", big, "0,\(big)"))}", data: 16, "ends at byte")
        expectRefused("{\(entry("a", "F32", "1", "0,1e400"))}", data: 16, "file: ")
    }

    // MARK: More rules

    @Test func duplicateKeys() {
        let a = entry("a", "F32", "", "0,4")
        expectRefused("{\(a),\(a)}", data: 4, "duplicate")
        expectRefused(#"{"__metadata__":{"a":"1","a":"2"}}"#, data: 0, "duplicate")
        expectRefused(#"{"__metadata__":{},"__metadata__":{}}"#, data: 0, "duplicate")
        expectRefused(#"{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}"#, data: 4, "duplicate")
        // One key in two spellings.
        expectRefused("{\(a),\(entry("\\u0061", "F32", "", "4,8"))}", data: 8, "duplicate")
    }

    @Test func colonsInNamesAreNoKeys() throws {
        let header = "{\"__metadata__\":{\"a:\\\"b:\\\\\":\"::\"},\(entry("x:y", "F32", "", "0,4"))}"
        try withFile(safetensors(header, data: 4)) { #expect($0.metadata == ["a:\"b:\\": "::"]) }
    }

    @Test func messagesStayShortAndOnOneLine() {
        let long = String(repeating: "x\\n", count: 10_000)
        expectFailure(.format, "has shape") {
            try withFile(safetensors("{\(entry(long, "F32", "", "0,4"))}", data: 4)) { file in
                let name = file.names[0]
                return try CheckpointSource(file).withElements(name, shape: [3]) { $0.count }
            }
        }
        do {
            try withFile(safetensors("{\(entry(long, "F32", "", "1,5"))}", data: 5)) { _ in }
        } catch {
            #expect("\(error)".utf8.count < 700)
        }
    }

    /// In linear time: about a second of the CPU's, whatever else it does.
    @Test func hundredThousandTensors() throws {
        func cpuSeconds() -> Double {
            var time = timespec()
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
            return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
        }
        let entries = (0..<100_000).map { entry("blocks.\($0).weight", "F32", "1", "\(4 * $0),\(4 * $0 + 4)") }
        let bytes = safetensors("{\(entries.joined(separator: ","))}", data: 400_000)
        let start = cpuSeconds()
        try withFile(bytes) { #expect($0.names.count == 100_000) }
        #expect(cpuSeconds() - start < 30)
    }

    // MARK: Damage

    static func small() throws -> [UInt8] {
        try SafetensorsWriter.serialize(
            [
                .init(name: "conv.weight", shape: [2, 1, 2], values: [1, 2, 3, 4]),
                .init(name: "conv.bias", shape: [2], dtype: .f16, values: [5, 6]),
            ], metadata: ["format": "pt"])
    }

    @Test func everyTruncation() throws {
        let bytes = try Self.small()
        for count in 0..<bytes.count {
            expectFailure(.format, "file: ") { try withFile(Array(bytes.prefix(count))) { _ in } }
        }
        expectFailure(.format, "file's end") { try withFile(bytes + [0]) { _ in } }
    }

    @Test func randomDamage() throws {
        let good = try Self.small()
        var random = SystemRandomNumberGenerator()
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] =
                    Bool.random(using: &random)
                    ? .random(in: 0...255) : Array(#"{}[]":,0123456789-e"#.utf8).randomElement()!
            }
            do {
                try withFile(bytes) { file in
                    accepted += 1
                    for name in file.names where file.info(name)?.dtype.isReadable == true {
                        _ = try values(file, name)
                    }
                }
            } catch {
                #expect(error is MCMError)
            }
        }
        #expect(accepted < 20_000)
    }
}
