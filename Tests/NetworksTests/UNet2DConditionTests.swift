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
        let small = try tinyCondition([:])
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
        let values: [JSONValue] = [
            .null, .bool(true), .bool(false), .integer(0), .integer(1), .integer(-1), .integer(3), .integer(8),
            .integer(.max), .integer(.min), .number(0.5), .number(1e300), .string(""), .string("silu"), .string("x\ny"),
            .array([]), .array([.integer(8), .integer(16)]), .array([.integer(1), .integer(1), .integer(1)]),
            .array([.array([.integer(1), .integer(2)]), .integer(1)]), .array([.bool(true), .bool(false)]),
            .array([.string("DownBlock2D"), .string("CrossAttnDownBlock2D")]), .object(["a": .integer(1)]),
        ]
        let whole = try #require(try Fixture("unet2d_condition").cases.first).object("config")
        var read = 0, refused = 0
        for key in whole.members.keys.sorted() {
            for value in values {
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

/// Golden weights, rounded.
private final class RoundedWeights: TensorSource {
    private let golden = GoldenWeights()
    private let rounding, stored: PanelElement

    init(to rounding: PanelElement, as stored: PanelElement) { (self.rounding, self.stored) = (rounding, stored) }

    func contains(_ key: String) -> Bool { true }
    func finish() throws {}
    func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        try golden.withElements(key, shape: shape) { elements in
            let values = (0..<elements.count).map { elements[$0] }
            return try withStored(rounded(values, to: rounding), as: stored, body)
        }
    }
}

/// Zeros for tensors of up to a million elements.
private final class BoundedZeros: TensorSource {
    func contains(_ key: String) -> Bool { true }
    func finish() throws {}
    func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        guard let count = checkedProduct(shape), count <= 1 << 20 else {
            throw MCMError(.format, "tensor \(key) of shape \(shape) is too large")
        }
        return try [Float](repeating: 0, count: count).withUnsafeBytes {
            guard let base = $0.baseAddress else { throw MCMError(.format, "tensor \(key) is empty") }
            return try body(StoredFloats(.f32, base, count: count))
        }
    }
}

/// The config of a network of two levels, some of whose options are replaced.
private func tinyCondition(_ options: [String: JSONValue]) throws -> JSONObject {
    let json = try JSONValue(
        parsing: """
            {"block_out_channels": [8, 8], "norm_num_groups": 2, "layers_per_block": 1, "cross_attention_dim": 16,
             "attention_head_dim": 2, "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
             "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]}
            """, name: "tiny")
    guard case .object(let members) = json else { throw MCMError(.format, "no object") }
    return try JSONObject(.object(members.merging(options) { $1 }), name: "unet/config.json")
}

private func zeros(_ n: Int, _ h: Int, _ w: Int, _ c: Int, in workspace: Workspace) throws -> Tensor {
    let x = try Tensor(n, h, w, c, in: workspace)
    x.buffer.update(repeating: 0)
    return x
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
        return try net.text(image.map { states.image($0) } ?? states, in: workspace)
    }

    /// The prediction, (n, c, h, w); of one image if it is given.
    func callAsFunction(
        _ text: UNet2DCondition.Text? = nil, image: Int? = nil, in workspace: Workspace
    ) throws -> [Float] {
        func pick(_ values: [Float]) -> [Float] {
            guard let image else { return values }
            let size = values.count / n
            return Array(values[(image * size)..<((image + 1) * size)])
        }
        func pick(_ x: Tensor) -> Tensor { image.map { x.image($0) } ?? x }
        func noise(_ n: Int, _ c: Int, _ h: Int, _ w: Int, _ seed: UInt64) throws -> Tensor {
            let x = try Tensor(n, h, w, c, in: workspace)
            fromNCHW(randn(x.count, seed: seed), into: x)
            return x
        }
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
                return pick(try noise(s[0], s[1], s[2], s[3], seed + 5000 + UInt64(i)))
            }
            control = ControlResiduals(skips: residuals.dropLast(), mid: residuals[residuals.count - 1])
        }
        let x = pick(try noise(n, net.config.inChannels, c.int("height"), c.int("width"), seed))
        let out = try net(
            x, timesteps: pick(c.doubles("timesteps").map { Float($0) }),
            text: text ?? self.text(image: image, in: workspace), conditions: conditions, control: control,
            in: workspace)
        var values = [Float](repeating: 0, count: out.count)
        toNCHW(out, into: &values)
        return values
    }
}
