import Glibc
import TestSupport
import Testing

@testable import Kernels

@Suite struct LayerNormTests {
    @Test(arguments: [(1, 1), (3, 5), (7, 16), (100, 17), (33, 320), (9, 1281), (300, 64)])
    func equalsTheDefinition(tokens: Int, c: Int) throws {
        let norm = try parameters(c)
        let workspace = try poisoned(threads: 2)
        let x = try random(2, 1, tokens, c, seed: 1, in: workspace)
        for i in 0..<x.count { x.data[i] = 3 * x.data[i] + Float(i % 7) }
        let out = try layerNorm(x, norm, in: workspace)
        #expect(relativeError(values(out), naive(x, norm)) <= 1e-6)
        #expect(try sameOnAnyThreads { try layerNorm(x, norm, in: $0) })
        let second = try layerNorm(image(1, of: x, in: workspace), norm, in: workspace)
        #expect(sameBits(values(second), values(try image(1, of: out, in: workspace))))
    }

    /// What a mean of 1000 costs is its rounding, 2^-24 * 1000.
    @Test(arguments: [64, 320, 1280]) func aLargeMeanCostsNoMoreThanTheValuesRounding(c: Int) throws {
        let norm = try parameters(c)
        let workspace = try poisoned()
        let x = try random(1, 1, 20, c, seed: 3, in: workspace)
        for i in 0..<x.count { x.data[i] += 1000 }
        #expect(worstDifference(values(try layerNorm(x, norm, in: workspace)), naive(x, norm)) <= 2e-4)
    }

    @Test func channelsMustAgree() throws {
        let workspace = try poisoned()
        let x = try random(1, 1, 2, 8, seed: 1, in: workspace)
        #expect(throws: MCMError.self) { try layerNorm(x, parameters(7), in: workspace) }
    }
}

@Suite struct GatedProductTests {
    @Test(arguments: [(1, 1, 1), (5, 7, 33), (130, 20, 300), (97, 64, 256), (50, 40, 1280)])
    func equalsTheDefinition(tokens: Int, inputs: Int, outputs: Int) throws {
        let workspace = try poisoned(threads: 2)
        let x = try random(2, 1, tokens, inputs, seed: 1, in: workspace)
        let layers = try [UInt64(2), 3].map { seed in
            try Conv2D(
                weight: randn(inputs * outputs, seed: seed), bias: randn(outputs, seed: 10 * seed), inputs: inputs,
                outputs: outputs, kernel: 1, padBefore: 0, padAfter: 0)
        }
        let out = try geglu(x, value: layers[0], gate: layers[1], in: workspace)
        let value = values(try conv2D(x, layers[0], in: workspace))
        let gate = values(try conv2D(x, layers[1], in: workspace))
        let expected = zip(value, gate).map { Float(Double($0) * Activation.gelu.exact(Double($1))) }
        #expect(out.shape == (2, 1, tokens, outputs))
        #expect(relativeError(values(out), expected) <= 1e-6)
        #expect(try sameOnAnyThreads { try geglu(x, value: layers[0], gate: layers[1], in: $0) })
        let second = try geglu(image(1, of: x, in: workspace), value: layers[0], gate: layers[1], in: workspace)
        #expect(sameBits(values(second), values(try image(1, of: out, in: workspace))))
        if inputs != outputs {
            #expect(throws: MCMError.self) { try geglu(out, value: layers[0], gate: layers[1], in: workspace) }
        }
    }
}

private func parameters(_ c: Int) throws -> LayerNorm {
    try LayerNorm(
        epsilon: 1e-5, weight: FloatBuffer(randn(c, seed: 10).map { 1 + 0.3 * $0 }),
        bias: FloatBuffer(randn(c, seed: 11)))
}

private func naive(_ x: Tensor, _ norm: LayerNorm) -> [Float] {
    (0..<(x.n * x.h * x.w)).flatMap { row in
        let values = (0..<x.c).map { Double(x.data[row * x.c + $0]) }
        let mean = values.reduce(0, +) / Double(x.c)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.c)
        return values.enumerated().map { j, v in
            Float(
                (v - mean) / (variance + Double(norm.epsilon)).squareRoot() * Double(norm.weight.data[j])
                    + Double(norm.bias.data[j]))
        }
    }
}
