import TestSupport
import Testing

@testable import Checkpoint
@testable import Kernels

struct JSONTests {
    func parse(_ text: String) throws -> JSONValue { try JSONValue(parsing: text, name: "text") }
    func object(_ text: String) throws -> JSONObject { try JSONObject(parse(text), name: "unet/config.json") }

    @Test func parsing() throws {
        let value = try parse(#" {"a": [null, true, 1, -2.0, 2.5, 1e3, "x\né😀", {}, []], "b": {"c": false}} "#)
        #expect(
            value
                == .object([
                    "a": .array([
                        .null, .bool(true), .integer(1), .integer(-2), .number(2.5), .integer(1000), .string("x\né😀"),
                        .object([:]), .array([]),
                    ]), "b": .object(["c": .bool(false)]),
                ]))
        try #expect(parse("9223372036854775807") == .integer(.max))
        try #expect(parse("9223372036854775808") == .number(0x1p63))
        try #expect(parse("\"1\"") == .string("1"))
    }

    @Test func refused() {
        for text in [
            "", "{", "{\"a\":NaN}", "[Infinity]", "-Infinity", "1e400", "[1,]", "{\"a\":1,}", "01", "+1", ".5", "1.",
            "0x10", "// c\n1", "'a'", "tru", "[1 2]", "{\"a\" 1}", "\"\\ud800\"", "\"\t\"", "1 2", "\u{feff}1", "1\0",
        ] {
            expectFailure(.format, "text: ") { try parse(text) }
        }
        expectFailure(.format, "no duplicate of the key \"a\"") { try parse(#"{"a":1,"a":1}"#) }
        expectFailure(.format, "duplicate") { try parse(#"[{"b":{"a":1,"\u0061":1}}]"#) }
        #expect(throws: Never.self) { try parse(String(repeating: "[", count: 16) + String(repeating: "]", count: 16)) }
        expectFailure(.format, "nested deeper than 16") {
            try parse(String(repeating: "[", count: 17) + String(repeating: "]", count: 17))
        }
        expectFailure(.format, "nested deeper") { try parse(String(repeating: "[", count: 1_000_000)) }
    }

    @Test func values() throws {
        let config = try object(
            #"""
            {"i": 3, "f": 2.0, "d": 1e-5, "s": "silu", "t": true, "n": null, "l": [1, 2.0], "w": ["a", "b"],
             "o": {"x": 1}, "p": [{"y": 2}]}
            """#)
        try #expect(config.int("i") == 3)
        try #expect(config.int("f") == 2)
        try #expect(config.int("none", default: 7) == 7)
        try #expect(config.optionalInt("n") == nil)
        try #expect(config.optionalInt("none") == nil)
        try #expect(config.optionalInt("i") == 3)
        try #expect(config.double("d") == 1e-5)
        try #expect(config.double("i", in: 0...3) == 3)
        try #expect(config.bool("t"))
        try #expect(config.string("s", oneOf: ["silu", "mish"]) == "silu")
        try #expect(config.ints("l", count: 2...2) == [1, 2])
        try #expect(config.strings("w") == ["a", "b"])
        try #expect(config.object("o").int("x") == 1)
        try #expect(config.objects("p").map { try $0.int("y") } == [2])
        #expect(config.value("n") == .null)
        #expect(config.has("i") && !config.has("n") && !config.has("none"))
    }

    @Test func messages() throws {
        let config = try object(
            #"{"layers_per_block": "two", "n": null, "l": [1, "x"], "d": 1.5, "big": 1e300, "o": {"x": []}, "p": [{}]}"#
        )
        func expect(_ message: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Any?) {
            expectFailure(.format, message, sourceLocation: sourceLocation, body)
        }
        expect(#"unet/config.json: "layers_per_block" is "two", expected an integer >= 1"#) {
            try config.int("layers_per_block", in: 1 ... .max)
        }
        expect(#""none" is missing, expected true or false"#) { try config.bool("none") }
        expect(#""n" is null, expected a number"#) { try config.double("n", default: 1) }
        expect(#""l" is [1, "x"], expected a list of elements, each an integer from 1 to 9"#) {
            try config.ints("l", in: 1...9)
        }
        expect(#"expected a list of 3 elements, each a string"#) { try config.strings("l", count: 3...3) }
        expect(#""d" is 1.5, expected an integer"#) { try config.int("d") }
        expect(#""d" is 1.5, expected a number from 0.0 to 1.0"#) { try config.double("d", in: 0...1) }
        expect(#""big" is 1e+300, expected an integer"#) { try config.int("big") }
        expect(#"expected "silu" or "mish""#) { try config.string("layers_per_block", oneOf: ["silu", "mish"]) }
        expect(#"unet/config.json: "o": "x" is [], expected a string"#) { try config.object("o").string("x") }
        expect(#"unet/config.json: "p"[0]: "y" is missing"#) { try config.objects("p")[0].int("y") }
    }

    @Test func unknownKeys() throws {
        let config = try object(#"{"_class_name": "UNet2DModel", "a": 1, "b": null, "c": 3, "d": [4]}"#)
        _ = try config.int("a")
        #expect(config.unreadKeys == ["b", "c", "d"])
        expectFailure(.unsupported, #"unet/config.json: the option "d" = [4] is not known"#) {
            try config.rejectUnknown(harmless: ["c"])
        }
        _ = config.value("d")
        try config.rejectUnknown(harmless: ["c"])
    }

    @Test func randomDamage() throws {
        let good = Array(#"{"sample_size": 32, "down": ["A", "B"], "eps": 1e-05, "x": {"y": [null, true, -1.5]}}"#.utf8)
        for _ in 0..<5000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3) { bytes[Int.random(in: 0..<bytes.count)] = .random(in: 0...255) }
            do {
                _ = try bytes.withUnsafeBytes { try JSONValue(parsing: $0, name: "text") }
            } catch {
                #expect(error is MCMError)
            }
        }
    }
}
