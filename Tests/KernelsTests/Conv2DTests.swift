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
                // Winograd's transforms cost digits: see WinogradTests.
                let bound = try layer.conv().usesWinograd ? 5e-6 : 1e-6
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
                        if !hasShape || !(error <= bound) {
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
