import Checkpoint
import Kernels
import Networks
import TestSupport
import Testing

@Suite struct ControlNetTests {
    /// All residuals of one ControlNet or the sum of several, and what a UNet predicts with them.
    @Test func equalsDiffusers() throws {
        let fixture = try Fixture("controlnet")
        #expect(fixture.cases.count >= 30)
        let workspace = Workspace(threads: 2)
        var worst = 0.0, worstPrediction = 0.0
        for c in fixture.cases {
            let run = try Run(c)
            let out = try run(in: workspace)
            let shapes = try #require(run.shapes)
            #expect(out.residuals.count == shapes.count, "\(run.name)")
            for (i, residual) in out.residuals.enumerated() {
                #expect([residual.n, residual.c, residual.h, residual.w] == shapes[i], "\(run.name), residual \(i)")
                let error = try relativeError(nchw(residual), fixture.tensor("\(run.name).\(i)"))
                #expect(error <= 1e-5, "\(run.name), residual \(i)")
                worst = max(worst, error)
            }
            guard let prediction = out.prediction else { continue }
            let error = try relativeError(nchw(prediction), fixture.tensor(run.name))
            #expect(error <= 1e-5, "\(run.name)")
            worstPrediction = max(worstPrediction, error)
        }
        print("worst error of ControlNetModel", worst, "and of a UNet with it", worstPrediction)
    }

    /// On any number of threads, alone or beside others: the same bits.
    @Test func bitsDependOnNeitherThreadsNorBatch() throws {
        let names = ["sd15", "sdxl", "shuffle", "two", "odd_size", "class_labels"]
        for c in try Fixture("controlnet").cases where names.contains(try c.string("name")) {
            let run = try Run(c)
            let out = try run(in: Workspace(threads: 1)).values
            #expect(try run(in: Workspace(threads: 3)).values == out, "\(run.name)")
            for i in 0..<run.n {
                let alone = try run(image: i, in: Workspace(threads: 2)).values
                #expect(alone == out.map { $0.picked(i, of: run.n) }, "\(run.name), image \(i)")
            }
        }
    }

    /// Weights of 16 bits give what the same values in 32 bits give; integers of 8 bits something near.
    @Test(arguments: [PanelElement.f16, .bf16]) func weightsMayBeNarrow(element: PanelElement) throws {
        let c = try #require(try Fixture("controlnet").cases.first { try $0.string("name") == "sdxl" })
        let narrow = try Run(c, RoundedWeights(to: element, as: element))
        let wide = try Run(c, RoundedWeights(to: element, as: .f32))
        #expect(try narrow(in: Workspace(threads: 2)).values == wide(in: Workspace(threads: 2)).values)
    }

    @Test func weightsMayBecomeIntegers() throws {
        // Matrices large enough to be rounded.
        let options = ["block_out_channels": JSONValue.array([.integer(64), .integer(256)])]
        let config = try ControlNetConfig(tinyCondition(options, upBlocks: nil))
        func values(rounds: Bool) throws -> [Float] {
            let net = try ControlNet(config, Weights(GoldenWeights(), rounds: rounds))
            let workspace = Workspace(threads: 2)
            let text = try net.text(noise(1, 16, 1, 5, seed: 1, in: workspace), in: workspace)
            let image = try net.image(noise(1, 3, 64, 64, seed: 2, in: workspace), in: workspace)
            let x = try noise(1, 4, 8, 8, seed: 3, in: workspace)
            return try nchw(net(x, timesteps: [500], text: text, image: image, in: workspace).mid)
        }
        let error = try relativeError(values(rounds: true), values(rounds: false))
        #expect(error > 1e-4 && error < 0.05, "\(error)")
        // A byte for each element of what is large, whatever layer it belongs to.
        let shapes = Shapes(), counter = CountingSource(shapes)
        _ = try ControlNet(config, Weights(counter, rounds: true))
        #expect(counter.bytes < shapes.bytes * 102 / 100, "\(counter.bytes) bytes, expected \(shapes.bytes)")
    }

    private final class Shapes: TensorSource {
        private let source = GoldenWeights()
        private(set) var bytes = 0

        func contains(_ key: String) -> Bool { source.contains(key) }
        func finish() throws { try source.finish() }
        func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
            let count = shape.reduce(1, *), layers = key.hasSuffix("ff.net.0.proj.weight") ? 2 : 1
            bytes += shape.count > 1 && count >= layers << 16 ? count : 4 * count
            return try source.withElements(key, shape: shape, body)
        }
    }

    /// A text and an image that are kept serve all steps, which take no more memory than the first.
    @Test func textAndImageAreKept() throws {
        let c = try #require(try Fixture("controlnet").cases.first { try $0.string("name") == "sd15" })
        let run = try Run(c)
        let workspace = Workspace(threads: 2)
        let text = try run.nets[0].text(run.states(in: workspace), in: workspace)
        let image = try run.nets[0].image(run.pixels(0, in: workspace), in: workspace)
        let x = try run.sample(in: workspace)
        func step(_ t: Float) throws -> [[Float]] {
            let out = try run.nets[0](x, timesteps: [t, t], text: text, image: image, in: workspace)
            return (out.skips + [out.mid]).map(nchw)
        }
        let first = try step(10)
        let bytes = workspace.bytes
        #expect(try step(20) != first)
        #expect(try step(10) == first)
        #expect(workspace.bytes == bytes)
    }

    /// Sums do not depend on the order, whether residuals are for all pixels or for each.
    @Test func ordersOfSums() throws {
        let c = try #require(try Fixture("controlnet").cases.first { try $0.string("name") == "three_pooled" })
        let run = try Run(c)
        let workspace = Workspace(threads: 2)
        let each = try run.nets.indices.map { try run.residuals(of: $0, in: workspace) }
        let (gray, pooled) = (each[0], each[1])
        #expect(pooled.mid.pixels == 1 && gray.mid.pixels > 1)
        let forth = try gray.adding(pooled, in: workspace), back = try pooled.adding(gray, in: workspace)
        #expect(forth.skips.map(nchw) == back.skips.map(nchw) && nchw(forth.mid) == nchw(back.mid))
    }

    @Test func inputsThatDoNotFitAreErrors() throws {
        let workspace = Workspace(threads: 1)
        func network(_ options: [String: JSONValue] = [:]) throws -> ControlNet {
            try ControlNet(ControlNetConfig(tinyCondition(options, upBlocks: nil)), Weights(GoldenWeights()))
        }
        let net = try network(), other = try network()
        let x = try zeros(1, 8, 8, 4, in: workspace)
        let states = try zeros(1, 1, 5, 16, in: workspace), pixels = try zeros(1, 64, 64, 3, in: workspace)
        let text = try net.text(states, in: workspace), image = try net.image(pixels, in: workspace)
        let control = try net(x, timesteps: [1], text: text, image: image, in: workspace)
        func fails(_ line: Int = #line, _ body: () throws -> Void) {
            let error = #expect(throws: MCMError.self, "line \(line)", performing: body)
            #expect(error?.message.contains("\n") == false && error?.message.isEmpty == false)
        }

        for (n, h, w, c) in [(1, 64, 64, 4), (1, 63, 64, 3), (1, 64, 60, 3), (1, 0, 64, 3), (0, 64, 64, 3)] {
            fails { _ = try net.image(zeros(n, h, w, c, in: workspace), in: workspace) }
        }
        for (n, h, w) in [(1, 64, 72), (1, 8, 8), (2, 64, 64)] {
            let wrong = try net.image(zeros(n, h, w, 3, in: workspace), in: workspace)
            fails { _ = try net(x, timesteps: [1], text: text, image: wrong, in: workspace) }
        }
        fails { _ = try net.text(zeros(1, 1, 5, 17, in: workspace), in: workspace) }
        fails { _ = try net.text(zeros(1, 1, 0, 16, in: workspace), in: workspace) }
        for (n, h, c) in [(1, 8, 3), (1, 0, 4), (0, 8, 4), (2, 8, 4)] {
            let x = try zeros(n, h, 8, c, in: workspace)
            fails { _ = try net(x, timesteps: [1], text: text, image: image, in: workspace) }
        }
        fails { _ = try net(x, timesteps: [1, 2], text: text, image: image, in: workspace) }
        fails { _ = try other(x, timesteps: [1], text: other.text(states, in: workspace), image: image, in: workspace) }
        fails { _ = try other(x, timesteps: [1], text: text, image: other.image(pixels, in: workspace), in: workspace) }
        for scale in [Float.nan, .infinity] {
            fails { _ = try net(x, timesteps: [1], text: text, image: image, scale: scale, in: workspace) }
        }
        for condition in [\UNetConditions.classInput, \.timestepCond, \.textEmbeds, \.timeIDs] {
            var conditions = UNetConditions()
            conditions[keyPath: condition] = [1]
            fails {
                _ = try net(x, timesteps: [1], text: text, image: image, conditions: conditions, in: workspace)
            }
        }

        // Residuals of another UNet's ControlNet, of other sizes, of another batch, too few.
        let unet = try UNet2DCondition(UNet2DConditionConfig(tinyCondition()), Weights(GoldenWeights()))
        let unetText = try unet.text(states, in: workspace)
        func predict(_ control: ControlResiduals) throws {
            _ = try unet(x, timesteps: [1], text: unetText, control: control, in: workspace)
        }
        try predict(control)
        func residuals(_ options: [String: JSONValue], size: Int = 8, n: Int = 1) throws -> ControlResiduals {
            let net = try network(options)
            let x = try zeros(n, size, size, 4, in: workspace)
            return try net(
                x, timesteps: [Float](repeating: 1, count: n),
                text: net.text(zeros(n, 1, 5, 16, in: workspace), in: workspace),
                image: net.image(zeros(n, 8 * size, 8 * size, 3, in: workspace), in: workspace), in: workspace)
        }
        let wrong = try [
            residuals(["block_out_channels": .array([.integer(8), .integer(16)])]),
            residuals(["layers_per_block": .integer(2)]), residuals([:], size: 4), residuals([:], n: 2),
            residuals(["global_pool_conditions": .bool(true)], n: 2),
            ControlResiduals(skips: control.skips, mid: x), ControlResiduals(skips: [], mid: control.mid),
        ]
        for residuals in wrong {
            fails { try predict(residuals) }
            fails { _ = try control.adding(residuals, in: workspace) }
            fails { _ = try residuals.adding(control, in: workspace) }
        }
        try predict(control.adding(residuals(["global_pool_conditions": .bool(true)]), in: workspace))
    }

    /// What is not computed is refused in one line.
    @Test(arguments: [
        ("conditioning_channels", "0"), ("conditioning_embedding_out_channels", "[]"),
        ("conditioning_embedding_out_channels", "[16, 0]"), ("conditioning_embedding_out_channels", "null"),
        ("conditioning_embedding_out_channels", "[8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8]"),
        ("controlnet_conditioning_channel_order", "\"gbr\""), ("controlnet_conditioning_channel_order", "null"),
        ("global_pool_conditions", "1"), ("mid_block_type", "null"), ("mid_block_type", "\"UNetMidBlock2DSimple\""),
        ("class_embed_type", "\"simple_projection\""), ("class_embed_type", "\"projection\""),
        ("addition_embed_type", "\"text\""), ("addition_embed_type", "\"text_time\""), ("encoder_hid_dim", "16"),
        ("encoder_hid_dim_type", "\"text_proj\""), ("num_attention_heads", "8"), ("norm_num_groups", "null"),
        ("norm_num_groups", "3"), ("act_fn", "\"tanh\""), ("down_block_types", "[\"DownBlock2D\"]"),
        ("down_block_types", "[\"SkipDownBlock2D\", \"DownBlock2D\"]"), ("block_out_channels", "[]"),
        ("transformer_layers_per_block", "[1]"), ("num_control_type", "6"), ("time_cond_proj_dim", "8"),
        ("up_block_types", "[\"UpBlock2D\", \"UpBlock2D\"]"), ("option_of_next_year", "1"),
    ])
    func damagedConfigsAreErrors(key: String, value: String) throws {
        let config = try tinyCondition([key: JSONValue(parsing: value, name: "value")], upBlocks: nil)
        let error = #expect(throws: MCMError.self) {
            _ = try ControlNet(ControlNetConfig(config), Weights(GoldenWeights()))
        }
        #expect(error?.message.contains("\n") == false && error?.message.isEmpty == false)
    }

    /// Options replaced by values of all kinds: a network, or an error of one line.
    @Test func anyConfigIsReadOrRefused() throws {
        let configs = try #require(try Fixture("controlnet").cases.first).objects("configs")
        var read = 0, refused = 0
        for key in configs[0].members.keys.sorted() {
            for value in anyValues {
                let config = try tinyCondition([key: value], upBlocks: nil)
                do {
                    _ = try ControlNet(ControlNetConfig(config), Weights(BoundedZeros()))
                    read += 1
                } catch let error as MCMError {
                    #expect(!error.message.contains("\n") && !error.message.isEmpty, "\(key): \(value)")
                    refused += 1
                }
            }
        }
        #expect(read > 50 && refused > 300, "\(read) read, \(refused) refused")
    }

    /// Configs as diffusers 0.14, 0.20 and 0.38 wrote them: sd-controlnet-canny, shuffle, and one for SDXL.
    @Test func configsOfAllVersionsAreRead() throws {
        let old = """
            {"_class_name": "ControlNetModel", "_diffusers_version": "0.14.0.dev0", "act_fn": "silu",
             "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "class_embed_type": null,
             "conditioning_embedding_out_channels": [16, 32, 96, 256], "controlnet_conditioning_channel_order": "rgb",
             "cross_attention_dim": 768, "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
             "CrossAttnDownBlock2D", "DownBlock2D"], "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0,
             "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-05,
             "norm_num_groups": 32, "num_class_embeds": null, "only_cross_attention": false,
             "projection_class_embeddings_input_dim": null, "resnet_time_scale_shift": "default",
             "upcast_attention": false, "use_linear_projection": false
            """
        let middle =
            old + """
                , "global_pool_conditions": true, "addition_embed_type": null, "addition_embed_type_num_heads": 64,
                 "addition_time_embed_dim": null, "conditioning_channels": 3, "encoder_hid_dim": null,
                 "encoder_hid_dim_type": null, "num_attention_heads": null, "transformer_layers_per_block": 1
                """
        func read(_ text: String) throws -> ControlNetConfig {
            try ControlNetConfig(JSONObject(parsing: text, name: "config.json"))
        }
        #expect(try read(old + "}").globalPoolConditions == false)
        #expect(try read(middle + ", \"mid_block_type\": \"UNetMidBlock2DCrossAttn\"}").globalPoolConditions)
        let xl = try read(
            """
            {"_class_name": "ControlNetModel", "_diffusers_version": "0.38.0", "_name_or_path": "canny",
             "act_fn": "silu", "addition_embed_type": "text_time", "addition_embed_type_num_heads": 64,
             "addition_time_embed_dim": 256, "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280],
             "class_embed_type": null, "conditioning_channels": 3,
             "conditioning_embedding_out_channels": [16, 32, 96, 256], "controlnet_conditioning_channel_order": "rgb",
             "cross_attention_dim": 2048, "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D",
             "CrossAttnDownBlock2D"], "downsample_padding": 1, "encoder_hid_dim": null, "encoder_hid_dim_type": null,
             "flip_sin_to_cos": true, "freq_shift": 0, "global_pool_conditions": false, "in_channels": 4,
             "layers_per_block": 2, "mid_block_scale_factor": 1, "mid_block_type": "UNetMidBlock2DCrossAttn",
             "norm_eps": 1e-05, "norm_num_groups": 32, "num_attention_heads": null, "num_class_embeds": null,
             "only_cross_attention": false, "projection_class_embeddings_input_dim": 2816,
             "resnet_time_scale_shift": "default", "transformer_layers_per_block": [1, 2, 10], "upcast_attention": null,
             "use_linear_projection": true}
            """)
        #expect(xl.textChannels == 2048 && xl.imageScale == 8 && xl.conditioningChannels == 3)
    }
}

/// One case of the fixture.
private struct Run {
    let c: JSONObject
    let name: String
    let n: Int
    let seed: UInt64
    let nets: [ControlNet]
    let unet: UNet2DCondition?

    init(_ c: JSONObject, _ source: any TensorSource = GoldenWeights()) throws {
        self.c = c
        name = try c.string("name")
        n = try c.int("batch")
        seed = UInt64(try c.int("seed"))
        nets = try c.objects("configs").map { try ControlNet(ControlNetConfig($0), Weights(source)) }
        unet = try c.optionalObject("unet").map { try UNet2DCondition(UNet2DConditionConfig($0), Weights(source)) }
    }

    struct Result {
        var residuals: [Tensor]  // the middle's last
        var prediction: Tensor?
        var values: [[Float]] { (residuals + (prediction.map { [$0] } ?? [])).map(nchw) }
    }

    /// (n, c, h, w) of each residual.
    var shapes: [[Int]]? {
        guard case .array(let shapes) = c.value("shapes") else { return nil }
        return shapes.map { shape in
            guard case .array(let sizes) = shape else { return [] }
            return sizes.map { if case .integer(let size) = $0 { size } else { 0 } }
        }
    }

    func sample(in workspace: Workspace) throws -> Tensor {
        try noise(n, nets[0].config.inChannels, c.int("height"), c.int("width"), seed: seed, in: workspace)
    }

    func states(in workspace: Workspace) throws -> Tensor {
        let states = try Tensor(n, 1, c.int("tokens"), c.int("text_channels"), in: workspace)
        _ = states.buffer.update(fromContentsOf: randn(states.count, seed: seed + 1000))
        return states
    }

    /// The image for a ControlNet.
    func pixels(_ i: Int, in workspace: Workspace) throws -> Tensor {
        let config = nets[i].config
        return try noise(
            n, config.conditioningChannels, config.imageScale * c.int("height"), config.imageScale * c.int("width"),
            seed: seed + 6000 + UInt64(i), in: workspace)
    }

    func conditions(_ image: Int?) throws -> UNetConditions {
        var conditions = UNetConditions()
        if c.has("class_labels") { conditions.classInput = try c.doubles("class_labels").map { Float($0) } }
        if let width = try c.optionalInt("class_inputs") {
            #expect(width == nets[0].classInputSize)
            conditions.classInput = randn(n * width, seed: seed + 2000)
        }
        if let width = try c.optionalInt("text_embeds") {
            conditions.textEmbeds = randn(n * width, seed: seed + 4000).picked(image, of: n)
            conditions.timeIDs = (0..<n).flatMap { [1024, 768, 0, 16 * Float($0), 512, 512] }.picked(image, of: n)
        }
        conditions.classInput = conditions.classInput.picked(image, of: n)
        return conditions
    }

    func timesteps(_ image: Int?) throws -> [Float] {
        try c.doubles("timesteps").map { Float($0) }.picked(image, of: n)
    }

    /// Those of one ControlNet; for one image if it is given.
    func residuals(of i: Int, image: Int? = nil, in workspace: Workspace) throws -> ControlResiduals {
        let net = nets[i]
        return try net(
            sample(in: workspace).picked(image), timesteps: timesteps(image),
            text: net.text(states(in: workspace).picked(image), in: workspace),
            image: net.image(pixels(i, in: workspace).picked(image), in: workspace), conditions: conditions(image),
            scale: Float(c.doubles("scales")[i]), guessMode: c.bool("guess"), in: workspace)
    }

    func callAsFunction(image: Int? = nil, in workspace: Workspace) throws -> Result {
        var control = try residuals(of: 0, image: image, in: workspace)
        for i in nets.indices.dropFirst() {
            control = try control.adding(residuals(of: i, image: image, in: workspace), in: workspace)
        }
        let prediction = try unet.map { unet in
            try unet(
                sample(in: workspace).picked(image), timesteps: timesteps(image),
                text: unet.text(states(in: workspace).picked(image), in: workspace), conditions: conditions(image),
                control: control, in: workspace)
        }
        return Result(residuals: control.skips + [control.mid], prediction: prediction)
    }
}
