import Testing

@testable import Checkpoint

struct ElementTests {
    static func file(_ dtype: String, _ patterns: [UInt16]) -> [UInt8] {
        let header =
            #"{"a":{"dtype":"\#(dtype)","shape":[\#(patterns.count)],"data_offsets":[0,\#(2 * patterns.count)]}}"#
        // One space more or less makes the elements aligned or not.
        return safetensors(
            Array((header + " ").utf8), data: patterns.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] })
    }

    /// IEEE half precision by its definition.
    static func half(_ bits: UInt16) -> Double {
        let sign: Double = bits >> 15 == 1 ? -1 : 1
        let exponent = Int(bits >> 10 & 31)
        let fraction = Double(bits & 1023)
        if exponent == 31 { return fraction == 0 ? sign * .infinity : .nan }
        if exponent == 0 { return sign * fraction * 0x1p-24 }
        return sign * (1024 + fraction) * Double(sign: .plus, exponent: exponent - 25, significand: 1)
    }

    @Test func allHalves() throws {
        let patterns = (0...UInt16.max).map { $0 }
        try withFile(Self.file("F16", patterns)) { file in
            for (bits, value) in zip(patterns, try values(file, "a")) {
                let expected = Self.half(bits)
                #expect(
                    expected.isNaN
                        ? value.isNaN : Double(value) == expected && value.sign == (bits >> 15 == 1 ? .minus : .plus))
            }
            try #expect(file.withElements("a") { $0.firstNonFinite } == 0x7c00)  // infinity
            let back = try values(file, "a").map(halfBits)
            for (bits, found) in zip(patterns, back) { #expect(found == (Self.half(bits).isNaN ? 0x7e00 : bits)) }
        }
    }

    @Test func allBrainFloats() throws {
        let patterns = (0...UInt16.max).map { $0 }
        try withFile(Self.file("BF16", patterns)) { file in
            for (bits, value) in zip(patterns, try values(file, "a")) {
                #expect(value.bitPattern == UInt32(bits) << 16)
            }
            try #expect(file.withElements("a") { $0.firstNonFinite } == 0x7f80)
        }
    }

    @Test func roundingToHalf() throws {
        // Ties to even, overflow, underflow, NaN.
        let cases: [(Float, UInt16)] = [
            (1 + 0x1p-11, 0x3c00), (1 + 3 * 0x1p-11, 0x3c02), (65519.996, 0x7bff), (65520, 0x7c00), (-1e30, 0xfc00),
            (0x1p-25, 0), (0x1.8p-24, 2), (0x1.000002p-25, 1), (-0.0, 0x8000), (.nan, 0x7e00), (-Float.nan, 0x7e00),
        ]
        let bytes = try SafetensorsWriter.serialize([.init(name: "a", shape: [cases.count], values: cases.map(\.0))])
        try withFile(bytes) { try #expect(values($0, "a").map(halfBits) == cases.map(\.1)) }
    }

    @Test func speed() throws {
        let patterns = [UInt16](repeating: 0x3c00, count: 1 << 22)
        for dtype in ["F16", "BF16"] {
            try withFile(Self.file(dtype, patterns)) { file in
                var target = [Float](repeating: 0, count: patterns.count)
                let time = try ContinuousClock().measure { try file.withElements("a") { $0.widen(into: &target) } }
                print("\(dtype): 4 Mi elements in \(time)")
            }
        }
    }
}
