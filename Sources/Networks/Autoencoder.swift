import Checkpoint
import Glibc
import Kernels

/// What takes images to the latents of a diffusion model and back. Latents are as the autoencoder has them: pipelines
/// scale them (AutoencoderConfig.scalingFactor).
public protocol Autoencoder: AnyObject, Sendable {
    var config: AutoencoderConfig { get }

    /// The image of latents.
    ///   latents  (n, h, w, channels of latents)
    ///   returns  (n, h * reduction, w * reduction, outChannels), about -1 ... 1
    func decode(_ latents: Tensor, tiling: Tiling, in workspace: Workspace) throws -> Tensor

    /// The latents of an image.
    ///   image    (n, h, w, inChannels), -1 ... 1
    ///   noise    standard normal, of the latents' shape, by which to draw from their distribution; nil for its mean.
    ///            A VQModel has no distribution
    ///   returns  (n, h / reduction, w / reduction, channels of latents)
    func encode(_ image: Tensor, noise: Tensor?, tiling: Tiling, in workspace: Workspace) throws -> Tensor
}

/// diffusers' AutoencoderKL, of Stable Diffusion. Immutable: any number of threads may call it, each with a workspace of
/// its own.
public final class AutoencoderKL: Autoencoder {
    public let config: AutoencoderConfig
    private let encoder: Encoder
    private let decoder: Decoder
    private let quantConv, postQuantConv: Conv2D?

    public init(_ config: AutoencoderConfig, _ weights: Weights) throws {
        self.config = config
        let c = config.latentChannels
        encoder = try Encoder(weights["encoder"], config, outputs: 2 * c)
        decoder = try Decoder(weights["decoder"], config)
        quantConv = config.useQuantConv ? try weights.conv2D("quant_conv", 2 * c, 2 * c, kernel: 1) : nil
        postQuantConv = config.usePostQuantConv ? try weights.conv2D("post_quant_conv", c, c, kernel: 1) : nil
    }

    /// The distribution of an image's latents.
    ///   image  (n, h, w, inChannels), -1 ... 1
    public func encode(_ image: Tensor, tiling: Tiling = .automatic, in workspace: Workspace) throws
        -> DiagonalGaussian
    {
        var moments = try encoder(image, tiling: tiling, in: workspace)
        if let quantConv { moments = try conv2D(moments, quantConv, in: workspace) }
        return DiagonalGaussian(moments: moments)
    }

    public func encode(_ image: Tensor, noise: Tensor?, tiling: Tiling, in workspace: Workspace) throws -> Tensor {
        let distribution = try encode(image, tiling: tiling, in: workspace)
        guard let noise else { return try distribution.mean(in: workspace) }
        return try distribution.sample(noise, in: workspace)
    }

    public func decode(_ latents: Tensor, tiling: Tiling = .automatic, in workspace: Workspace) throws -> Tensor {
        try config.checkLatents(latents, channels: config.latentChannels)
        var z = latents
        if let postQuantConv { z = try conv2D(z, postQuantConv, in: workspace) }
        return try decoder(z, tiling: tiling, in: workspace)
    }
}

/// diffusers' DiagonalGaussianDistribution.
public struct DiagonalGaussian {
    /// (n, h, w, 2 c): means, then logarithms of variances.
    public let moments: Tensor

    /// The most likely latents: (n, h, w, c).
    public func mean(in workspace: Workspace) throws -> Tensor {
        try draw(nil, in: workspace)
    }

    /// mean + std * noise.
    ///   noise    (n, h, w, c), standard normal
    ///   returns  (n, h, w, c)
    public func sample(_ noise: Tensor, in workspace: Workspace) throws -> Tensor {
        let m = moments
        guard noise.shape == (m.n, m.h, m.w, m.c / 2) else {
            throw MCMError(.size, "noise of \(noise.shape), expected \((m.n, m.h, m.w, m.c / 2))")
        }
        return try draw(noise, in: workspace)
    }

    private func draw(_ noise: Tensor?, in workspace: Workspace) throws -> Tensor {
        let c = moments.c / 2
        let out = try Tensor(moments.n, moments.h, moments.w, c, in: workspace)
        for pixel in 0..<(out.n * out.pixels) {
            let (mean, target) = (moments.data + pixel * 2 * c, out.data + pixel * c)
            for j in 0..<c {
                guard let noise else {
                    target[j] = mean[j]
                    continue
                }
                let logVariance = min(max(mean[c + j], -30), 20)
                target[j] = mean[j] + exp(0.5 * logVariance) * noise.data[pixel * c + j]
            }
        }
        return out
    }
}

extension AutoencoderConfig {
    func checkLatents(_ latents: Tensor, channels: Int) throws {
        guard latents.c == channels, latents.n > 0, latents.pixels > 0 else {
            throw MCMError(
                .size, "latents of \(latents.shape), expected (n, h, w, \(channels)) with at least one pixel")
        }
    }
}

/// diffusers' Encoder.
struct Encoder: Sendable {
    private let config: AutoencoderConfig
    private let stages: [Stage]

    init(_ weights: Weights, _ config: AutoencoderConfig, outputs: Int) throws {
        self.config = config
        stages = try config.encoder(weights, outputs: outputs)
    }

    /// image (n, h, w, inChannels) to (n, h / reduction, w / reduction, outputs).
    func callAsFunction(_ image: Tensor, tiling: Tiling, in workspace: Workspace) throws -> Tensor {
        let least = config.reduction
        guard image.c == config.inChannels, image.n > 0, image.h >= least, image.w >= least else {
            throw MCMError(
                .size,
                "an image of \(image.shape), expected (n, h, w, \(config.inChannels)) of at least \(least) x \(least)")
        }
        // The first two levels: the others have a quarter of the image's size or less.
        let levels = stages.indices.filter { stages[$0].isDownsampling }
        let attention = stages.firstIndex { $0.isAttention } ?? stages.count
        let end = levels.prefix(2).last { $0 < attention }.map { $0 + 1 } ?? 0
        return try run(stages, inTiles: 0..<end, image, imagePixels: image.pixels, tiling, in: workspace)
    }
}

/// diffusers' Decoder.
struct Decoder: Sendable {
    private let config: AutoencoderConfig
    private let stages: [Stage]

    init(_ weights: Weights, _ config: AutoencoderConfig) throws {
        self.config = config
        stages = try config.decoder(weights)
    }

    /// latents (n, h, w, latentChannels) to (n, h * reduction, w * reduction, outChannels).
    func callAsFunction(_ latents: Tensor, tiling: Tiling, in workspace: Workspace) throws -> Tensor {
        let size = [latents.h, latents.w, config.reduction, config.reduction]
        guard let pixels = checkedProduct(size) else {
            throw MCMError(.size, "latents of \(latents.shape), expected an image that a machine can hold")
        }
        let levels = stages.indices.filter { stages[$0].isUpsampling }
        let attention = stages.lastIndex { $0.isAttention } ?? -1
        let first = levels.suffix(2).first { $0 > attention } ?? stages.count
        return try run(
            stages, inTiles: first..<stages.count, latents, imagePixels: pixels, tiling, in: workspace)
    }
}
