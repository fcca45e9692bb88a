import TestSupport
import Testing

@testable import Kernels

@Suite struct Conv2DTests {
    static let paddings = [(1, 1), (0, 1), (0, 0)]
    /// Images of one block of output pixels and of several.
    static let sizes = [(5, 7), (13, 11)]
    static let channels = [(1, 3), (3, 17), (5, 8), (8, 130), (17, 5), (130, 1)]

    @Test(arguments: [1, 3], [1, 2]) func equalsTheDefinition(kernel: Int, stride: Int) throws {
        var seed: UInt64 = 0
        var wrong: [String] = []
        for padding in Self.paddings {
            for (inputs, outputs) in Self.channels {
                let layer = Layer(inputs, outputs, kernel, stride, padding)
                for (h, w) in Self.sizes {
                    seed += 1
                    let workspace = try poisoned(threads: 2)
                    let x = try random(2, h, w, inputs, seed: seed, in: workspace)
                    let plain = layer.naive(x)
                    let imageBias = try random(2, 1, 1, outputs, seed: seed + 1, in: workspace)
                    let residual = try tensor(
                        2, layer.size(h), layer.size(w), outputs, randn(plain.count, seed: seed + 2), in: workspace)
                    for (bias, added) in [(nil, nil), (imageBias, nil), (nil, residual), (imageBias, residual)] {
                        let out = try conv2D(x, layer.conv(), imageBias: bias, residual: added, in: workspace)
                        let expected = plain.indices.map {
                            let image = $0 / (plain.count / 2)
                            return Float(
                                plain[$0] + Double(bias?.data[image * outputs + $0 % outputs] ?? 0)
                                    + Double(added?.data[$0] ?? 0))
                        }
                        let hasShape = (out.n, out.h, out.w, out.c) == (2, layer.size(h), layer.size(w), outputs)
                        let error = relativeError(values(out), expected)
                        if !hasShape || !(error <= 1e-6) {
                            wrong.append("\(inputs) to \(outputs), \(h) x \(w), padding \(padding): \(error)")
                        }
                    }
                }
            }
        }
        #expect(wrong.isEmpty)
    }

    @Test func aLayerMayHaveNoBias() throws {
        let layer = Layer(5, 9, 3, 1, (1, 1), hasBias: false)
        let workspace = try poisoned()
        let x = try random(1, 6, 5, 5, seed: 30, in: workspace)
        let out = try conv2D(x, layer.conv(), in: workspace)
        #expect(relativeError(values(out), layer.naive(x).map { Float($0) }) <= 1e-6)
    }

    @Test(arguments: [(1, 1, (0, 0)), (3, 1, (1, 1)), (3, 2, (0, 1))])
    func bitsDependOnNeitherThreadsNorBatch(kernel: Int, stride: Int, padding: (Int, Int)) throws {
        let layer = Layer(40, 21, kernel, stride, padding)
        let workspace = try poisoned()
        let x = try random(3, 17, 15, 40, seed: 31, in: workspace)
        let imageBias = try random(3, 1, 1, 21, seed: 32, in: workspace)
        let residual = try random(3, layer.size(17), layer.size(15), 21, seed: 33, in: workspace)
        let conv = try layer.conv()
        #expect(try sameOnAnyThreads { try conv2D(x, conv, imageBias: imageBias, residual: residual, in: $0) })

        let batch = try conv2D(x, conv, imageBias: imageBias, residual: residual, in: workspace)
        for k in 0..<3 {
            let alone = try conv2D(
                image(k, of: x, in: workspace), conv, imageBias: image(k, of: imageBias, in: workspace),
                residual: image(k, of: residual, in: workspace), in: poisoned(threads: 2))
            #expect(sameBits(values(alone), values(try image(k, of: batch, in: workspace))), "image \(k)")
        }
    }
}

/// Weights of a seed, and the convolution's definition.
private struct Layer {
    let inputs, outputs, kernel, stride, before, after: Int
    let weight: [Float]
    let bias: [Float]?

    init(
        _ inputs: Int, _ outputs: Int, _ kernel: Int, _ stride: Int, _ padding: (Int, Int), hasBias: Bool = true
    ) {
        (self.inputs, self.outputs, self.kernel, self.stride) = (inputs, outputs, kernel, stride)
        (before, after) = padding
        weight = randn(outputs * inputs * kernel * kernel, seed: 100)
        bias = hasBias ? randn(outputs, seed: 101) : nil
    }

    func conv() throws -> Conv2D {
        try Conv2D(
            weight: weight, bias: bias, inputs: inputs, outputs: outputs, kernel: kernel, stride: stride,
            padBefore: before, padAfter: after)
    }

    /// The places that a kernel of this stride has in a padded row of `size`.
    func size(_ size: Int) -> Int {
        Swift.stride(from: -before, through: size + after - kernel, by: stride).reduce(0) { count, _ in count + 1 }
    }

    /// out[y, x, o] = bias[o] + sum over ky, kx, i of weight[o, i, ky, kx] * in[y s + ky - p, x s + kx - p, i].
    func naive(_ x: Tensor) -> [Double] {
        var out: [Double] = []
        for image in 0..<x.n {
            for y in 0..<size(x.h) {
                for column in 0..<size(x.w) {
                    for o in 0..<outputs { out.append(sum(x, image, y * stride - before, column * stride - before, o)) }
                }
            }
        }
        return out
    }

    private func sum(_ x: Tensor, _ image: Int, _ top: Int, _ left: Int, _ o: Int) -> Double {
        var sum = Double(bias?[o] ?? 0)
        for ky in 0..<kernel where top + ky >= 0 && top + ky < x.h {
            for kx in 0..<kernel where left + kx >= 0 && left + kx < x.w {
                for i in 0..<inputs {
                    let w = weight[((o * inputs + i) * kernel + ky) * kernel + kx]
                    sum += Double(w) * element(x, image, top + ky, left + kx, i)
                }
            }
        }
        return sum
    }
}
