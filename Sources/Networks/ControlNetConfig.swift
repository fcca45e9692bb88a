import Checkpoint

/// The options of diffusers' ControlNetModel, by their names there. What the library does not compute is refused.
public struct ControlNetConfig: Sendable {
    public var inChannels: Int { encoder.inChannels }
    /// Of the image that the network follows.
    public var conditioningChannels: Int
    /// Whether residuals are means over all pixels. diffusers' pipelines then use them for the guided half of a batch
    /// only, as in guess mode.
    public var globalPoolConditions: Bool
    /// Channels of the text's states.
    public var textChannels: Int { encoder.crossAttentionDim }
    /// Pixels of the image for each of the sample, in each direction.
    public var imageScale: Int { 1 << (conditioningEmbeddingOutChannels.count - 1) }
    /// Channels of each output that the way down keeps, to which a ControlNet's residuals are added.
    public var skipChannels: [Int] { encoder.skipChannels }
    var encoder: UNetEncoderConfig
    var conditioningEmbeddingOutChannels: [Int]
    /// Whether the network was trained on images whose channels come in the opposite order.
    var reversesChannels: Bool

    /// Reads a config.json. Unknown options are refused: they would change the arithmetic.
    public init(_ json: JSONObject) throws {
        let size = UNetEncoderConfig.size
        encoder = try UNetEncoderConfig(json)
        conditioningChannels = try json.int("conditioning_channels", default: 3, in: size)
        conditioningEmbeddingOutChannels = try json.ints(
            "conditioning_embedding_out_channels", default: [16, 32, 96, 256], in: size, count: 1...12)
        reversesChannels =
            try json.string("controlnet_conditioning_channel_order", default: "rgb", oneOf: ["rgb", "bgr"]) == "bgr"
        globalPoolConditions = try json.bool("global_pool_conditions", default: false)
        if encoder.mid == nil {
            throw json.error("mid_block_type", expected: "\"UNetMidBlock2DCrossAttn\" or \"UNetMidBlock2D\"")
        }
        // diffusers makes this projection of the text but does not use it.
        for key in ["encoder_hid_dim", "encoder_hid_dim_type"] { try json.refuseUnless(key, in: []) }
        try json.rejectUnknown(harmless: UNetEncoderConfig.harmless)
    }

    /// A sample's height and width must be multiples of this.
    public var sizeMultiple: Int { encoder.sizeMultiple() }
}
