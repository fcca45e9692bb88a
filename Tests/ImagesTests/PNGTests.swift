import Glibc
import Kernels
import TestSupport
import Testing

@testable import Images

struct PNGTests {
    static let ramp = RawPNG(width: 256, height: 1, rows: [Array(0...255)])
    static let rgb = RawPNG(width: 2, height: 2, colour: 2, rows: [[1, 2, 3, 4, 5, 6], [7, 8, 9, 250, 251, 252]])

    @Test func grey() throws {
        let image = try read(Self.ramp.bytes)
        #expect(image == (try PixelImage(width: 256, height: 1, channels: 1, pixels: Array(0...255))))
        try #expect(read(Self.ramp.bytes, as: .grey) == image)
        try #expect(read(Self.ramp.bytes, as: .opaque) == image)
    }

    @Test func colour() throws {
        let pixels = Self.rgb.rows.flatMap { $0 }
        try #expect(read(Self.rgb.bytes) == PixelImage(width: 2, height: 2, channels: 3, pixels: pixels))
        try #expect(read(Self.rgb.bytes, as: .opaque).pixels == pixels)
        expectFailure(.unsupported, "png: is RGB, expected an 8-bit greyscale PNG") {
            try read(Self.rgb.bytes, as: .grey)
        }

        let rgba = RawPNG(width: 2, height: 1, colour: 6, rows: [[1, 2, 3, 0, 5, 6, 7, 128]])
        try #expect(read(rgba.bytes) == PixelImage(width: 2, height: 1, channels: 4, pixels: rgba.rows[0]))
        expectFailure(.unsupported, "with alpha") { try read(rgba.bytes, as: .opaque) }
        expectFailure(.unsupported, "greyscale PNG") { try read(rgba.bytes, as: .grey) }
    }

    @Test func palette() throws {
        var png = RawPNG(
            width: 4, height: 1, depth: 2, colour: 3, rows: [[0b00_01_10_01]],
            extra: [("PLTE", [10, 20, 30, 40, 50, 60, 70, 80, 90])])
        let pixels: [UInt8] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 40, 50, 60]
        try #expect(header(png.bytes).channels == 3)
        try #expect(read(png.bytes).pixels == pixels)
        try #expect(read(png.bytes, as: .opaque).pixels == pixels)
        expectFailure(.unsupported, "a palette PNG, expected an 8-bit greyscale PNG") { try read(png.bytes, as: .grey) }

        png.extra.append(("tRNS", [255, 7]))
        try #expect(header(png.bytes).channels == 4)
        try #expect(read(png.bytes).pixels == [10, 20, 30, 255, 40, 50, 60, 7, 70, 80, 90, 255, 40, 50, 60, 7])
        expectFailure(.unsupported, "with alpha") { try read(png.bytes, as: .opaque) }

        png.extra = []
        expectFailure(.format, "png: ") { try read(png.bytes) }  // no PLTE
    }

    /// Chunks that a colour-managed reader would apply must not change a stored value.
    @Test func colourChunksAreIgnored() throws {
        let chunks: [(String, [UInt8])] = [
            ("gAMA", RawPNG.big(100_000)), ("gAMA", RawPNG.big(22_000)), ("sRGB", [1]),
            (
                "cHRM",
                [31270, 32900, 30000, 60000, 64000, 33000, 15000, 6000].flatMap { RawPNG.big($0) }
            ), ("tRNS", [0, 5]), ("tEXt", Array("k\0v".utf8)), ("iCCP", Array("x\0\0junk".utf8)), ("sBIT", [3]),
        ]
        let stored = try read(Self.ramp.bytes)
        for chunk in chunks {
            var png = Self.ramp
            png.extra = [chunk]
            try #expect(read(png.bytes) == stored, "\(chunk.0)")
            try #expect(read(png.bytes, as: .opaque) == stored, "\(chunk.0)")
            guard chunk.0 != "tRNS" else { continue }
            var colour = Self.rgb
            colour.extra = [chunk]
            try #expect(read(colour.bytes).pixels == Self.rgb.rows.flatMap { $0 }, "\(chunk.0)")
        }
    }

    @Test func refusedKinds() {
        let cases: [(RawPNG, String)] = [
            (RawPNG(width: 1, height: 1, depth: 16, rows: [[0, 0]]), "has 16 bits per channel, expected 8"),
            (RawPNG(width: 1, height: 1, depth: 16, colour: 2, rows: [[0, 0, 0, 0, 0, 0]]), "16 bits"),
            (RawPNG(width: 8, height: 1, depth: 1, rows: [[5]]), "has 1 bits per channel, expected 8"),
            (RawPNG(width: 2, height: 1, depth: 4, rows: [[5]]), "has 4 bits per channel"),
            (RawPNG(width: 1, height: 1, colour: 4, rows: [[0, 0]]), "greyscale with alpha"),
            (RawPNG(width: 100_000, height: 100_000, rows: [[]]), "is 100000 x 100000 pixels"),
            (RawPNG(width: 65536, height: 65536, rows: [[]]), "at most 67108864 pixels"),
            (RawPNG(width: 65537, height: 1, rows: [[]]), "65537"),
            (RawPNG(width: 0x7fff_ffff, height: 0x7fff_ffff, rows: [[]]), "2147483647"),
            (RawPNG(width: 0xffff_ffff, height: 1, rows: [[]]), "4294967295"),
            (RawPNG(width: 1, height: 1, rows: [[0]], extra: [("ABCD", [])]), "unknown critical"),
        ]
        for (png, text) in cases { expectFailure(.unsupported, text) { try header(png.bytes) } }
        let broken: [(RawPNG, String)] = [
            (RawPNG(width: 0, height: 1, rows: [[]]), "is 0 x 1 pixels"),
            (RawPNG(width: 1, height: 1, depth: 3, rows: [[0]]), "no PNG has"),
            (RawPNG(width: 1, height: 1, colour: 1, rows: [[0]]), "no PNG has"),
        ]
        for (png, text) in broken { expectFailure(.format, text) { try header(png.bytes) } }
    }

    @Test func damaged() throws {
        let good = Self.rgb.bytes
        let image = try read(good)
        for count in 0..<good.count { expectFailure(.format, "png: ") { try read(Array(good.prefix(count))) } }
        // A CRC guards all but lengths, the signature and the last chunk, which carries no pixels.
        for index in good.indices {
            for flip: UInt8 in [0x01, 0x20, 0x80, 0xff] {
                var bytes = good
                bytes[index] ^= flip
                do {
                    try #expect(read(bytes) == image)
                    #expect(index >= good.count - 4, "byte \(index)")
                } catch {
                    #expect((error as? MCMError)?.message.hasPrefix("png: ") == true)
                }
            }
        }
        for _ in 0..<3000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...6) { bytes[Int.random(in: 0..<bytes.count)] = .random(in: 0...255) }
            do { _ = try read(bytes) } catch { #expect(error is MCMError) }
        }
        expectFailure(.format, "PNG signature") { try read(Array("GIF89a, which is no PNG".utf8)) }
        expectFailure(.format, "PNG signature") { try read([]) }

        var short = Self.rgb
        short.rows.removeLast()
        expectFailure(.format, "png: ") { try read(short.bytes) }
        var twice = Self.rgb
        twice.extra = [("IHDR", Array(good[16..<29]))]
        expectFailure(.format, "png: ") { try read(twice.bytes) }
    }

    @Test func roundTrip() throws {
        let path = "/tmp/mcm-test-\(getpid())-\(UInt32.random(in: 0 ... .max)).png"
        defer { unlink(path) }
        for channels in [1, 3, 4] {
            // Wide enough for several rows of padding in the view that is written.
            let pixels = (0..<7 * 5 * channels).map { _ in UInt8.random(in: 0...255) }
            let image = try PixelImage(width: 7, height: 5, channels: channels, pixels: pixels)
            try PNG.write(image, to: path)
            try #expect(PNG.read(path: path) == image)
            let header = try PNG.header(path: path)
            #expect((header.width, header.height, header.channels) == (7, 5, channels))

            let stride = 7 * channels + 3
            var padded: [UInt8] = []
            for y in 0..<5 { padded += pixels[y * (stride - 3)..<(y + 1) * (stride - 3)] + [9, 9, 9] }
            try padded.withUnsafeBytes { bytes in
                let view = try ImageView(
                    data: #require(bytes.baseAddress), dtype: .u8, width: 7, height: 5, channels: channels,
                    rowStride: stride, name: "view")
                try PNG.write(view, to: path)
            }
            try #expect(PNG.read(path: path) == image)
        }
    }

    @Test func files() throws {
        expectFailure(.io, "/tmp/none.png: No such file or directory") { try PNG.read(path: "/tmp/none.png") }
        expectFailure(.io, "no regular file") { try PNG.read(path: "/tmp") }
        expectFailure(.io, "no regular file") { try PNG.header(path: "/dev/zero") }
        let image = try PixelImage(width: 1, height: 1, channels: 1, pixels: [3])
        expectFailure(.io, "/none/x.png: ") { try PNG.write(image, to: "/none/x.png") }
        // libpng's own file writer would delete the device.
        var device = stat()
        if stat("/dev/full", &device) == 0, device.st_mode & S_IFMT == S_IFCHR {
            expectFailure(.io, "/dev/full: ") { try PNG.write(image, to: "/dev/full") }
            #expect(stat("/dev/full", &device) == 0)
        }
        let pixel: [Float] = [0.5]
        try pixel.withUnsafeBytes { bytes in
            let view = try ImageView(
                data: #require(bytes.baseAddress), dtype: .f32, width: 1, height: 1, channels: 1, name: "view")
            expectFailure(.invalidArgument, "8-bit image") { try PNG.write(view, to: "/tmp/none.png") }
        }
    }
}
