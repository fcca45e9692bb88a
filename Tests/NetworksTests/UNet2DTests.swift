import Checkpoint
import Kernels
import Networks
import TestSupport
import Testing

@Suite struct UNet2DTests {
    @Test func equalsDiffusers() throws {
        let fixture = try Fixture("unet2d")
        #expect(fixture.cases.count >= 24)
        let workspace = Workspace(threads: 2)
        for c in fixture.cases {
            let name = try c.string("name")
            let net = try UNet2D(UNet2DConfig(c.object("config")), Weights(GoldenWeights()))
            let batch = try c.int("batch")
            let x = try Tensor(batch, c.int("height"), c.int("width"), net.config.inChannels, in: workspace)
            fromNCHW(randn(x.count, seed: UInt64(try c.int("seed"))), into: x)
            var classInput = c.has("class_labels") ? try c.doubles("class_labels").map { Float($0) } : []
            if let seed = try c.optionalInt("class_inputs_seed") {
                classInput = randn(batch * net.classInputSize, seed: UInt64(seed))
            }
            let out = try net(
                x, timesteps: c.doubles("timesteps").map { Float($0) }, classInput: classInput, in: workspace)
            var values = [Float](repeating: 0, count: out.count)
            toNCHW(out, into: &values)
            let error = try relativeError(values, fixture.tensor(name))
            #expect(error <= 1e-5, "\(name)")
            if error > 3e-6 { print(name, error) }
        }
    }

    /// The network's first run makes the arena, those after it find it: the same bits in no more memory. Nor do filters
    /// kept change a bit.
    @Test func theFirstRunTakesAllMemory() throws {
        let names = ["ddpm_cifar10", "ncsnpp_small", "scale_shift", "resample_resnet", "attention_1024_tokens"]
        for c in try Fixture("unet2d").cases where names.contains(try c.string("name")) {
            let name = try c.string("name")
            let config = try UNet2DConfig(c.object("config"))
            let net = try UNet2D(config, Weights(GoldenWeights()))
            let counter = CountingSource(GoldenWeights(), cacheBytes: .max)
            let cached = try UNet2D(config, Weights(counter))
            #expect(counter.cachedBytes > 0)

            let inputs = Workspace(threads: 1), workspace = Workspace(threads: 2)
            let x = try Tensor(c.int("batch"), c.int("height"), c.int("width"), config.inChannels, in: inputs)
            fromNCHW(randn(x.count, seed: UInt64(try c.int("seed"))), into: x)
            let timesteps = try c.doubles("timesteps").map { Float($0) }
            func bits(_ net: UNet2D) throws -> [UInt32] {
                try net(x, timesteps: timesteps, in: workspace).buffer.map { $0.bitPattern }
            }
            let first = try bits(net)
            let bytes = workspace.bytes
            for _ in 0..<3 {
                #expect(try bits(net) == first, "\(name)")
                #expect(workspace.bytes == bytes, "\(name)")
            }
            #expect(try bits(cached) == first, "\(name)")
            let both = workspace.bytes
            #expect(try bits(net) == first && bits(cached) == first, "\(name)")
            #expect(workspace.bytes == both, "\(name)")
        }
    }

    @Test func blocksThatDoNotFitTogetherAreErrors() throws {
        for (down, up) in [
            (["DownBlock2D", "SkipDownBlock2D", "DownBlock2D"], ["UpBlock2D", "UpBlock2D", "UpBlock2D"]),
            (["DownBlock2D", "DownBlock2D", "DownBlock2D"], ["SkipUpBlock2D", "UpBlock2D", "UpBlock2D"]),
        ] {
            let json = try JSONObject(
                JSONValue(
                    parsing: """
                        {"block_out_channels": [8, 8, 8], "norm_num_groups": 2, "layers_per_block": 1,
                         "down_block_types": \(down), "up_block_types": \(up)}
                        """, name: "net"), name: "net")
            #expect(throws: MCMError.self) { try UNet2D(UNet2DConfig(json), Weights(GoldenWeights())) }
        }
    }

    @Test func sizesThatDoNotHalveEvenlyAreErrors() throws {
        let json = try JSONObject(
            JSONValue(
                parsing: """
                    {"block_out_channels": [8, 8], "norm_num_groups": 2, "layers_per_block": 1, "in_channels": 1,
                     "down_block_types": ["DownBlock2D", "DownBlock2D"],
                     "up_block_types": ["UpBlock2D", "UpBlock2D"]}
                    """, name: "net"), name: "net")
        let net = try UNet2D(UNet2DConfig(json), Weights(GoldenWeights()))
        let workspace = Workspace(threads: 1)
        for (h, w) in [(7, 8), (8, 7), (1, 2)] {
            let x = try Tensor(1, h, w, 1, in: workspace)
            #expect(throws: MCMError.self) { try net(x, timesteps: [1], in: workspace) }
        }
        let x = try Tensor(1, 2, 4, 1, in: workspace)
        x.data.update(repeating: 0, count: x.count)
        #expect(try net(x, timesteps: [1], in: workspace).count == 3 * 8)
        #expect(throws: MCMError.self) { try net(x, timesteps: [1, 2], in: workspace) }
    }
}
