import Checkpoint
import Kernels

/// The options of diffusers' UNet2DConditionModel, by their names there. What the library does not compute is refused.
public struct UNet2DConditionConfig: Sendable {
    public var sampleSize: (height: Int, width: Int)?
    public var inChannels, outChannels: Int
    /// Channels of the text's states: encoder_hid_dim, or cross_attention_dim.
    public var textChannels: Int
    var encoderHidDim: Int?
    var centerInputSample: Bool
    var timeEmbeddingDim: Int
    /// Numbers of the guidance embedding that consistency models are told; nil for others.
    public var timeCondProjDim: Int?
    var freqShift: Double
    var flipSinToCos: Bool
    var downsamplePadding: Int
    var activation: Activation
    var normNumGroups: Int
    var normEps: Double
    var scaleShift: Bool
    var convInKernel, convOutKernel: Int
    var classEmbedType: String?
    var numClassEmbeds: Int?
    var projectionInputDim: Int?  // projection_class_embeddings_input_dim
    /// Numbers per entry of time_ids, for addition_embed_type "text_time".
    var additionTimeEmbedDim: Int?
    var down, up: [UNetLevel]
    var mid: MidBlockOptions?

    /// Reads a config.json. Unknown options are refused: they would change the arithmetic.
    public init(_ json: JSONObject) throws {
        let size = 1...65536
        inChannels = try json.int("in_channels", default: 4, in: size)
        outChannels = try json.int("out_channels", default: 4, in: size)
        sampleSize = try json.sampleSize()
        centerInputSample = try json.bool("center_input_sample", default: false)
        freqShift = try json.double("freq_shift", default: 0)
        flipSinToCos = try json.bool("flip_sin_to_cos", default: true)
        downsamplePadding = try json.int("downsample_padding", default: 1, in: 0...1)
        activation = try json.activation("act_fn", default: "silu")
        normNumGroups = try json.int("norm_num_groups", default: 32, in: size)
        normEps = try json.double("norm_eps", default: 1e-5, in: 0...1)
        scaleShift =
            try json.string("resnet_time_scale_shift", default: "default", oneOf: ["default", "scale_shift"])
            == "scale_shift"
        convInKernel = try json.oddKernel("conv_in_kernel")
        convOutKernel = try json.oddKernel("conv_out_kernel")
        timeCondProjDim = try json.optionalInt("time_cond_proj_dim", in: size)
        numClassEmbeds = try json.optionalInt("num_class_embeds", in: 1...(1 << 24))
        classEmbedType = try json.optionalString(
            "class_embed_type", oneOf: ["timestep", "identity", "projection", "simple_projection"])
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
        encoderHidDim = try json.optionalInt("encoder_hid_dim", in: size)
        let hasTextProjection = try json.optionalString("encoder_hid_dim_type", oneOf: ["text_proj"]) != nil
        if hasTextProjection && encoderHidDim == nil { throw json.error("encoder_hid_dim", expected: "an integer") }

        let channels = try json.ints("block_out_channels", default: [320, 640, 1280, 1280], in: size, count: 1...12)
        timeEmbeddingDim = try json.optionalInt("time_embedding_dim", in: size) ?? channels[0] * 4
        let levels = try Levels(json, channels)
        (down, up) = (levels.down, levels.up)
        mid = try levels.mid(json)
        textChannels = encoderHidDim ?? levels.crossAttentionDim

        try json.refuseUnless("dual_cross_attention", in: [.bool(false)])
        try json.refuseUnless("time_embedding_type", in: [.string("positional")])
        try json.refuseUnless("attention_type", in: [.string("default")])
        try json.refuseUnless("resnet_skip_time_act", in: [.bool(false)])
        try json.refuseUnless("resnet_out_scale_factor", in: [.integer(1), .number(1)])
        try json.refuseUnless("class_embeddings_concat", in: [.bool(false)])
        // diffusers refuses it too: what it calls attention_head_dim has been the number of heads ever since.
        try json.refuseUnless("num_attention_heads", in: [])
        for key in ["time_embedding_act_fn", "timestep_post_act"] { try json.refuseUnless(key, in: []) }
        // Of training, of numbers of fewer bits, and of blocks that are refused.
        try json.rejectUnknown(
            harmless: [
                "dropout", "upcast_attention", "mid_block_only_cross_attention", "cross_attention_norm",
                "addition_embed_type_num_heads",
            ])
    }

    /// Channels of the pooled text that it reads beside so many time ids.
    public func pooledChannels(timeIDs: Int) -> Int {
        guard let width = additionTimeEmbedDim, let all = projectionInputDim else { return 0 }
        return max(0, all - timeIDs * width)
    }

    /// Height and width must be multiples of this. Convolutions halve any size, residual blocks even ones.
    public var sizeMultiple: Int {
        (down + up).contains { $0.type.contains("sampleBlock2D") } ? 1 << (down.count - 1) : 1
    }
}

/// The levels, whose options are numbers for all or lists with one for each.
private struct Levels {
    var down: [UNetLevel] = []
    var up: [UNetLevel] = []
    /// Of the first level that reads the text.
    let crossAttentionDim: Int

    init(_ json: JSONObject, _ channels: [Int]) throws {
        let size = 1...65536, count = channels.count
        let downTypes = try json.strings(
            "down_block_types",
            default: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"])
        let upTypes = try json.strings(
            "up_block_types",
            default: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"])
        for (key, types) in [("down_block_types", downTypes), ("up_block_types", upTypes)] where types.count != count {
            throw json.error(key, expected: "\(count) blocks, as in \"block_out_channels\"")
        }
        let layers = try json.intOrInts("layers_per_block", default: 2, in: 1...64, count: count)
        // The number of heads in transformers, their size in AttnDownBlock2D.
        let heads = try json.intOrInts("attention_head_dim", default: 8, in: size, count: count)
        let crossDims = try json.intOrInts("cross_attention_dim", default: 1280, in: size, count: count)
        let onlyCross = try json.boolOrBools("only_cross_attention", count: count)
        let linear = try json.bool("use_linear_projection", default: false)
        let depths = try json.transformerLayers("transformer_layers_per_block", count: count)
        let upDepths = try json.transformerLayers("reverse_transformer_layers_per_block", count: count)
        if depths?.isNested == true && upDepths == nil {
            throw json.error(
                "reverse_transformer_layers_per_block",
                expected: "a list, for \"transformer_layers_per_block\" is nested")
        }
        let single = [Int](repeating: 1, count: 65)
        for i in 0..<count {
            down.append(
                UNetLevel(
                    type: downTypes[i], channels: channels[i], layers: layers[i], headDim: heads[i],
                    transformers: TransformerOptions(
                        heads: heads[i], layers: depths?.levels[i] ?? single, crossAttentionDim: crossDims[i],
                        onlyCrossAttention: onlyCross[i], useLinearProjection: linear)))
        }
        crossAttentionDim = crossDims[downTypes.firstIndex { $0.contains("CrossAttn") } ?? count - 1]
        up = down.reversed()
        for i in 0..<count {
            up[i].type = upTypes[i]
            up[i].headDim = heads[i]  // as diffusers, which reverses the list for transformers only
            if let upDepths { up[i].transformers?.layers = upDepths.levels[i] }
        }
    }

    func mid(_ json: JSONObject) throws -> MidBlockOptions? {
        let type =
            json.members["mid_block_type"] == nil
            ? "UNetMidBlock2DCrossAttn"
            : try json.optionalString("mid_block_type", oneOf: ["UNetMidBlock2DCrossAttn", "UNetMidBlock2D"])
        let scale = try json.double("mid_block_scale_factor", default: 1, in: 1e-6...1e6)
        guard let type, let last = down.last, var transformers = last.transformers else { return nil }
        if type == "UNetMidBlock2D" {
            return MidBlockOptions(channels: last.channels, outputScale: scale, isSingle: true)
        }
        transformers.onlyCrossAttention = false
        return MidBlockOptions(channels: last.channels, outputScale: scale, attention: .transformer(transformers))
    }
}

extension JSONObject {
    /// Throws unless the value is one of these, null or missing.
    fileprivate func refuseUnless(_ key: String, in values: [JSONValue]) throws {
        let value = value(key)
        guard value == .null || values.contains(value) else {
            throw error(key, expected: values.first.map { "\($0)" } ?? "null", kind: .unsupported)
        }
    }

    fileprivate func oddKernel(_ key: String) throws -> Int {
        let kernel = try int(key, default: 3, in: 1...31)
        guard kernel % 2 == 1 else { throw error(key, expected: "an odd integer", kind: .unsupported) }
        return kernel
    }

    /// A number for all levels, or a list with one for each.
    fileprivate func intOrInts(_ key: String, default: Int, in range: ClosedRange<Int>, count: Int) throws -> [Int] {
        if case .array = value(key) { return try ints(key, in: range, count: count...count) }
        return [Int](repeating: try int(key, default: `default`, in: range), count: count)
    }

    fileprivate func boolOrBools(_ key: String, count: Int) throws -> [Bool] {
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
    fileprivate func transformerLayers(_ key: String, count: Int) throws -> (levels: [[Int]], isNested: Bool)? {
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
