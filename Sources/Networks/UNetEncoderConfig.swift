import Checkpoint
import Kernels

/// The options that diffusers' UNet2DConditionModel and ControlNetModel have in common, by their names there: of the
/// embeddings, the way down and the middle.
struct UNetEncoderConfig {
    var inChannels: Int
    var convInKernel = 3
    var timeEmbeddingDim: Int
    var timeCondProjDim: Int?
    var freqShift: Double
    var flipSinToCos: Bool
    var downsamplePadding: Int
    var activation: Activation
    var normNumGroups: Int
    var normEps: Double
    var scaleShift: Bool
    var classEmbedType: String?
    /// Of the class's embedding, for class_embed_type "timestep".
    var classActivation = Activation.silu
    var numClassEmbeds: Int?
    var projectionInputDim: Int?  // projection_class_embeddings_input_dim
    /// Numbers per entry of time_ids, for addition_embed_type "text_time".
    var additionTimeEmbedDim: Int?
    var down: [UNetLevel]
    var mid: MidBlockOptions?
    /// Of the first level that reads the text.
    var crossAttentionDim: Int

    static var size: ClosedRange<Int> { 1...65536 }
    /// Of numbers of fewer bits, and of embeddings that are refused.
    static var harmless: Set<String> { ["upcast_attention", "addition_embed_type_num_heads"] }

    init(
        _ json: JSONObject, classEmbedTypes: [String] = ["timestep", "identity", "projection"]
    ) throws {
        let size = Self.size
        inChannels = try json.int("in_channels", default: 4, in: size)
        freqShift = try json.double("freq_shift", default: 0)
        flipSinToCos = try json.bool("flip_sin_to_cos", default: true)
        downsamplePadding = try json.int("downsample_padding", default: 1, in: 0...1)
        activation = try json.activation("act_fn", default: "silu")
        normNumGroups = try json.int("norm_num_groups", default: 32, in: size)
        normEps = try json.double("norm_eps", default: 1e-5, in: 0...1)
        scaleShift =
            try json.string("resnet_time_scale_shift", default: "default", oneOf: ["default", "scale_shift"])
            == "scale_shift"
        numClassEmbeds = try json.optionalInt("num_class_embeds", in: 1...(1 << 24))
        classEmbedType = try json.optionalString("class_embed_type", oneOf: classEmbedTypes)
        projectionInputDim = try json.optionalInt("projection_class_embeddings_input_dim", in: size)
        let hasAddedTime = try json.optionalString("addition_embed_type", oneOf: ["text_time"]) != nil
        let additionTimeEmbedDim = try json.optionalInt("addition_time_embed_dim", in: size)
        self.additionTimeEmbedDim = hasAddedTime ? additionTimeEmbedDim : nil
        if hasAddedTime && additionTimeEmbedDim == nil {
            throw json.error("addition_time_embed_dim", expected: "an integer for \"addition_embed_type\" text_time")
        }
        if projectionInputDim == nil && (hasAddedTime || classEmbedType?.hasSuffix("projection") == true) {
            throw json.error("projection_class_embeddings_input_dim", expected: "an integer")
        }
        let channels = try json.ints("block_out_channels", default: [320, 640, 1280, 1280], in: size, count: 1...12)
        timeEmbeddingDim = channels[0] * 4
        down = try json.downLevels(channels)
        crossAttentionDim =
            (down.first { $0.type.contains("CrossAttn") } ?? down[down.count - 1]).transformers?.crossAttentionDim ?? 0
        mid = try json.midBlock(after: down[down.count - 1])
        // diffusers' UNet refuses it too: what it calls attention_head_dim has been the number of heads ever since.
        try json.refuseUnless("num_attention_heads", in: [])
    }

    /// Channels of each output that the way down keeps.
    var skipChannels: [Int] {
        [down[0].channels]
            + down.enumerated().flatMap { i, level in
                [Int](repeating: level.channels, count: level.layers + (i < down.count - 1 ? 1 : 0))
            }
    }

    /// Height and width must be multiples of this. Convolutions halve any size, residual blocks even ones.
    func sizeMultiple(up: [UNetLevel] = []) -> Int {
        (down + up).contains { $0.type.contains("sampleBlock2D") } ? 1 << (down.count - 1) : 1
    }

    /// What all blocks have in common.
    var options: UNetOptions {
        UNetOptions(
            block: BlockOptions(
                embedding: timeEmbeddingDim, activation: activation, epsilon: normEps, scaleShift: scaleShift),
            groups: normNumGroups, downsamplePadding: downsamplePadding, isConditional: true)
    }
}

/// The levels, whose options are numbers for all or lists with one for each.
extension JSONObject {
    fileprivate func downLevels(_ channels: [Int]) throws -> [UNetLevel] {
        let size = UNetEncoderConfig.size, count = channels.count
        let types = try blockTypes(
            "down_block_types",
            default: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
            count: count)
        let layers = try intOrInts("layers_per_block", default: 2, in: 1...64, count: count)
        // The number of heads in transformers, their size in AttnDownBlock2D.
        let heads = try intOrInts("attention_head_dim", default: 8, in: size, count: count)
        let crossDims = try intOrInts("cross_attention_dim", default: 1280, in: size, count: count)
        let onlyCross = try boolOrBools("only_cross_attention", count: count)
        let linear = try bool("use_linear_projection", default: false)
        let depths = try transformerLayers("transformer_layers_per_block", count: count)
        let single = [Int](repeating: 1, count: 65)
        return (0..<count).map { i in
            UNetLevel(
                type: types[i], channels: channels[i], layers: layers[i], headDim: heads[i],
                transformers: TransformerOptions(
                    heads: heads[i], layers: depths?.levels[i] ?? single, crossAttentionDim: crossDims[i],
                    onlyCrossAttention: onlyCross[i], useLinearProjection: linear))
        }
    }

    /// nil for none.
    fileprivate func midBlock(after last: UNetLevel) throws -> MidBlockOptions? {
        let type =
            members["mid_block_type"] == nil
            ? "UNetMidBlock2DCrossAttn"
            : try optionalString("mid_block_type", oneOf: ["UNetMidBlock2DCrossAttn", "UNetMidBlock2D"])
        let scale = try double("mid_block_scale_factor", default: 1, in: 1e-6...1e6)
        guard let type, var transformers = last.transformers else { return nil }
        if type == "UNetMidBlock2D" {
            return MidBlockOptions(channels: last.channels, outputScale: scale, isSingle: true)
        }
        transformers.onlyCrossAttention = false
        return MidBlockOptions(channels: last.channels, outputScale: scale, attention: .transformer(transformers))
    }

    /// One per level.
    func blockTypes(_ key: String, default: [String], count: Int) throws -> [String] {
        let types = try strings(key, default: `default`)
        guard types.count == count else {
            throw error(key, expected: "\(count) blocks, as in \"block_out_channels\"")
        }
        return types
    }
}

extension JSONObject {
    /// Throws unless the value is one of these, null or missing.
    func refuseUnless(_ key: String, in values: [JSONValue]) throws {
        let value = value(key)
        guard value == .null || values.contains(value) else {
            throw error(key, expected: values.first.map { "\($0)" } ?? "null", kind: .unsupported)
        }
    }

    func oddKernel(_ key: String) throws -> Int {
        let kernel = try int(key, default: 3, in: 1...31)
        guard kernel % 2 == 1 else { throw error(key, expected: "an odd integer", kind: .unsupported) }
        return kernel
    }

    /// A number for all levels, or a list with one for each.
    func intOrInts(_ key: String, default: Int, in range: ClosedRange<Int>, count: Int) throws -> [Int] {
        if case .array = value(key) { return try ints(key, in: range, count: count...count) }
        return [Int](repeating: try int(key, default: `default`, in: range), count: count)
    }

    func boolOrBools(_ key: String, count: Int) throws -> [Bool] {
        guard case .array(let values) = value(key) else {
            return [Bool](repeating: try bool(key, default: false), count: count)
        }
        let bools = values.compactMap { if case .bool(let value) = $0 { value } else { nil } }
        guard bools.count == count, values.count == count else {
            throw error(key, expected: "true, false or a list of \(count) of them")
        }
        return bools
    }

    /// The layers of each transformer of each level: a number for all, or a list whose elements are numbers, or lists
    /// with a number for each transformer. A number stands for as many as are needed.
    func transformerLayers(_ key: String, count: Int) throws -> (levels: [[Int]], isNested: Bool)? {
        func number(_ value: JSONValue) -> Int? {
            if case .integer(let layers) = value, (0...64).contains(layers) { layers } else { nil }
        }
        var isNested = false
        func level(_ value: JSONValue) -> [Int]? {
            if let layers = number(value) { return [Int](repeating: layers, count: 65) }
            guard case .array(let values) = value else { return nil }
            isNested = true
            let layers = values.compactMap(number)
            return layers.count == values.count && !layers.isEmpty ? layers : nil
        }
        let value = value(key)
        guard value != .null else { return nil }
        let levels: [[Int]]
        if case .array(let values) = value {
            levels = values.compactMap(level)
        } else {
            levels = level(value).map { [[Int]](repeating: $0, count: count) } ?? []
        }
        guard levels.count == count else {
            throw error(key, expected: "an integer from 0 to 64 or a list of \(count)")
        }
        return (levels, isNested)
    }
}
