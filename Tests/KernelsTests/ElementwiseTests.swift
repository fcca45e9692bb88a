import TestSupport
import Testing

@testable import Kernels

@Suite struct ElementwiseTests {
    @Test(arguments: [(1, 1, 1, 1), (2, 3, 5, 7), (3, 4, 1, 16), (1, 7, 9, 3)])
    func ordersAreConverted(n: Int, h: Int, w: Int, c: Int) throws {
        let source = randn(n * c * h * w, seed: 1)
        let x = try Tensor(n, h, w, c, in: poisoned())
        fromNCHW(source, into: x)
        var placed = true
        for image in 0..<n {
            for channel in 0..<c {
                for y in 0..<h {
                    for column in 0..<w {
                        let value = source[((image * c + channel) * h + y) * w + column]
                        placed = placed && element(x, image, y, column, channel) == Double(value)
                    }
                }
            }
        }
        #expect(placed)

        var back = [Float](repeating: .nan, count: source.count)
        toNCHW(x, into: &back)
        #expect(sameBits(back, source))
    }

    @Test func channelsAreConcatenated() throws {
        let workspace = try poisoned()
        let parts = try [1, 5, 8].map { try random(2, 3, 7, $0, seed: UInt64($0), in: workspace) }
        let out = try concatenate(parts, in: workspace)
        #expect((out.n, out.h, out.w, out.c) == (2, 3, 7, 14))
        var expected: [Float] = []
        for pixel in 0..<(2 * 3 * 7) {
            for part in parts { expected += values(part)[(pixel * part.c)..<((pixel + 1) * part.c)] }
        }
        #expect(sameBits(values(out), expected))
        #expect(try sameOnAnyThreads { try concatenate(parts, in: $0) })
    }

    @Test func functionsMeetEveryElement() throws {
        let workspace = try poisoned()
        let x = try random(2, 3, 5, 7, seed: 2, in: workspace), y = try random(2, 3, 5, 7, seed: 3, in: workspace)
        #expect(sameBits(values(try map(x, in: workspace) { 2 * $0 }), values(x).map { 2 * $0 }))
        let differences = zip(values(x), values(y)).map { $0 - $1 }
        #expect(sameBits(values(try combine(x, y, in: workspace, -)), differences))
    }

    @Test func vectorsMeetEveryPixel() throws {
        let workspace = try poisoned()
        let x = try random(2, 3, 5, 7, seed: 4, in: workspace), v = try random(2, 1, 1, 7, seed: 5, in: workspace)
        let expected = values(x).enumerated().map { i, value in value + values(v)[i / x.stride * 7 + i % 7] }
        #expect(sameBits(values(try add(x, vectors: v, in: workspace)), expected))
        #expect(try sameOnAnyThreads { try add(x, vectors: v, in: $0) })
        for wrong in try [random(1, 1, 1, 7, seed: 6, in: workspace), random(2, 1, 1, 6, seed: 6, in: workspace), x] {
            try expectMisfit("vectors") { try add(x, vectors: wrong, in: workspace) }
        }
    }

    /// A configuration can ask for a network that does not fit together; each kernel says so.
    @Test func misfitsAreErrors() throws {
        let workspace = Workspace(threads: 2)
        func zeros(_ n: Int, _ h: Int, _ w: Int, _ c: Int) throws -> Tensor {
            try tensor(n, h, w, c, [Float](repeating: 0, count: n * h * w * c), in: workspace)
        }
        let x = try zeros(2, 4, 4, 8)
        try expectMisfit("height") { try concatenate([x, zeros(2, 5, 4, 8)], in: workspace) }
        try expectMisfit("width") { try concatenate([x, zeros(2, 4, 3, 8)], in: workspace) }
        try expectMisfit("batch") { try concatenate([x, zeros(1, 4, 4, 8)], in: workspace) }
        try expectMisfit("combine") { try combine(x, zeros(2, 4, 4, 9), in: workspace, +) }
        try expectMisfit("add") { try add(x, zeros(2, 4, 4, 9), in: workspace) }
        try expectMisfit("divide") { try divide(x, by: [1], in: workspace) }

        let conv = try Conv2D(
            weight: [Float](repeating: 0, count: 5 * 8 * 9), bias: nil, inputs: 8, outputs: 5, kernel: 3, padBefore: 1,
            padAfter: 1)
        try expectMisfit("inputs") { try conv2D(zeros(2, 4, 4, 9), conv, in: workspace) }
        try expectMisfit("residual") { try conv2D(x, conv, residual: zeros(2, 4, 3, 5), in: workspace) }
        try expectMisfit("channels of the image bias") {
            try conv2D(x, conv, imageBias: zeros(2, 1, 1, 6), in: workspace)
        }
        try expectMisfit("images of the image bias") {
            try conv2D(x, conv, imageBias: zeros(3, 1, 1, 5), in: workspace)
        }

        let norm = try GroupNorm(
            groups: 2, epsilon: 1e-5, weight: [Float](repeating: 1, count: 8), bias: [Float](repeating: 0, count: 8))
        try expectMisfit("channels") { try groupNorm(zeros(2, 4, 4, 10), norm, in: workspace) }
        try expectMisfit("channels of the modulation") {
            try groupNorm(x, norm, modulation: zeros(2, 1, 1, 17), in: workspace)
        }
        try expectMisfit("images of the modulation") {
            try groupNorm(x, norm, modulation: zeros(3, 1, 1, 16), in: workspace)
        }

        let wide = try zeros(2, 4, 4, 9), long = try zeros(2, 5, 4, 8), more = try zeros(3, 4, 4, 8)
        try expectMisfit("width of the keys") { try attention(x, wide, x, heads: 2, in: workspace) }
        try expectMisfit("width of the values") { try attention(x, x, wide, heads: 2, in: workspace) }
        try expectMisfit("number of values") { try attention(x, x, long, heads: 2, in: workspace) }
        try expectMisfit("images of keys and values") { try attention(x, more, more, heads: 2, in: workspace) }
        try expectMisfit("heads") { try attention(x, x, x, heads: 3, in: workspace) }
    }

    @Test func aKernelLargerThanTheImageIsAnError() throws {
        let workspace = Workspace(threads: 2)
        for (size, stride, after) in [(1, 1, 0), (2, 2, 0), (1, 2, 1)] {
            let conv = try Conv2D(
                weight: [Float](repeating: 0, count: 9), bias: nil, inputs: 1, outputs: 1, kernel: 3, stride: stride,
                padBefore: 0, padAfter: after)
            let x = try tensor(1, size, size, 1, [Float](repeating: 0, count: size * size), in: workspace)
            try expectMisfit("\(size) + \(after) pixels") { try conv2D(x, conv, in: workspace) }
        }
    }
}

private func expectMisfit(
    _ what: Comment, at location: SourceLocation = #_sourceLocation, _ kernel: () throws -> Tensor
) throws {
    let error = #expect(throws: MCMError.self, what, sourceLocation: location) { try kernel() }
    #expect(error == nil || error?.kind == .format, what, sourceLocation: location)
}
