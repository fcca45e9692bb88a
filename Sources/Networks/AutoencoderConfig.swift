import Checkpoint
import Kernels

/// The options of diffusers' AutoencoderKL and VQModel, by their names there.
public struct AutoencoderConfig: Sendable {
    /// diffusers' class.
    public enum Kind: String, Sendable, CaseIterable { case kl = "AutoencoderKL", vq = "VQModel" }

    public let kind: Kind
    /// Of an image.
    public let inChannels, outChannels: Int
    public let latentChannels: Int
    /// Of an image.
    public let sampleSize: (height: Int, width: Int)
    /// A pipeline scales latents for its network: (z - shiftFactor) * scalingFactor, or with latentsMean and
    /// latentsStd, (z - mean) * scalingFactor / std for each channel.
    public let scalingFactor: Double
    public let shiftFactor: Double?
    public let latentsMean, latentsStd: [Double]?
    let downBlockTypes, upBlockTypes: [String]
    let blockOutChannels: [Int]
    let layersPerBlock: Int
    let activation: Activation
    let normNumGroups: Int
    let midBlockAddAttention: Bool
    /// Of AutoencoderKL; a VQModel has both.
    let useQuantConv, usePostQuantConv: Bool
    /// Of VQModel; vqEmbedDim is latentChannels in AutoencoderKL.
    let numVQEmbeddings, vqEmbedDim: Int
    public let lookupFromCodebook: Bool

    /// Reads a config.json. Unknown options are refused: they would change the arithmetic.
    ///   kind  nil if the config names its class
    public init(_ json: JSONObject, kind: Kind? = nil) throws {
        let size = 1...65536, levels = 1...12
        if let kind {
            self.kind = kind
        } else {
            self.kind = try Self.kind(json)
        }
        inChannels = try json.int("in_channels", default: 3, in: size)
        outChannels = try json.int("out_channels", default: 3, in: size)
        latentChannels = try json.int("latent_channels", default: self.kind == .kl ? 4 : 3, in: 1...32768)
        sampleSize = try json.sampleSize() ?? (32, 32)
        scalingFactor = try json.double("scaling_factor", default: 0.18215, in: 1e-6...1e6)
        downBlockTypes = try json.strings("down_block_types", default: ["DownEncoderBlock2D"], count: levels)
        upBlockTypes = try json.strings("up_block_types", default: ["UpDecoderBlock2D"], count: levels)
        blockOutChannels = try json.ints("block_out_channels", default: [64], in: size, count: levels)
        layersPerBlock = try json.int("layers_per_block", default: 1, in: 1...64)
        activation = try json.activation()
        normNumGroups = try json.int("norm_num_groups", default: 32, in: size)
        midBlockAddAttention = try json.bool("mid_block_add_attention", default: true)
        // For arithmetic in half precision, which there is none of here.
        _ = try json.bool("force_upcast", default: true)
        switch self.kind {
        case .kl:
            shiftFactor = try json.optionalDouble("shift_factor", in: -1e6...1e6)
            let count = latentChannels...latentChannels
            latentsMean =
                json.has("latents_mean") ? try json.doubles("latents_mean", in: -1e6...1e6, count: count) : nil
            latentsStd = json.has("latents_std") ? try json.doubles("latents_std", in: 1e-6...1e6, count: count) : nil
            useQuantConv = try json.bool("use_quant_conv", default: true)
            usePostQuantConv = try json.bool("use_post_quant_conv", default: true)
            (numVQEmbeddings, vqEmbedDim, lookupFromCodebook) = (0, latentChannels, false)
        case .vq:
            (shiftFactor, latentsMean, latentsStd, useQuantConv, usePostQuantConv) = (nil, nil, nil, true, true)
            numVQEmbeddings = try json.int("num_vq_embeddings", default: 256, in: 1...(1 << 24))
            vqEmbedDim = try json.optionalInt("vq_embed_dim", in: size) ?? latentChannels
            lookupFromCodebook = try json.bool("lookup_from_codebook", default: false)
            guard try json.string("norm_type", default: "group", oneOf: ["group", "spatial"]) == "group" else {
                throw json.error("norm_type", expected: "\"group\"", kind: .unsupported)
            }
        }
        for (key, count) in [("down_block_types", downBlockTypes.count), ("up_block_types", upBlockTypes.count)]
        where count != blockOutChannels.count {
            throw json.error(key, expected: "\(blockOutChannels.count) blocks, as in \"block_out_channels\"")
        }
        try json.rejectUnknown()
    }

    private static func kind(_ json: JSONObject) throws -> Kind {
        guard let kind = Kind(rawValue: try json.string("_class_name")) else {
            let known = Kind.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: " or ")
            throw json.error("_class_name", expected: known, kind: .unsupported)
        }
        return kind
    }

    /// Channels of the latents that a diffusion model works on.
    public var sampleChannels: Int { vqEmbedDim }

    /// Pixels of an image per pixel of its latents, in each direction.
    public var reduction: Int { 1 << (blockOutChannels.count - 1) }
}
