import Checkpoint
import Kernels

/// The options of diffusers' UNet2DConditionModel, by their names there. What the library does not compute is refused.
public struct UNet2DConditionConfig: Sendable {
    public var sampleSize: (height: Int, width: Int)?
    public var inChannels: Int { encoder.inChannels }
    public var outChannels: Int
    /// Channels of the text's states: encoder_hid_dim, or cross_attention_dim.
    public var textChannels: Int { encoderHidDim ?? encoder.crossAttentionDim }
    /// Channels of each output that the way down keeps, to which a ControlNet's residuals are added.
    public var skipChannels: [Int] { encoder.skipChannels }
    var encoder: UNetEncoderConfig
    var encoderHidDim: Int?
    var centerInputSample: Bool
    var convOutKernel: Int
    var up: [UNetLevel]

    /// Reads a config.json. Unknown options are refused: they would change the arithmetic.
    public init(_ json: JSONObject) throws {
        let size = UNetEncoderConfig.size
        encoder = try UNetEncoderConfig(
            json, classEmbedTypes: ["timestep", "identity", "projection", "simple_projection"])
        encoder.convInKernel = try json.oddKernel("conv_in_kernel")
        encoder.timeCondProjDim = try json.optionalInt("time_cond_proj_dim", in: size)
        encoder.timeEmbeddingDim = try json.optionalInt("time_embedding_dim", in: size) ?? encoder.timeEmbeddingDim
        encoder.classActivation = encoder.activation
        outChannels = try json.int("out_channels", default: 4, in: size)
        sampleSize = try json.sampleSize()
        centerInputSample = try json.bool("center_input_sample", default: false)
        convOutKernel = try json.oddKernel("conv_out_kernel")
        encoderHidDim = try json.optionalInt("encoder_hid_dim", in: size)
        let hasTextProjection = try json.optionalString("encoder_hid_dim_type", oneOf: ["text_proj"]) != nil
        if hasTextProjection && encoderHidDim == nil { throw json.error("encoder_hid_dim", expected: "an integer") }
        up = try json.upLevels(encoder.down)

        try json.refuseUnless("dual_cross_attention", in: [.bool(false)])
        try json.refuseUnless("time_embedding_type", in: [.string("positional")])
        try json.refuseUnless("attention_type", in: [.string("default")])
        try json.refuseUnless("resnet_skip_time_act", in: [.bool(false)])
        try json.refuseUnless("resnet_out_scale_factor", in: [.integer(1), .number(1)])
        try json.refuseUnless("class_embeddings_concat", in: [.bool(false)])
        for key in ["time_embedding_act_fn", "timestep_post_act"] { try json.refuseUnless(key, in: []) }
        // Of training, and of blocks that are refused.
        try json.rejectUnknown(
            harmless: UNetEncoderConfig.harmless.union([
                "dropout", "mid_block_only_cross_attention", "cross_attention_norm",
            ]))
    }

    /// Numbers of the guidance embedding that consistency models are told; nil for others.
    public var timeCondProjDim: Int? { encoder.timeCondProjDim }

    /// Channels of the pooled text that it reads beside so many time ids.
    public func pooledChannels(timeIDs: Int) -> Int {
        guard let width = encoder.additionTimeEmbedDim, let all = encoder.projectionInputDim else { return 0 }
        return max(0, all - timeIDs * width)
    }

    /// Height and width must be multiples of this.
    public var sizeMultiple: Int { encoder.sizeMultiple(up: up) }
}

extension JSONObject {
    /// The way up, from the last level of the way down to the first.
    fileprivate func upLevels(_ down: [UNetLevel]) throws -> [UNetLevel] {
        let types = try blockTypes(
            "up_block_types",
            default: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            count: down.count)
        let depths = try transformerLayers("reverse_transformer_layers_per_block", count: down.count)
        if depths == nil, try transformerLayers("transformer_layers_per_block", count: down.count)?.isNested == true {
            throw error(
                "reverse_transformer_layers_per_block",
                expected: "a list, for \"transformer_layers_per_block\" is nested")
        }
        return down.indices.map { i in
            var level = down[down.count - 1 - i]
            level.type = types[i]
            level.headDim = down[i].headDim  // as diffusers, which reverses the list for transformers only
            if let depths { level.transformers?.layers = depths.levels[i] }
            return level
        }
    }
}
