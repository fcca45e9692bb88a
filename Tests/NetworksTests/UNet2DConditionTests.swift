import Checkpoint
import Kernels
import Networks
import TestSupport
import Testing

@Suite struct UNet2DConditionTests {
    @Test func equalsDiffusers() throws {
        let fixture = try Fixture("unet2d_condition")
        #expect(fixture.cases.count >= 40)
        let workspace = Workspace(threads: 2)
        var worst = 0.0
        for c in fixture.cases {
            let run = try Run(c)
            let error = try relativeError(run(in: workspace), fixture.tensor(run.name))
            #expect(error <= 1e-5, "\(run.name)")
            if error > 3e-6 { print(run.name, error) }
            worst = max(worst, error)
        }
        print("worst error of UNet2DConditionModel", worst)
    }

    /// On any number of threads, alone or beside others, with a text kept or made anew: the same bits.
    @Test func bitsDependOnNeitherThreadsNorBatch() throws {
        let names = ["sd15", "sdxl", "odd_size", "controlnet", "class_labels"]
        for c in try Fixture("unet2d_condition").cases where names.contains(try c.string("name")) {
            let run = try Run(c)
            let out = try run(in: Workspace(threads: 1))
            #expect(try run(in: Workspace(threads: 3)) == out, "\(run.name)")
            for i in 0..<run.n {
                let alone = try run(image: i, in: Workspace(threads: 2))
                let size = out.count / run.n
                #expect(alone == Array(out[(i * size)..<((i + 1) * size)]), "\(run.name), image \(i)")
            }
        }
    }

    /// Weights of 16 bits give what the same values in 32 bits give.
    @Test(arguments: [PanelElement.f16, .bf16]) func weightsMayBeNarrow(element: PanelElement) throws {
        let c = try #require(try Fixture("unet2d_condition").cases.first { try $0.string("name") == "sdxl" })
        let narrow = try Run(c, RoundedWeights(to: element, as: element))
        let wide = try Run(c, RoundedWeights(to: element, as: .f32))
        #expect(try narrow(in: Workspace(threads: 2)) == wide(in: Workspace(threads: 2)))
    }

    /// A text that is kept serves all steps, which take no more memory than the first.
    @Test func aTextIsKept() throws {
        let c = try #require(try Fixture("unet2d_condition").cases.first { try $0.string("name") == "sd15" })
        let run = try Run(c)
        let workspace = Workspace(threads: 2)
        let text = try run.text(in: workspace)
        let first = try run(text, in: workspace)
        let bytes = workspace.bytes
        for _ in 0..<2 { #expect(try run(text, in: workspace) == first) }
        #expect(workspace.bytes == bytes)
    }

    @Test func inputsThatDoNotFitAreErrors() throws {
        let workspace = Workspace(threads: 1)
        let small = try tinyCondition()
        let net = try UNet2DCondition(UNet2DConditionConfig(small), Weights(GoldenWeights()))
        let x = try zeros(1, 8, 8, 4, in: workspace)
        let states = try zeros(1, 1, 5, 16, in: workspace)
        let text = try net.text(states, in: workspace)
        #expect(try net(x, timesteps: [1], text: text, in: workspace).count == x.count)
        func fails(_ body: () throws -> Void) { #expect(throws: MCMError.self, performing: body) }

        fails { _ = try net.text(zeros(1, 1, 5, 17, in: workspace), in: workspace) }
        fails { _ = try net.text(zeros(1, 1, 0, 16, in: workspace), in: workspace) }
        fails { _ = try net(zeros(1, 8, 8, 3, in: workspace), timesteps: [1], text: text, in: workspace) }
        fails { _ = try net(zeros(1, 0, 8, 4, in: workspace), timesteps: [1], text: text, in: workspace) }
        fails { _ = try net(zeros(0, 8, 8, 4, in: workspace), timesteps: [], text: text, in: workspace) }
        fails { _ = try net(zeros(2, 8, 8, 4, in: workspace), timesteps: [1, 2], text: text, in: workspace) }
        fails { _ = try net(x, timesteps: [1, 2], text: text, in: workspace) }
        var conditions = UNet2DCondition.Conditions()
        conditions.timeIDs = [1, 2, 3]
        fails { _ = try net(x, timesteps: [1], text: text, conditions: conditions, in: workspace) }
        conditions = .init()
        conditions.timestepCond = [1]
        fails { _ = try net(x, timesteps: [1], text: text, conditions: conditions, in: workspace) }
        conditions = .init()
        conditions.classInput = [1]
        fails { _ = try net(x, timesteps: [1], text: text, conditions: conditions, in: workspace) }
        let wrong = ControlResiduals(skips: [x, x], mid: x)
        fails { _ = try net(x, timesteps: [1], text: text, control: wrong, in: workspace) }
        let good = try [8, 8, 4, 4].map { try zeros(1, $0, $0, 8, in: workspace) }
        let control = ControlResiduals(skips: good, mid: x)
        fails { _ = try net(x, timesteps: [1], text: text, control: control, in: workspace) }

        // Another network's text.
        let deeper = try UNet2DCondition(
            UNet2DConditionConfig(tinyCondition(["transformer_layers_per_block": .integer(2)])),
            Weights(GoldenWeights()))
        fails { _ = try deeper(x, timesteps: [1], text: text, in: workspace) }

        // SDXL
        let sdxl = try UNet2DCondition(
            UNet2DConditionConfig(
                tinyCondition([
                    "addition_embed_type": .string("text_time"), "addition_time_embed_dim": .integer(4),
                    "projection_class_embeddings_input_dim": .integer(20),
                ])), Weights(GoldenWeights()))
        for (texts, ids) in [(0, 0), (20, 0), (12, 2), (0, 5), (12, 3), (4, 4), (19, 0), (0, 6)] {
            conditions = .init()
            conditions.textEmbeds = [Float](repeating: 1, count: texts)
            conditions.timeIDs = [Float](repeating: 1, count: ids)
            let text = try sdxl.text(states, in: workspace)
            func run() throws { _ = try sdxl(x, timesteps: [1], text: text, conditions: conditions, in: workspace) }
            if texts + 4 * ids == 20 { try run() } else { fails(run) }
        }
    }

    /// What is not computed is refused, in one line that names the option.
    @Test(arguments: [
        ("dual_cross_attention", "true"), ("num_attention_heads", "8"), ("attention_type", "\"gated\""),
        ("addition_embed_type", "\"image\""), ("addition_embed_type", "\"text_time\""),
        ("class_embed_type", "\"projection\""), ("class_embed_type", "7"), ("time_embedding_type", "\"fourier\""),
        ("encoder_hid_dim_type", "\"image_proj\""), ("encoder_hid_dim_type", "\"text_proj\""),
        ("resnet_skip_time_act", "true"), ("resnet_out_scale_factor", "2"), ("class_embeddings_concat", "true"),
        ("time_embedding_act_fn", "\"gelu\""), ("timestep_post_act", "\"silu\""), ("act_fn", "\"tanh\""),
        ("mid_block_type", "\"UNetMidBlock2DSimpleCrossAttn\""), ("norm_num_groups", "null"), ("norm_num_groups", "3"),
        ("down_block_types", "[\"KDownBlock2D\", \"DownBlock2D\"]"), ("down_block_types", "[\"DownBlock2D\"]"),
        ("down_block_types", "[\"SkipDownBlock2D\", \"DownBlock2D\"]"), ("up_block_types", "[]"),
        ("down_block_types", "[\"Down\\nBlock2D\", \"DownBlock2D\"]"),
        ("block_out_channels", "[8, 0]"), ("block_out_channels", "[]"), ("block_out_channels", "[8, 65537]"),
        ("attention_head_dim", "[2]"), ("attention_head_dim", "0"), ("attention_head_dim", "9"),
        ("attention_head_dim", "[2, \"2\"]"), ("cross_attention_dim", "[16, 16, 16]"), ("cross_attention_dim", "null"),
        ("transformer_layers_per_block", "[1]"), ("transformer_layers_per_block", "-1"),
        ("transformer_layers_per_block", "65"), ("transformer_layers_per_block", "[[1, 1], 1]"),
        ("transformer_layers_per_block", "[[1, \"a\"], 1]"), ("reverse_transformer_layers_per_block", "[1, [1]]"),
        ("reverse_transformer_layers_per_block", "[[1, 1], [1]]"), ("reverse_transformer_layers_per_block", "[[], 1]"),
        ("layers_per_block", "[1]"), ("layers_per_block", "0"), ("only_cross_attention", "[true]"),
        ("only_cross_attention", "[true, 1]"), ("conv_in_kernel", "2"), ("conv_out_kernel", "0"),
        ("in_channels", "0"), ("norm_eps", "\"1e-5\""), ("time_cond_proj_dim", "0"), ("option_of_next_year", "1"),
        ("sample_size", "[8]"), ("freq_shift", "null"),
    ])
    func damagedConfigsAreErrors(key: String, value: String) throws {
        let config = try tinyCondition([key: JSONValue(parsing: value, name: "value")])
        let error = #expect(throws: MCMError.self) {
            _ = try UNet2DCondition(UNet2DConditionConfig(config), Weights(GoldenWeights()))
        }
        #expect(error?.message.contains("\n") == false && error?.message.isEmpty == false)
    }

    /// Options replaced by values of all kinds: a network, or an error of one line.
    @Test func anyConfigIsReadOrRefused() throws {
        let whole = try #require(try Fixture("unet2d_condition").cases.first).object("config")
        var read = 0, refused = 0
        for key in whole.members.keys.sorted() {
            for value in anyValues {
                let config = try tinyCondition([key: value])
                do {
                    _ = try UNet2DCondition(UNet2DConditionConfig(config), Weights(BoundedZeros()))
                    read += 1
                } catch let error as MCMError {
                    #expect(!error.message.contains("\n") && !error.message.isEmpty, "\(key): \(value)")
                    refused += 1
                }
            }
        }
        #expect(read > 100 && refused > 500, "\(read) read, \(refused) refused")
    }
}

/// One case of the fixture.
private struct Run {
    let c: JSONObject
    let name: String
    let n: Int
    let seed: UInt64
    let net: UNet2DCondition

    init(_ c: JSONObject, _ source: any TensorSource = GoldenWeights()) throws {
        self.c = c
        name = try c.string("name")
        n = try c.int("batch")
        seed = UInt64(try c.int("seed"))
        net = try UNet2DCondition(UNet2DConditionConfig(c.object("config")), Weights(source))
    }

    func text(image: Int? = nil, in workspace: Workspace) throws -> UNet2DCondition.Text {
        let (tokens, channels) = (try c.int("tokens"), try c.int("text_channels"))
        let states = try Tensor(n, 1, tokens, channels, in: workspace)
        _ = states.buffer.update(fromContentsOf: randn(states.count, seed: seed + 1000))
        return try net.text(states.picked(image), in: workspace)
    }

    /// The prediction, (n, c, h, w); of one image if it is given.
    func callAsFunction(
        _ text: UNet2DCondition.Text? = nil, image: Int? = nil, in workspace: Workspace
    ) throws -> [Float] {
        func pick(_ values: [Float]) -> [Float] { values.picked(image, of: n) }
        var conditions = UNet2DCondition.Conditions()
        if c.has("class_labels") { conditions.classInput = pick(try c.doubles("class_labels").map { Float($0) }) }
        if let width = try c.optionalInt("class_inputs") {
            #expect(width == net.classInputSize)
            conditions.classInput = pick(randn(n * width, seed: seed + 2000))
        }
        if try c.bool("timestep_cond") {
            conditions.timestepCond = pick(
                randn(n * (try c.object("config").int("time_cond_proj_dim")), seed: seed + 3000))
        }
        if let width = try c.optionalInt("text_embeds") {
            conditions.textEmbeds = pick(randn(n * width, seed: seed + 4000))
            conditions.timeIDs = pick((0..<n).flatMap { [1024, 768, 0, 16 * Float($0), 512, 512] })
        }
        var control: ControlResiduals?
        if try c.bool("control"), case .array(let shapes) = c.value("control_shapes") {
            let residuals = try shapes.enumerated().map { i, shape in
                guard case .array(let sizes) = shape else { throw MCMError(.format, "no shape") }
                let s = sizes.map { if case .integer(let size) = $0 { size } else { 0 } }
                return try noise(s[0], s[1], s[2], s[3], seed: seed + 5000 + UInt64(i), in: workspace).picked(image)
            }
            control = ControlResiduals(skips: residuals.dropLast(), mid: residuals[residuals.count - 1])
        }
        let x = try noise(n, net.config.inChannels, c.int("height"), c.int("width"), seed: seed, in: workspace)
            .picked(image)
        let out = try net(
            x, timesteps: pick(c.doubles("timesteps").map { Float($0) }),
            text: text ?? self.text(image: image, in: workspace), conditions: conditions, control: control,
            in: workspace)
        return nchw(out)
    }
}
