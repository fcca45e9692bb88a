import TestSupport
import Testing

@testable import Kernels

@Suite struct ResampleTests {
    static let shapes = [(1, 1, 3), (2, 5, 1), (7, 4, 9), (6, 9, 17)]

    @Test(arguments: shapes) func nearestCopiesEachPixel(h: Int, w: Int, c: Int) throws {
        try compare(h, w, c, upsampleNearest2x, bound: 0) { x in
            Image(2 * x.h, 2 * x.w) { x[$0 / 2, $1 / 2] }
        }
    }

    /// torch's nearest: pixel i comes from i * size / larger, rounded down.
    @Test(arguments: shapes) func nearestToAnySize(h: Int, w: Int, c: Int) throws {
        for (height, width) in [(2 * h - 1, 2 * w), (2 * h + 1, 2 * w + 1), (h, w), (5 * h + 3, w)] {
            try compare(
                h, w, c, { try upsampleNearest($0, height: height, width: width, in: $1) }, bound: 0
            ) { x in
                Image(height, width) { x[$0 * x.h / height, $1 * x.w / width] }
            }
        }
    }

    @Test(arguments: shapes) func averageIsTheMeanOfFour(h: Int, w: Int, c: Int) throws {
        try compare(h, w, c, averagePool2x, bound: 1e-6) { x in
            Image(x.h / 2, x.w / 2) { y, column in
                (x[2 * y, 2 * column] + x[2 * y, 2 * column + 1] + x[2 * y + 1, 2 * column]
                    + x[2 * y + 1, 2 * column + 1]) / 4
            }
        }
    }

    /// Of normal numbers, whose mean is smaller than they are.
    @Test(arguments: shapes) func averageIsTheMeanOfAll(h: Int, w: Int, c: Int) throws {
        try compare(h, w, c, averagePool, bound: 3e-6) { x in
            Image(1, 1) { _, _ in
                (0..<x.h).reduce(0) { sum, y in (0..<x.w).reduce(sum) { $0 + x[y, $1] } } / Double(x.h * x.w)
            }
        }
    }

    @Test(arguments: shapes) func firDownsampleIsUpfirdn2d(h: Int, w: Int, c: Int) throws {
        try compare(h, w, c, firDownsample2x, bound: 1e-6) { upfirdn2d($0, gain: 1, up: 1, down: 2, pad: (1, 1)) }
    }

    @Test(arguments: shapes) func firUpsampleIsUpfirdn2d(h: Int, w: Int, c: Int) throws {
        try compare(h, w, c, firUpsample2x, bound: 1e-6) { upfirdn2d($0, gain: 4, up: 2, down: 1, pad: (2, 1)) }
    }

    /// Compares with `naive` of every image and channel, then the kernel with itself on other threads.
    private func compare(
        _ h: Int, _ w: Int, _ c: Int, _ kernel: (Tensor, Workspace) throws -> Tensor, bound: Double,
        naive: (Image) -> Image
    ) throws {
        let workspace = try poisoned(threads: 2)
        let x = try random(2, h, w, c, seed: UInt64(h), in: workspace)
        let out = try kernel(x, workspace)
        var expected: [Float] = []
        for image in 0..<2 {
            for channel in 0..<c {
                let one = naive(Image(h, w) { element(x, image, $0, $1, channel) })
                #expect((out.h, out.w) == (one.h, one.w))
                expected += one.pixels.map { Float($0) }
            }
        }
        #expect((out.n, out.c) == (2, c))
        var found = [Float](repeating: .nan, count: out.count)
        toNCHW(out, into: &found)
        #expect(relativeError(found, expected) <= bound)
        #expect(try sameOnAnyThreads { try kernel(x, $0) })
    }
}

/// One channel.
private struct Image {
    let h, w: Int
    var pixels: [Double] = []

    init(_ h: Int, _ w: Int, _ value: (_ y: Int, _ x: Int) -> Double) {
        (self.h, self.w) = (h, w)
        for y in 0..<h { for x in 0..<w { pixels.append(value(y, x)) } }
    }

    /// Zero outside.
    subscript(y: Int, x: Int) -> Double { y >= 0 && y < h && x >= 0 && x < w ? pixels[y * w + x] : 0 }
}

/// upfirdn2d with the kernel outer([1, 3, 3, 1]) / 64 * gain: put up - 1 zeros after every pixel, pad, convolve, keep
/// every down-th pixel.
private func upfirdn2d(_ x: Image, gain: Double, up: Int, down: Int, pad: (before: Int, after: Int)) -> Image {
    let taps = [1.0, 3, 3, 1]
    let stuffed = Image(x.h * up, x.w * up) { $0 % up == 0 && $1 % up == 0 ? x[$0 / up, $1 / up] : 0 }
    let padded = Image(stuffed.h + pad.before + pad.after, stuffed.w + pad.before + pad.after) {
        stuffed[$0 - pad.before, $1 - pad.before]
    }
    let filtered = Image(max(0, padded.h - 3), max(0, padded.w - 3)) { y, x in
        var sum = 0.0
        for ky in 0..<4 { for kx in 0..<4 { sum += taps[3 - ky] * taps[3 - kx] * padded[y + ky, x + kx] } }
        return sum / 64 * gain
    }
    return Image((filtered.h + down - 1) / down, (filtered.w + down - 1) / down) { filtered[$0 * down, $1 * down] }
}
