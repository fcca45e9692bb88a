import Glibc
import TestSupport
import Testing

@testable import Kernels

@Suite struct NormalizationTests {
    /// (h, w, channels, groups): groups of any size, images of one block of pixels and of several.
    static let shapes = [
        (5, 7, 12, 3), (3, 3, 20, 4), (9, 5, 33, 3), (4, 6, 64, 32), (50, 50, 7, 1), (16, 17, 320, 32), (1, 1, 24, 2),
        (2, 3, 5, 5),
    ]

    @Test(arguments: shapes) func equalsTheDefinition(h: Int, w: Int, c: Int, groups: Int) throws {
        let norm = try parameters(c, groups)
        let workspace = try poisoned(threads: 2)
        let x = try random(2, h, w, c, seed: 1, in: workspace)
        for i in 0..<x.count { x.data[i] = 3 * x.data[i] + Float(i % c) * 0.1 }
        for modulation in [nil, try random(2, 1, 1, 2 * c, seed: 2, in: workspace)] {
            for activation in [nil, Activation.silu, .mish, .gelu, .relu, .quickGELU, .geluTanh] {
                let out = try groupNorm(x, norm, modulation: modulation, activation: activation, in: workspace)
                let expected = naive(x, norm, modulation).map { y in Float(activation?.exact(y) ?? y) }
                #expect((out.n, out.h, out.w, out.c) == (2, h, w, c))
                #expect(relativeError(values(out), expected) <= 2e-6, "activation \(String(describing: activation))")
            }
        }
    }

    /// The rounding of a x and of b in a x + b is 2^-24 * 1000 each.
    @Test(arguments: [(64, 64, 1, 1), (30, 30, 8, 2), (16, 16, 320, 32)])
    func aLargeMeanCostsNoMoreThanTheResultsRounding(h: Int, w: Int, c: Int, groups: Int) throws {
        let norm = try GroupNorm(
            groups: groups, epsilon: 1e-5, weight: [Float](repeating: 1, count: c),
            bias: [Float](repeating: 0, count: c))
        let workspace = try poisoned(threads: 2)
        let x = try random(1, h, w, c, seed: 3, in: workspace)
        for i in 0..<x.count { x.data[i] += 1000 }
        let out = try groupNorm(x, norm, in: workspace)
        let difference = worstDifference(values(out), naive(x, norm, nil).map { Float($0) })
        #expect(difference <= 2e-4)
    }

    /// All values equal: nothing but the bias is left of them, however small epsilon is.
    @Test(arguments: [(64, 64, 1, 1), (32, 32, 64, 4)])
    func ofAConstantImageOnlyTheBiasIsLeft(h: Int, w: Int, c: Int, groups: Int) throws {
        let norm = try parameters(c, groups)
        let workspace = try poisoned(threads: 2)
        let x = try tensor(1, h, w, c, [Float](repeating: 0.7, count: h * w * c), in: workspace)
        let out = try groupNorm(x, norm, in: workspace)
        let bias = (0..<x.count).map { norm.bias.data[$0 % c] }
        // x and the mean are within 2^-24 of each other, 1 / sqrt(epsilon) is 316.
        #expect(worstDifference(values(out), bias) <= 1e-4)
    }

    @Test(arguments: [(17, 19, 320, 32), (60, 50, 7, 1)])
    func bitsDependOnNeitherThreadsNorBatch(h: Int, w: Int, c: Int, groups: Int) throws {
        let norm = try parameters(c, groups)
        let workspace = try poisoned()
        let x = try random(3, h, w, c, seed: 4, in: workspace)
        let modulation = try random(3, 1, 1, 2 * c, seed: 5, in: workspace)
        #expect(try sameOnAnyThreads { try groupNorm(x, norm, modulation: modulation, activation: .silu, in: $0) })

        let batch = try groupNorm(x, norm, modulation: modulation, activation: .silu, in: workspace)
        for k in 0..<3 {
            let alone = try groupNorm(
                image(k, of: x, in: workspace), norm, modulation: image(k, of: modulation, in: workspace),
                activation: .silu, in: poisoned(threads: 2))
            #expect(sameBits(values(alone), values(try image(k, of: batch, in: workspace))), "image \(k)")
        }
    }
}

private func parameters(_ channels: Int, _ groups: Int) throws -> GroupNorm {
    try GroupNorm(
        groups: groups, epsilon: 1e-5, weight: randn(channels, seed: 10).map { 1 + 0.3 * $0 },
        bias: randn(channels, seed: 11))
}

/// ((x - mean) / sqrt(variance + epsilon) * weight + bias) * (1 + scale) + shift, over each image and group.
private func naive(_ x: Tensor, _ norm: GroupNorm, _ modulation: Tensor?) -> [Double] {
    var out = [Double](repeating: 0, count: x.count)
    let size = x.c / norm.groups
    for image in 0..<x.n {
        for group in 0..<norm.groups {
            let members = (0..<(x.h * x.w)).flatMap { pixel in
                (0..<size).map { (image * x.h * x.w + pixel) * x.c + group * size + $0 }
            }
            let mean = members.reduce(0) { $0 + Double(x.data[$1]) } / Double(members.count)
            let variance = members.reduce(0) { $0 + pow(Double(x.data[$1]) - mean, 2) } / Double(members.count)
            for i in members {
                let j = i % x.c
                let y = (Double(x.data[i]) - mean) / (variance + Double(norm.epsilon)).squareRoot()
                let scale = Double(modulation?.data[image * 2 * x.c + j] ?? 0)
                let shift = Double(modulation?.data[image * 2 * x.c + x.c + j] ?? 0)
                out[i] = (y * Double(norm.weight.data[j]) + Double(norm.bias.data[j])) * (1 + scale) + shift
            }
        }
    }
    return out
}
