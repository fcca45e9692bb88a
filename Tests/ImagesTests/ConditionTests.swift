import Kernels
import TestSupport
import Testing

@testable import Images

struct ConditionTests {
    /// Encodes an image whose rows are `padding` bytes apart.
    func encode<T>(
        _ pixels: [T], _ width: Int, _ height: Int, channels: Int = 1, padding: Int = 0, as encoding: ConditionEncoding,
        planes: Int, rule: ResizeRule = .nearest, to size: (Int, Int)? = nil, pixelStride: Int? = nil
    ) throws -> [Float] {
        let dtype: ImageView.DType = T.self == UInt8.self ? .u8 : .f32
        let rowBytes = width * channels * dtype.size
        var bytes: [UInt8] = [0xee]  // so that floats are not aligned either
        for y in 0..<height {
            bytes += pixels[y * width * channels..<(y + 1) * width * channels].withUnsafeBytes { Array($0) }
            bytes += [UInt8](repeating: 0xee, count: padding)
        }
        let (w, h) = size ?? (width, height)
        var target = [Float](repeating: -1, count: w * h * (pixelStride ?? planes))
        try bytes.withUnsafeBytes { buffer in
            let view = try ImageView(
                data: #require(buffer.baseAddress) + 1, dtype: dtype, width: width, height: height, channels: channels,
                rowStride: rowBytes + padding, name: "image")
            try encodeCondition(
                view, encoding: encoding, channels: planes, resize: rule, width: w, height: h, into: &target,
                pixelStride: pixelStride ?? planes, name: "m")
        }
        return target
    }

    @Test func grey() throws {
        let bytes: [UInt8] = [0, 51, 102, 255]
        for padding in [0, 1, 5] {
            try #expect(encode(bytes, 2, 2, padding: padding, as: .grey, planes: 1) == [0, 51 / 255, 102 / 255, 1])
            #expect(
                try encode([0, 0.25, 0.1, 1] as [Float], 2, 2, padding: padding, as: .grey, planes: 1)
                    == [0, 0.25, 0.1, 1])
        }
        try #expect(encode(bytes, 2, 2, as: .grey, planes: 1, rule: .area, to: (1, 1)) == [0.4])
        try #expect(encode(bytes, 2, 2, as: .grey, planes: 1, pixelStride: 2) == [0, -1, 0.2, -1, 0.4, -1, 1, -1])
    }

    /// Pillow's convert("L") of these pixels; also where it rounds.
    @Test func luminance() throws {
        let pixels: [UInt8] = [
            255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30, 200, 100, 50, 1, 0, 0, 2, 0, 0, 255, 254, 255,
        ]
        let expected: [Float] = [76, 150, 29, 18, 124, 0, 1, 254]
        try #expect(
            encode(pixels, 4, 2, channels: 3, padding: 2, as: .grey, planes: 1) == expected.map { $0 / 255 })
        // What is grey already stays as it is.
        let greys: [Float] = (0..<256).map { Float($0) / 255 }
        let equal = (0..<256).flatMap { [UInt8](repeating: UInt8($0), count: 3) }
        try #expect(encode(equal, 16, 16, channels: 3, as: .grey, planes: 1) == greys)
        try #expect(encode(greys.flatMap { [$0, $0, $0] }, 16, 16, channels: 3, as: .grey, planes: 1) == greys)
        // Floats are not rounded.
        let floats: [Float] = [1, 0, 0, 0, 0.5, 0]
        try #expect(encode(floats, 2, 1, channels: 3, as: .grey, planes: 1) == [19595 / 65536, 19235 / 65536])
        // Luminance comes before resizing.
        let mean = try encode(
            Array(pixels[..<6]), 2, 1, channels: 3, as: .grey, planes: 1, rule: .area, to: (1, 1))
        #expect(abs(mean[0] - 113 / 255) < 1e-6)
    }

    @Test func rgb() throws {
        let bytes: [UInt8] = [0, 51, 102, 255, 0, 0]
        try #expect(encode(bytes, 2, 1, channels: 3, padding: 2, as: .rgb, planes: 3) == [0, 0.2, 0.4, 1, 0, 0])
        try #expect(encode([51, 255] as [UInt8], 2, 1, as: .rgb, planes: 3) == [0.2, 0.2, 0.2, 1, 1, 1])
    }

    @Test func oneHot() throws {
        let expected: [Float] = [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0]
        for padding in [0, 3] {
            try #expect(encode([0, 1, 2, 1] as [UInt8], 2, 2, padding: padding, as: .oneHot, planes: 3) == expected)
            try #expect(encode([0, 1, 2, 1] as [Float], 2, 2, padding: padding, as: .oneHot, planes: 3) == expected)
        }
        // Classes are never mixed, whatever the rule says.
        let big = try encode(
            [0, 1, 2, 1] as [UInt8], 2, 2, as: .oneHot, planes: 3, rule: .area, to: (3, 4), pixelStride: 4)
        for pixel in 0..<12 {
            #expect(big[4 * pixel..<4 * pixel + 3].sorted() == [0, 0, 1])
            #expect(big[4 * pixel + 3] == -1)
        }
    }

    @Test func refused() {
        expectFailure(
            .incompatible, #"condition "m": the pixel at x 1, y 2 is 3.0, expected the index of one of 3 classes"#
        ) {
            try encode([0, 1, 2, 2, 1, 3] as [UInt8], 2, 3, as: .oneHot, planes: 3)
        }
        // Also where resizing would have skipped it.
        expectFailure(.incompatible, "x 0, y 0 is 255.0") {
            try encode([255, 0, 0, 0, 0, 0, 0, 0, 0] as [UInt8], 3, 3, as: .oneHot, planes: 3, to: (1, 1))
        }
        for bad: Float in [-1, 0.5, 3, .nan, .infinity, -.infinity, 1e30] {
            expectFailure(.incompatible, "one of 3 classes, 0 to 2") { try encode([bad], 1, 1, as: .oneHot, planes: 3) }
        }
        for bad: Float in [-0.01, 1.01, 255, .nan, .infinity, -.infinity] {
            expectFailure(.invalidArgument, "the pixel at x 0, y 1 is") {
                try encode([0, bad], 1, 2, as: .grey, planes: 1)
            }
            expectFailure(.invalidArgument, "the pixel at x 1, y 0 is") {
                try encode([0, 0, 0, 1, bad, 1], 2, 1, channels: 3, as: .rgb, planes: 3)
            }
        }
        let rgb: [UInt8] = [1, 2, 3]
        let rgba: [UInt8] = [1, 2, 3, 4]
        expectFailure(.incompatible, "an image of 3 channels, expected 1 of class indices") {
            try encode(rgb, 1, 1, channels: 3, as: .oneHot, planes: 3)
        }
        for (encoding, planes) in [(ConditionEncoding.rgb, 3), (.grey, 1)] {
            expectFailure(.incompatible, "4 channels, expected 1 or 3") {
                try encode(rgba, 1, 1, channels: 4, as: encoding, planes: planes)
            }
        }
        expectFailure(.invalidArgument, "2 planes") { try encode([1] as [UInt8], 1, 1, as: .grey, planes: 2) }
        expectFailure(.invalidArgument, "impossible") {
            try encode([1] as [UInt8], 1, 1, as: .grey, planes: 1, pixelStride: 0)
        }
        expectFailure(.invalidArgument, "impossible") {
            try encode([1] as [UInt8], 1, 1, as: .grey, planes: 1, to: (0, 1))
        }
    }

    @Test func badViews() throws {
        try [UInt8](repeating: 0, count: 64).withUnsafeBytes { bytes in
            let data = try #require(bytes.baseAddress)
            func view(_ width: Int, _ height: Int, _ channels: Int = 1, stride: Int = 0) throws -> ImageView {
                try ImageView(
                    data: data, dtype: .f32, width: width, height: height, channels: channels, rowStride: stride,
                    name: "i")
            }
            try #expect(view(3, 1).rowStride == 12)
            for (w, h) in [(0, 1), (1, 0), (-1, 1), (65537, 1), (1, .max)] {
                expectFailure(.invalidArgument, "i: is \(w) x \(h)") { try view(w, h) }
            }
            for c in [0, 2, 5, -1, .max] {
                expectFailure(.invalidArgument, "channels, expected 1, 3 or 4") { try view(1, 1, c) }
            }
            for s in [1, 11, -12, .min, .max] {
                expectFailure(.invalidArgument, "row stride is \(s)") { try view(3, 1, stride: s) }
            }
        }
        expectFailure(.size, "has 3 bytes of pixels, expected 4") {
            try PixelImage(width: 2, height: 2, channels: 1, pixels: [1, 2, 3])
        }
    }

    @Test func speed() throws {
        let pixels = [UInt8](repeating: 9, count: 1024 * 1024)
        for (rule, size) in [(ResizeRule.area, 64), (.bilinear, 64), (.bilinear, 1024), (.nearest, 512)] {
            let time = try ContinuousClock().measure {
                _ = try encode(pixels, 1024, 1024, as: .grey, planes: 1, rule: rule, to: (size, size))
            }
            print("grey 1024 x 1024 to \(size) x \(size), \(rule): \(time)")
        }
    }
}
