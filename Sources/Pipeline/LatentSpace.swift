import Kernels
import Networks

/// The space of a latent diffusion model's samples, and the autoencoder between it and images.
struct LatentSpace: Sendable {
    let config: AutoencoderConfig
    let autoencoder: Part<any Autoencoder>

    /// Pixels of an image per pixel of a sample, in each direction.
    var reduction: Int { config.reduction }
    var channels: Int { config.sampleChannels }

    /// The image of samples.
    ///   samples  (n, h, w, channels)
    ///   returns  (n, h * reduction, w * reduction, config.outChannels), about -1 ... 1
    func decode(_ samples: Tensor, tiling: Tiling, in workspace: Workspace) throws -> Tensor {
        let latents = try Tensor(samples.n, samples.h, samples.w, samples.c, in: workspace)
        let scales = (0..<channels).map { config.scale(channel: $0) }
        for i in 0..<latents.count {
            let (factor, shift) = scales[i % channels]
            latents.data[i] = samples.data[i] / factor + shift
        }
        return try autoencoder.use { try $0.decode(latents, tiling: tiling, in: workspace) }
    }

    /// The samples of images.
    ///   images   (n, h, w, config.inChannels), -1 ... 1
    ///   noise    by which to draw from the latents' distribution, (n, h / reduction, w / reduction, channels); nil for
    ///            its mean. A VQModel has no distribution.
    ///   returns  (n, h / reduction, w / reduction, channels)
    func encode(_ images: Tensor, noise: Tensor?, tiling: Tiling, in workspace: Workspace) throws -> Tensor {
        let latents = try autoencoder.use { try $0.encode(images, noise: noise, tiling: tiling, in: workspace) }
        let samples = try Tensor(latents.n, latents.h, latents.w, latents.c, in: workspace)
        let scales = (0..<channels).map { config.scale(channel: $0) }
        for i in 0..<latents.count {
            let (factor, shift) = scales[i % channels]
            samples.data[i] = (latents.data[i] - shift) * factor
        }
        return samples
    }
}

extension AutoencoderConfig {
    /// A sample is (latent - shift) * factor.
    func scale(channel: Int) -> (factor: Float, shift: Float) {
        guard let mean = latentsMean, let std = latentsStd else {
            return (Float(scalingFactor), Float(shiftFactor ?? 0))
        }
        return (Float(scalingFactor / std[channel]), Float(mean[channel]))
    }
}
