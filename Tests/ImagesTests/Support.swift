import Glibc
import Kernels
import Testing

@testable import Images

/// A PNG put together by hand, without compression.
struct RawPNG {
    var width: Int
    var height: Int
    var depth: UInt8 = 8
    /// 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA.
    var colour: UInt8 = 0
    /// Packed rows without filter bytes.
    var rows: [[UInt8]]
    /// Chunks between IHDR and IDAT.
    var extra: [(String, [UInt8])] = []

    var bytes: [UInt8] {
        let filtered: [UInt8] = rows.flatMap { row -> [UInt8] in [0] + row }
        var stream: [UInt8] = [0x78, 0x01]
        for start in stride(from: 0, to: max(filtered.count, 1), by: 65535) {
            let block = filtered[start..<min(start + 65535, filtered.count)]
            let size = UInt16(block.count)
            stream.append(start + 65535 >= filtered.count ? 1 : 0)
            for half in [size, ~size] { stream += [UInt8(half & 255), UInt8(half >> 8)] }
            stream += block
        }
        var (a, b): (UInt32, UInt32) = (1, 0)
        for byte in filtered {
            a = (a + UInt32(byte)) % 65521
            b = (b + a) % 65521
        }
        stream += Self.big(b << 16 | a)
        let header = Self.big(UInt32(width)) + Self.big(UInt32(height)) + [depth, colour, 0, 0, 0]
        let chunks = [("IHDR", header)] + extra + [("IDAT", stream), ("IEND", [])]
        let signature: [UInt8] = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]
        return chunks.reduce(signature) { $0 + Self.chunk($1.0, $1.1) }
    }

    static func chunk(_ type: String, _ data: [UInt8]) -> [UInt8] {
        let body = Array(type.utf8) + data
        return big(UInt32(data.count)) + body + big(crc(body))
    }

    static func big(_ value: UInt32) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }

    private static func crc(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~0) { crc, byte in
            (0..<8).reduce(crc ^ UInt32(byte)) { value, _ in value & 1 == 1 ? 0xedb8_8320 ^ value >> 1 : value >> 1 }
        }
    }
}

func read(_ bytes: [UInt8], as form: PNG.Form = .asStored) throws -> PixelImage {
    try bytes.withUnsafeBytes { try PNG.read($0, as: form, name: "png") }
}

func header(_ bytes: [UInt8]) throws -> PNGHeader {
    try bytes.withUnsafeBytes { try PNG.header($0, name: "png") }
}
