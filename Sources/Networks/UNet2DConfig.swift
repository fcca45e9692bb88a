import Checkpoint
import Kernels

/// The options of diffusers' UNet2DModel, by their names there.
public struct UNet2DConfig: Sendable {
    public var sampleSize: (height: Int, width: Int)?
    public var inChannels, outChannels: Int
    var centerInputSample: Bool
    var timeEmbeddingType: String
    var timeEmbeddingDim: Int
    var freqShift: Double
    var flipSinToCos: Bool
    var downBlockTypes, upBlockTypes: [String]
    var hasMidBlock: Bool
    var blockOutChannels: [Int]
    var layersPerBlock: Int
    var midBlockScaleFactor: Double
    var downsamplePadding: Int
    var downsampleType, upsampleType: String
    var activation: Activation
    var attentionHeadDim: Int?
    var normNumGroups: Int?
    var attnNormNumGroups: Int?
    var normEps: Double
    var scaleShift: Bool
    var addAttention: Bool
    var classEmbedType: String?
    var numClassEmbeds: Int?
    var numTrainTimesteps: Int?

    /// Reads a config.json, or the "net" of a module file. The channels, if given, are the caller's: then the config
    /// may not name them. Unknown options are refused: they would change the arithmetic.
    public init(_ json: JSONObject, channels: (in: Int, out: Int)? = nil) throws {
        let size = 1...65536
        if let channels {
            (inChannels, outChannels) = channels
        } else {
            inChannels = try json.int("in_channels", default: 3, in: size)
            outChannels = try json.int("out_channels", default: 3, in: size)
        }
        sampleSize = try json.sampleSize()
        centerInputSample = try json.bool("center_input_sample", default: false)
        timeEmbeddingType = try json.string(
            "time_embedding_type", default: "positional", oneOf: ["positional", "fourier", "learned"])
        freqShift = try json.double("freq_shift", default: 0)
        flipSinToCos = try json.bool("flip_sin_to_cos", default: true)
        let levels = 1...12
        downBlockTypes = try json.strings(
            "down_block_types", default: ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
            count: levels)
        upBlockTypes = try json.strings(
            "up_block_types", default: ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"], count: levels)
        // Any name stands for UNetMidBlock2D; null for none.
        hasMidBlock = json.has("mid_block_type") || json.members["mid_block_type"] == nil
        _ = json.value("mid_block_type")
        blockOutChannels = try json.ints("block_out_channels", default: [224, 448, 672, 896], in: size, count: levels)
        layersPerBlock = try json.int("layers_per_block", default: 2, in: 1...64)
        midBlockScaleFactor = try json.double("mid_block_scale_factor", default: 1, in: 1e-6...1e6)
        downsamplePadding = try json.int("downsample_padding", default: 1, in: 0...1)
        downsampleType = try json.optionalString("downsample_type", oneOf: ["conv", "resnet"]) ?? "conv"
        upsampleType = try json.optionalString("upsample_type", oneOf: ["conv", "resnet"]) ?? "conv"
        _ = try json.double("dropout", default: 0)  // in training only
        activation = try json.activation("act_fn", default: "silu")
        attentionHeadDim =
            json.members["attention_head_dim"] == nil ? 8 : try json.optionalInt("attention_head_dim", in: size)
        normNumGroups =
            json.members["norm_num_groups"] == nil ? 32 : try json.optionalInt("norm_num_groups", in: size)
        attnNormNumGroups = try json.optionalInt("attn_norm_num_groups", in: size)
        normEps = try json.double("norm_eps", default: 1e-5, in: 0...1)
        scaleShift =
            try json.string("resnet_time_scale_shift", default: "default", oneOf: ["default", "scale_shift"])
            == "scale_shift"
        addAttention = try json.bool("add_attention", default: true)
        classEmbedType = try json.optionalString("class_embed_type", oneOf: ["timestep", "identity"])
        numClassEmbeds = try json.optionalInt("num_class_embeds", in: 1...(1 << 24))
        numTrainTimesteps = try json.optionalInt("num_train_timesteps", in: 1...(1 << 24))
        timeEmbeddingDim = try json.optionalInt("time_embedding_dim", in: size) ?? blockOutChannels[0] * 4
        if timeEmbeddingType == "learned" && numTrainTimesteps == nil {
            throw json.error("num_train_timesteps", expected: "an integer for a learned time embedding")
        }
        for (key, count) in [("down_block_types", downBlockTypes.count), ("up_block_types", upBlockTypes.count)]
        where count != blockOutChannels.count {
            throw json.error(key, expected: "\(blockOutChannels.count) blocks, as in \"block_out_channels\"")
        }
        try json.rejectUnknown()
    }

    /// Height and width must be multiples of this: every level but the last halves them.
    public var sizeMultiple: Int { 1 << (blockOutChannels.count - 1) }
}

/// Options that networks have in common.
extension JSONObject {
    /// A number, or [height, width].
    func sampleSize() throws -> (height: Int, width: Int)? {
        if case .array = value("sample_size") {
            let size = try ints("sample_size", in: 1...65536, count: 2...2)
            return (size[0], size[1])
        }
        return try optionalInt("sample_size", in: 1...65536).map { ($0, $0) }
    }

    func activation(_ key: String = "act_fn", default: String = "silu") throws -> Activation {
        guard let activation = Activation(named: try string(key, default: `default`)) else {
            throw error(key, expected: "\"silu\", \"mish\", \"gelu\" or \"relu\"", kind: .unsupported)
        }
        return activation
    }
}
