import TestSupport
import Testing

@testable import Kernels

/// 3 x 3 convolutions of stride 1 by F(4x4, 3x3).
@Suite struct WinogradTests {
    static let channels = [16, 17, 31, 33, 130, 257]

    /// A convolution of a seed, with what it is applied to.
    private struct Case: CustomStringConvertible {
        let layer: Layer
        let x: Tensor
        let imageBias, residual: Tensor?

        init(
            _ inputs: Int, _ outputs: Int, n: Int, h: Int, w: Int, bias: Bool = true, imageBias: Bool = true,
            residual: Bool = true, element: PanelElement = .f32, seed: UInt64, in workspace: Workspace
        ) throws {
            layer = Layer(inputs, outputs, 3, 1, (1, 1), hasBias: bias, element: element, seed: 10 * seed)
            x = try random(n, h, w, inputs, seed: 10 * seed + 2, in: workspace)
            self.imageBias = imageBias ? try random(n, 1, 1, outputs, seed: 10 * seed + 3, in: workspace) : nil
            self.residual = residual ? try random(n, h, w, outputs, seed: 10 * seed + 4, in: workspace) : nil
        }

        var description: String {
            "\(x.n) x \(x.h) x \(x.w), \(layer.inputs) to \(layer.outputs), bias \(layer.bias != nil), "
                + "image bias \(imageBias != nil), residual \(residual != nil)"
        }

        func callAsFunction(_ conv: Conv2D, in workspace: Workspace) throws -> Tensor {
            try conv2D(x, conv, imageBias: imageBias, residual: residual, in: workspace)
        }

        /// With the images of the batch at these places alone.
        func callAsFunction(_ conv: Conv2D, images: [Int], in workspace: Workspace) throws -> Tensor {
            func pick(_ t: Tensor) throws -> Tensor {
                let picked = images.flatMap { Array(t.buffer)[($0 * t.stride)..<(($0 + 1) * t.stride)] }
                return try tensor(images.count, t.h, t.w, t.c, picked, in: workspace)
            }
            return try conv2D(
                pick(x), conv, imageBias: imageBias.map(pick), residual: residual.map(pick), in: workspace)
        }

        var expected: [Float] {
            let plain = layer.naive(x)
            return plain.indices.map {
                let image = $0 / (plain.count / x.n)
                return Float(
                    plain[$0] + Double(imageBias?.data[image * layer.outputs + $0 % layer.outputs] ?? 0)
                        + Double(residual?.data[$0] ?? 0))
            }
        }
    }

    /// All pairs of channels, each at a random size, with and without what may be added. The worst found is 4.0e-6 (of
    /// 257 channels): errors grow with the square root of the number of inputs, as 2.4e-7 times it.
    @Test func equalsTheDefinition() throws {
        var random = SplitMix(seed: 1)
        var wrong: [String] = []
        for inputs in Self.channels {
            for outputs in [1, 3] + Self.channels {
                let workspace = try poisoned(threads: 2)
                let c = try Case(
                    inputs, outputs, n: random.int(1...3), h: random.int(1...13), w: random.int(1...13),
                    bias: random.bool(), imageBias: random.bool(), residual: random.bool(), seed: random.next() >> 40,
                    in: workspace)
                let conv = try c.layer.conv()
                #expect(conv.usesWinograd)
                let out = try c(conv, in: workspace)
                let error = relativeError(values(out), c.expected)
                if out.shape != (c.x.n, c.x.h, c.x.w, outputs) || !(error <= 5e-6) { wrong.append("\(c): \(error)") }
            }
        }
        #expect(wrong.isEmpty)
    }

    /// Every size from 1 to 13, so that tiles are cut in every way.
    @Test func equalsTheDefinitionAtEverySize() throws {
        var wrong: [String] = []
        for h in 1...13 {
            for w in 1...13 {
                let workspace = try poisoned()
                let c = try Case(17, 18, n: 1, h: h, w: w, seed: UInt64(20 * h + w), in: workspace)
                let error = relativeError(values(try c(c.layer.conv(), in: workspace)), c.expected)
                if !(error <= 5e-6) { wrong.append("\(c): \(error)") }
            }
        }
        #expect(wrong.isEmpty)
    }

    /// Halves and bfloat16 are exact floats: their products are those of the widened weights, bit for bit.
    @Test(arguments: [PanelElement.f16, .bf16]) func halvesEqualTheirFloats(element: PanelElement) throws {
        for (inputs, outputs) in [(16, 33), (130, 17), (257, 32)] {
            let workspace = try poisoned()
            let c = try Case(inputs, outputs, n: 2, h: 9, w: 6, element: element, seed: 5, in: workspace)
            let half = try c.layer.conv()
            let full = try Conv2D(
                weight: c.layer.weight, bias: c.layer.bias, inputs: inputs, outputs: outputs, kernel: 3, padBefore: 1,
                padAfter: 1)
            #expect(half.weight.bytes * 2 == full.weight.bytes && half.transformedBytes == full.transformedBytes)
            #expect(sameBits(values(try c(half, in: workspace)), values(try c(full, in: workspace))))
        }
    }

    /// (inputs, outputs, images, h, w): one and several groups of inputs and blocks of tiles. The last two have 264 and
    /// 192 tiles, which are several chunks of 8 MiB, and chunks that begin within an image.
    static let large = [(40, 70, 3, 17, 15), (16, 16, 1, 50, 51), (257, 16, 2, 45, 41), (600, 17, 3, 30, 29)]

    @Test(arguments: large)
    func bitsDependOnNothingButTheImage(inputs: Int, outputs: Int, n: Int, h: Int, w: Int) throws {
        let c = try Case(inputs, outputs, n: n, h: h, w: w, seed: 3, in: poisoned())
        var conv = try c.layer.conv(threads: 2)
        #expect(try sameOnAnyThreads { try c(conv, in: $0) })
        let out = values(try c(conv, in: poisoned(threads: 2)))
        #expect(relativeError(out, c.expected) <= max(5e-6, 3e-7 * Double(inputs).squareRoot()))

        // A batch's composition.
        let size = out.count / n
        for images in [[0], [n - 1], [n - 1, 0], [0, 0, n / 2, n - 1, n / 2]] {
            let some = values(try c(conv, images: images, in: poisoned(threads: 2)))
            #expect(sameBits(some, images.flatMap { out[($0 * size)..<(($0 + 1) * size)] }), "images \(images)")
        }

        // Filters kept.
        let bytes = conv.transformedBytes
        #expect(bytes >= 36 * 4 * inputs * outputs)
        for threads in [1, 3] {
            try conv.keepTransformed(threads: threads)
            #expect(conv.transformedBytes == bytes)
            #expect(try sameOnAnyThreads { try c(conv, in: $0) })
            #expect(sameBits(values(try c(conv, in: poisoned(threads: 2))), out))
        }
    }

    /// Large enough for pixels to be doubled while tiles are read: the bits are those of an image doubled before.
    @Test(arguments: [(2, 65, 67, 64), (1, 3, 1201, 160), (1, 1, 1, 1 << 19)])
    func upsamplingMayHappenOnTheWay(n: Int, h: Int, w: Int, c: Int) throws {
        let inputs = Workspace(threads: 1)
        let x = try random(n, h, w, c, seed: 45, in: inputs)
        #expect(4 * x.count >= 2 << 20)
        let conv = try Layer(c, 3, 3, 1, (1, 1)).conv(threads: 2)
        let expected = values(try conv2D(upsampleNearest2x(x, in: inputs), conv, in: inputs))
        for threads in [1, 3] {
            let out = try conv2D(upsampling: x, conv, in: poisoned(threads: threads, floats: 1 << 24))
            #expect(sameBits(values(out), expected), "\(threads) threads")
        }
    }

    /// (images, h, w, channels, groups): large enough for normalisation to happen while tiles are read. Bits are those
    /// of an image normalised before, and of an image alone, which may be too small for that.
    @Test(arguments: [(2, 129, 131, 64, 8), (1, 5, 10_503, 40, 5), (1, 601, 3, 1200, 3), (3, 50, 50, 290, 2)])
    func normalizationMayHappenOnTheWay(n: Int, h: Int, w: Int, c: Int, groups: Int) throws {
        let inputs = Workspace(threads: 1)
        let norm = try GroupNorm(groups: groups, epsilon: 1e-5, weight: randn(c, seed: 40), bias: randn(c, seed: 41))
        let x = try random(n, h, w, c, seed: 42, in: inputs)
        #expect(x.count >= 2 << 20)
        let modulation = try random(n, 1, 1, 2 * c, seed: 43, in: inputs)
        let residual = try random(n, h, w, 18, seed: 44, in: inputs)
        let conv = try Layer(c, 18, 3, 1, (1, 1)).conv(threads: 2)
        for (modulation, activation) in [(nil, nil), (modulation, Activation.silu), (nil, .gelu)] {
            let workspace = try poisoned(threads: 2, floats: 1 << 24)
            let before = try groupNorm(x, norm, modulation: modulation, activation: activation, in: workspace)
            let expected = values(try conv2D(before, conv, residual: residual, in: workspace))
            for threads in [1, 3, 8] {
                let workspace = try poisoned(threads: threads, floats: 1 << 24)
                let y = try normalized(x, norm, modulation: modulation, activation: activation, in: workspace)
                let out = try conv2D(y, conv, residual: residual, in: workspace)
                #expect(sameBits(values(out), expected), "\(threads) threads")
            }
            let last = try normalized(
                image(n - 1, of: x, in: inputs), norm,
                modulation: modulation.map { try image(n - 1, of: $0, in: inputs) }, activation: activation,
                in: workspace)
            let alone = try conv2D(last, conv, residual: image(n - 1, of: residual, in: inputs), in: workspace)
            #expect(sameBits(values(alone), Array(expected.suffix(h * w * 18))))
        }
    }

    @Test func otherConvolutionsKeepNothing() throws {
        for layer in [
            Layer(16, 16, 1, 1, (0, 0)), Layer(16, 16, 3, 2, (1, 1)), Layer(16, 16, 3, 1, (0, 1)),
            Layer(16, 16, 3, 1, (0, 0)), Layer(15, 16, 3, 1, (1, 1)),
        ] {
            let conv = try layer.conv()
            #expect(!conv.usesWinograd && conv.transformedBytes == 0)
        }
    }

    @Test func notANumberSpreadsNoFurtherThanItsTiles() throws {
        let workspace = try poisoned()
        let c = try Case(16, 16, n: 2, h: 12, w: 12, residual: false, seed: 4, in: workspace)
        let clean = values(try c(c.layer.conv(), in: workspace))
        c.x.data[(5 * 12 + 5) * 16] = .nan
        let out = values(try c(c.layer.conv(), in: workspace))
        // Pixel (5, 5) is read by the tile of rows and columns 4...7 alone.
        for i in out.indices {
            let pixel = i / 16 % 144, inTile = 4...7 ~= pixel / 12 && 4...7 ~= pixel % 12 && i < 16 * 144
            let isRead = abs(pixel / 12 - 5) <= 1 && abs(pixel % 12 - 5) <= 1 && i < 16 * 144
            if isRead { #expect(out[i].isNaN) }
            if !inTile { #expect(out[i].bitPattern == clean[i].bitPattern) }
        }
    }
}
