import Checkpoint
import Glibc
import Kernels

/// diffusers' ControlNetModel (Zhang, Rao, Agrawala 2023): a copy of a UNet's way down and middle that has learned to
/// follow an image, and says what to add to the UNet's. Immutable: any number of threads may call it, each with a
/// workspace of its own.
public final class ControlNet: Sendable {
    public let config: ControlNetConfig
    private let parts: Parts

    private struct Parts {
        let embedding: ConditionEmbedding
        let imageEmbedding: ControlImageEmbedding
        let encoder: UNetEncoder
        let downBlocks: [Conv2D]  // controlnet_down_blocks, 1 x 1
        let midBlock: Conv2D  // controlnet_mid_block, 1 x 1
        let textAttentions: [Attention]
    }

    public init(_ config: ControlNetConfig, _ weights: Weights) throws {
        self.config = config
        let down = config.encoder.down
        let encoder = try UNetEncoder(
            weights, inChannels: config.inChannels, down: down, mid: config.encoder.mid, config.encoder.options)
        func pixelwise(_ name: String, _ channels: Int) throws -> Conv2D {
            try weights.conv2D(name, channels, channels, kernel: 1)
        }
        parts = Parts(
            embedding: try ConditionEmbedding(weights, config.encoder),
            imageEmbedding: try ControlImageEmbedding(weights["controlnet_cond_embedding"], config), encoder: encoder,
            downBlocks: try config.skipChannels.enumerated().map { try pixelwise("controlnet_down_blocks.\($0)", $1) },
            midBlock: try pixelwise("controlnet_mid_block", down[down.count - 1].channels),
            textAttentions: encoder.textAttentions)
    }

    /// Floats per image that the network wants as class input: 0 none, 1 a class or number, else a vector.
    public var classInputSize: Int { parts.embedding.base.classInputSize }

    /// Throws `.size` unless the network takes samples of this size.
    public func checkSize(height: Int, width: Int) throws {
        try Networks.checkSize(height: height, width: width, multiple: config.sizeMultiple)
    }

    /// states: what the text encoder makes of a text for each image, (n, 1, tokens, config.textChannels)
    public func text(_ states: Tensor, in workspace: Workspace) throws -> TextKeys {
        try TextKeys(
            states, channels: config.textChannels, for: parts.textAttentions, of: self, in: workspace)
    }

    /// An image as this network's first level sees it. It is the same in all steps, and may be kept as long as the
    /// workspace is.
    public struct Image {
        let network: ControlNet
        let embedding: Tensor  // (n, h, w, channels of the first level)
    }

    /// pixels: an image for each sample, (n, imageScale * h, imageScale * w, conditioningChannels), as diffusers'
    /// network gets it: RGB from 0 to 1
    public func image(_ pixels: Tensor, in workspace: Workspace) throws -> Image {
        guard pixels.n > 0, pixels.c == config.conditioningChannels else {
            throw MCMError(
                .size,
                "\(pixels.n) control images of \(pixels.c) channels, expected some of \(config.conditioningChannels)")
        }
        guard pixels.pixels > 0, pixels.h % config.imageScale == 0, pixels.w % config.imageScale == 0 else {
            throw MCMError(
                .size,
                "a control image of width \(pixels.w) and height \(pixels.h), expected positive multiples of "
                    + "\(config.imageScale)")
        }
        let ordered = config.reversesChannels ? try reversedChannels(pixels, in: workspace) : pixels
        return Image(network: self, embedding: try parts.imageEmbedding(ordered, in: workspace))
    }

    /// What is to be added to a UNet's way down and middle.
    ///   x           (n, h, w, inChannels), as the UNet gets it
    ///   timesteps   n numbers
    ///   text        of n images
    ///   image       of n images of (imageScale * h, imageScale * w)
    ///   conditions  as the UNet's, without timestepCond
    ///   scale       diffusers' conditioning_scale
    ///   guessMode   whether to add less of what enters further up: a tenth of the first convolution's; ignored with
    ///               global_pool_conditions
    public func callAsFunction(
        _ x: Tensor, timesteps: [Float], text: TextKeys, image: Image, conditions: UNetConditions = UNetConditions(),
        scale: Float = 1, guessMode: Bool = false, in workspace: Workspace
    ) throws -> ControlResiduals {
        try checkSize(height: x.h, width: x.w)
        try text.check(x, channels: config.inChannels, timesteps, for: self)
        guard image.network === self else {
            throw MCMError(.invalidArgument, "a control image for another network, expected one for this")
        }
        let features = image.embedding, pixels = config.imageScale
        guard (features.n, features.h, features.w) == (x.n, x.h, x.w) else {
            throw MCMError(
                .size,
                "\(features.n) control images of width \(pixels * features.w) and height \(pixels * features.h), "
                    + "expected \(x.n) of width \(pixels) * \(x.w) and height \(pixels) * \(x.h)")
        }
        guard scale.isFinite else {
            throw MCMError(.invalidArgument, "a conditioning scale of \(scale), expected a finite number")
        }
        let embedding = try parts.embedding(timesteps, conditions, in: workspace)
        let state = try parts.encoder(x, embedding, text: text.keys, residual: features, in: workspace)

        let layers = parts.downBlocks + [parts.midBlock], outputs = state.skips + [state.sample]
        try require(layers.count == outputs.count, "\(layers.count) layers meet \(outputs.count) outputs")
        let residuals = try layers.indices.map { i in
            // torch.logspace(-1, 0, layers.count), from the first convolution's output to the middle's.
            let guess = guessMode && !config.globalPoolConditions
            let factor =
                guess ? scale * Float(pow(10, Double(i + 1 - layers.count) / Double(layers.count - 1))) : scale
            let residual = try conv2D(outputs[i], layers[i], in: workspace)
            let scaled = factor == 1 ? residual : try map(residual, in: workspace) { $0 * factor }
            return config.globalPoolConditions ? try averagePool(scaled, in: workspace) : scaled
        }
        return ControlResiduals(skips: residuals.dropLast(), mid: residuals[residuals.count - 1])
    }
}

/// diffusers' ControlNetConditioningEmbedding: from the image's size to the sample's; every other convolution halves.
private struct ControlImageEmbedding {
    private let convIn: Conv2D
    private let blocks: [Conv2D]
    private let convOut: Conv2D

    init(_ weights: Weights, _ config: ControlNetConfig) throws {
        let c = config.conditioningEmbeddingOutChannels
        convIn = try weights.conv2D("conv_in", config.conditioningChannels, c[0])
        blocks = try (0..<(2 * (c.count - 1))).map { i in
            try weights.conv2D("blocks.\(i)", c[i / 2], c[(i + 1) / 2], stride: 1 + i % 2)
        }
        convOut = try weights.conv2D("conv_out", c[c.count - 1], config.encoder.down[0].channels)
    }

    /// pixels (n, imageScale * h, imageScale * w, conditioningChannels) to (n, h, w, channels of the first level)
    func callAsFunction(_ pixels: Tensor, in workspace: Workspace) throws -> Tensor {
        var h = pixels
        for conv in [convIn] + blocks {
            h = try activate(conv2D(h, conv, in: workspace), .silu, in: workspace)
        }
        return try conv2D(h, convOut, in: workspace)
    }
}

/// x (n, h, w, c), the last channel first.
private func reversedChannels(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
    let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
    for pixel in 0..<(x.n * x.pixels) {
        for j in 0..<x.c { out.data[pixel * x.c + j] = x.data[pixel * x.c + x.c - 1 - j] }
    }
    return out
}
