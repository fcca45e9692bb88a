import Checkpoint
import Foundation
import Kernels
import TestSupport
import Testing

@testable import Networks

@Suite struct AutoencoderTests {
    @Test func equalsDiffusers() throws {
        let fixture = try Fixture("autoencoders")
        #expect(fixture.cases.count >= 28)
        let workspace = Workspace(threads: 2)
        var worst = 0.0
        func compare(_ out: Tensor, _ name: String) throws {
            var values = [Float](repeating: 0, count: out.count)
            toNCHW(out, into: &values)
            let error = try relativeError(values, fixture.tensor(name))
            worst = max(worst, error)
            #expect(error <= 1e-5, "\(name)")
        }
        for c in fixture.cases {
            let name = try c.string("name")
            let config = try AutoencoderConfig(c.object("config"))
            func draw(_ seed: String, _ n: Int, _ h: Int, _ w: Int, _ channels: Int) throws -> Tensor {
                let x = try Tensor(n, h, w, channels, in: workspace)
                fromNCHW(randn(x.count, seed: UInt64(try c.int(seed))), into: x)
                return x
            }
            let (n, h, w) = (try c.int("batch"), try c.int("height"), try c.int("width"))
            let image = try draw("seed", n, h, w, config.inChannels)
            switch config.kind {
            case .kl:
                let net = try AutoencoderKL(config, Weights(GoldenWeights()))
                let encoded = try net.encode(image, in: workspace)
                try compare(encoded.moments, name + ".encoded")
                let mean = try encoded.mean(in: workspace)
                let noise = try draw("noise_seed", n, mean.h, mean.w, mean.c)
                try compare(encoded.sample(noise, in: workspace), name + ".sample")
                let latents = try draw("latents_seed", n, mean.h, mean.w, mean.c)
                try compare(net.decode(latents, in: workspace), name + ".decoded")
            case .vq:
                let net = try VQModel(config, Weights(GoldenWeights()))
                let encoded = try net.encode(image, in: workspace)
                try compare(encoded, name + ".encoded")
                let latents = try draw("latents_seed", n, encoded.h, encoded.w, encoded.c)
                let indices = try fixture.tensor(name + ".indices").map { Int($0) }
                if config.lookupFromCodebook {
                    let z = try net.latents(indices, n, encoded.h, encoded.w, in: workspace)
                    try compare(net.decode(z, quantized: true, in: workspace), name + ".decoded")
                } else {
                    #expect(try net.indices(latents, in: workspace).map { Int($0) } == indices, "\(name)")
                    try compare(net.quantize(latents, in: workspace), name + ".quantized")
                    try compare(net.decode(latents, in: workspace), name + ".decoded_quantized")
                    try compare(net.decode(latents, quantized: true, in: workspace), name + ".decoded")
                }
            }
        }
        print("autoencoders, worst relative error:", worst)
    }

    /// Among vectors that are nearly as near, and each of them twice.
    @Test func nearestVectorsAreTorchs() throws {
        let fixture = try Fixture("nearest")
        let workspace = Workspace(threads: 2)
        for c in fixture.cases {
            let name = try c.string("name")
            let (codes, width) = (try c.int("codes"), try c.int("width"))
            let source = FixtureWeights(["embedding.weight": try fixture.tensor(name + ".codebook")])
            let quantizer = try VectorQuantizer(Weights(source), count: codes, dimension: width)
            let z = try Tensor(1, 1, c.int("pixels"), width, in: workspace)
            for (i, value) in try fixture.tensor(name + ".vectors").enumerated() { z.data[i] = value }
            let expected = try fixture.tensor(name + ".indices")
            let found = Array(try quantizer.indices(z, in: workspace).buffer)
            let different = zip(found, expected).count { $0 != $1 }
            print("\(name): \(different) of \(expected.count) differ from torch")
            #expect(found.count == expected.count && found.allSatisfy { Int($0) < codes / 2 })
            // Of wide vectors, MKL does not sum products in the order of channels.
            #expect(different <= (width <= 4 ? 0 : expected.count / 20), "\(name)")
        }
    }

    @Test func variancesAreLimited() throws {
        let workspace = Workspace(threads: 1)
        let moments = try Tensor(1, 1, 2, 2, in: workspace), noise = try Tensor(1, 1, 2, 1, in: workspace)
        for (i, value) in [3, -100, 4, 100].enumerated() { moments.data[i] = Float(value) }
        for i in 0..<2 { noise.data[i] = 1 }
        let sample = try DiagonalGaussian(moments: moments).sample(noise, in: workspace)
        #expect(sample.data[0] == 3 + Float(3.0590232e-07))  // exp(-15)
        #expect(abs(sample.data[1] - 22030.465) < 0.01)  // 4 + exp(10)
        #expect(throws: MCMError.self) { try DiagonalGaussian(moments: moments).sample(moments, in: workspace) }
    }

    /// The same bits for any number of threads and in any batch, also where images come one by one.
    @Test func imagesDoNotDependOnThreadsOrBatch() throws {
        let config = try config(
            #""block_out_channels": [16, 32], "mid_block_add_attention": false"#, levels: 2)
        let net = try AutoencoderKL(config, Weights(GoldenWeights()))
        let workspace = Workspace(threads: 2), single = Workspace(threads: 1)
        for (size, tiling) in [(8, Tiling.off), (200, .off), (50, .size(64))] {
            let x = try Tensor(3, size, size, 4, in: workspace)
            fromNCHW(randn(x.count, seed: 1), into: x)
            let all = try net.decode(x, tiling: tiling, in: workspace)
            let one = try net.decode(x.image(1), tiling: tiling, in: single)
            #expect(all.image(1).buffer.elementsEqual(one.buffer), "\(size)")
            let moments = try net.encode(all, tiling: tiling, in: workspace).moments
            let some = try net.encode(all.image(2), tiling: tiling, in: single).moments
            #expect(moments.image(2).buffer.elementsEqual(some.buffer), "\(size)")
        }
    }

    /// Whatever the size of the image and of the tiles. Stored as floats, tiles give the whole image's result; as
    /// bfloat16, which is what is used, its rounding is added.
    @Test(arguments: [(13, 11, 32), (24, 8, 40), (9, 33, 64)])
    func tilesFitTogether(height: Int, width: Int, tile: Int) throws {
        let config = try config(#""block_out_channels": [16, 16, 32], "latent_channels": 3"#, levels: 3)
        let weights = Weights(GoldenWeights())
        let workspace = Workspace(threads: 2)
        let z = try Tensor(1, height, width, 3, in: workspace)
        fromNCHW(randn(z.count, seed: 2), into: z)
        let image = try Tensor(1, 4 * height + 1, 4 * width + 3, 3, in: workspace)
        fromNCHW(randn(image.count, seed: 3), into: image)
        let decoder = try config.decoder(weights["decoder"]),
            encoder = try config.encoder(weights["encoder"], outputs: 6)
        let firstUp = try #require(decoder.firstIndex { $0.isUpsampling })
        let lastDown = try #require(encoder.lastIndex { $0.isDownsampling })
        for (x, stages, tiled) in [
            (z, decoder, firstUp..<decoder.count), (image, encoder, 0..<(lastDown + 1)),
        ] {
            func whole(_ x: Tensor, _ stages: ArraySlice<Stage>) throws -> Tensor {
                try stages.reduce(x) { try $1($0, in: workspace) }
            }
            let input = try whole(x, stages[..<tiled.lowerBound])
            let expected = Array(try whole(input, stages[tiled]).buffer)
            let exact = TiledStages(stages: stages[tiled], tile: tile, element: .float)
            #expect(try relativeError(Array(exact(input, in: workspace).buffer), expected) <= 1e-5)
            let rounded = TiledStages(stages: stages[tiled], tile: tile)
            #expect(try relativeError(Array(rounded(input, in: workspace).buffer), expected) <= 5e-3)
        }
        let net = try VQModel(
            self.config(#""block_out_channels": [16, 16, 32]"#, levels: 3, kind: "VQModel"), weights)
        let tiling = Tiling.size(tile)
        let decoded = try net.decode(z, quantized: true, tiling: tiling, in: workspace)
        let reference = try net.decode(z, quantized: true, tiling: .off, in: workspace)
        let error = relativeError(Array(decoded.buffer), Array(reference.buffer))
        #expect(error > 0 && error <= 5e-3)
        let encoded = try net.encode(image, tiling: tiling, in: workspace)
        let other = try net.encode(image, tiling: .off, in: workspace)
        #expect(relativeError(Array(encoded.buffer), Array(other.buffer)) <= 5e-3)
    }

    /// What a session's `tile_above` does to an image: four levels as Stable Diffusion's, narrower, in tiles of 256.
    @Test func tiledImagesAreTheUntiledOnes() throws {
        let options = #""block_out_channels": [16, 32, 64, 64], "layers_per_block": 2"#
        let net = try AutoencoderKL(config(options, levels: 4), Weights(GoldenWeights()))
        let workspace = Workspace(threads: 2)
        let z = try Tensor(1, 40, 48, 4, in: workspace)
        fromNCHW(randn(z.count, seed: 5), into: z)
        let whole = Array(try net.decode(z, tiling: .off, in: workspace).buffer)
        let tiled = Array(try net.decode(z, tiling: .automatic(above: 256), in: workspace).buffer)
        let range = try #require(whole.max()) - (whole.min() ?? 0)
        let squares = zip(whole, tiled).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
        let psnr = 10 * log10(Double(range * range) * Double(whole.count) / squares)
        print("tiled and untiled image, PSNR: \(psnr) dB")
        #expect(psnr >= 60 && psnr.isFinite)
    }

    /// Attention is never cut: what follows its last level comes in tiles, or nothing.
    @Test func attentionIsComputedWhole() throws {
        for c in try Fixture("autoencoders").cases where try c.string("name").contains("attention_everywhere") {
            let net = try AutoencoderKL(AutoencoderConfig(c.object("config")), Weights(GoldenWeights()))
            let workspace = Workspace(threads: 2)
            let z = try Tensor(1, 20, 20, 4, in: workspace)
            fromNCHW(randn(z.count, seed: 4), into: z)
            let image = try net.decode(z, tiling: .size(32), in: workspace)
            #expect(try image.buffer.elementsEqual(net.decode(z, tiling: .off, in: workspace).buffer))
            let moments = try net.encode(image, tiling: .size(32), in: workspace).moments
            #expect(try moments.buffer.elementsEqual(net.encode(image, tiling: .off, in: workspace).moments.buffer))
        }
    }

    private func config(_ options: String, levels: Int, kind: String = "AutoencoderKL") throws -> AutoencoderConfig {
        func blocks(_ name: String) -> String {
            [String](repeating: "\"\(name)\"", count: levels).joined(separator: ",")
        }
        return try AutoencoderConfig(
            JSONObject(
                JSONValue(
                    parsing: """
                        {"_class_name": "\(kind)", "norm_num_groups": 8,
                         "down_block_types": [\(blocks("DownEncoderBlock2D"))],
                         "up_block_types": [\(blocks("UpDecoderBlock2D"))], \(options)}
                        """, name: "vae"), name: "vae"))
    }

    @Test func configurationsThatDoNotWorkAreErrors() throws {
        for (options, kind) in [
            (#""block_out_channels": [16]"#, "AutoencoderKL"),
            (#""block_out_channels": [16, 32], "latents_mean": [1.0]"#, "AutoencoderKL"),
            (#""block_out_channels": [16, 32], "unknown": 1"#, "AutoencoderKL"),
            (#""block_out_channels": [16, 32], "num_vq_embeddings": 7"#, "AutoencoderKL"),
            (#""block_out_channels": [16, 32], "act_fn": "tanh""#, "AutoencoderKL"),
            (#""block_out_channels": [16, 32], "norm_type": "spatial""#, "VQModel"),
            (#""block_out_channels": [16, 32], "use_quant_conv": false"#, "VQModel"),
            (#""block_out_channels": [16, 32]"#, "AutoencoderTiny"),
        ] {
            #expect(throws: MCMError.self, "\(options)") { try config(options, levels: 2, kind: kind) }
        }
        for options in [#""block_out_channels": [16, 30]"#, #""block_out_channels": [4, 32]"#] {
            #expect(throws: MCMError.self, "\(options)") {
                try AutoencoderKL(config(options, levels: 2), Weights(GoldenWeights()))
            }
        }
        let net = try VQModel(
            config(#""block_out_channels": [16, 32, 32]"#, levels: 3, kind: "VQModel"), Weights(GoldenWeights()))
        let workspace = Workspace(threads: 1)
        for (h, w, c) in [(3, 8, 3), (8, 3, 3), (8, 8, 4), (0, 8, 3)] {
            let x = try Tensor(1, h, w, c, in: workspace)
            #expect(throws: MCMError.self) { try net.encode(x, in: workspace) }
        }
        for (h, w, c) in [(1, 1, 4), (0, 1, 3)] {
            let x = try Tensor(1, h, w, c, in: workspace)
            #expect(throws: MCMError.self) { try net.decode(x, in: workspace) }
            #expect(throws: MCMError.self) { try net.quantize(x, in: workspace) }
        }
        #expect(throws: MCMError.self) { try net.latents([1, 256], 1, 1, 2, in: workspace) }
        #expect(throws: MCMError.self) { try net.latents([1, -1], 1, 1, 2, in: workspace) }
        #expect(throws: MCMError.self) { try net.latents([1], 1, 1, 2, in: workspace) }
    }
}

/// Tensors from a fixture.
final class FixtureWeights: TensorSource {
    private let tensors: [String: [Float]]

    init(_ tensors: [String: [Float]]) { self.tensors = tensors }

    func contains(_ key: String) -> Bool { true }
    func finish() throws {}
    func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        let prefix = "quantize."
        let key = key.hasPrefix(prefix) ? String(key.dropFirst(prefix.count)) : key
        return try withStored(tensors[key] ?? [], as: .f32, body)
    }
}
