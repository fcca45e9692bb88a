import Images
import Kernels
import Networks

// Between images, samples and 8-bit pixels.

/// A value in [-1, 1] to 8 bits, as diffusers' pipelines do: round(255 clamp(x / 2 + 0.5, 0, 1)). NaN gives 0.
@inline(__always)
func pixel(_ x: Float) -> UInt8 {
    let scaled = ((x / 2 + 0.5) * 255).rounded(.toNearestOrEven)
    return scaled >= 255 ? 255 : scaled > 0 ? UInt8(scaled) : 0
}

/// Images of one size as a tensor: (images, h, w, channels). One channel is as good as several that are the same.
///   name               of one of them in messages
///   mustBeIntensities  whether values outside [0, 1] are a mistake
///   value              of an intensity
public func tensor(
    of images: [ImageView], channels: Int, name: String = "image", mustBeIntensities: Bool = false,
    in workspace: Workspace,
    value: (Float) -> Float = { 2 * $0 - 1 }
) throws -> Tensor {
    guard let first = images.first else { throw MCMError(.size, "no \(name), expected at least one") }
    let (h, w) = (first.height, first.width)
    let t = try Tensor(images.count, h, w, channels, in: workspace)
    for (k, image) in images.enumerated() {
        guard (image.width, image.height) == (w, h), [1, channels].contains(image.channels) else {
            throw MCMError(
                .size,
                "\(name) \(k) is \(image.width) x \(image.height) with \(image.channels) channels, expected "
                    + "\(w) x \(h) with \(channels == 1 ? "1" : "1 or \(channels)")")
        }
        let target = t.image(k).data
        for y in 0..<h {
            for i in 0..<(w * channels) {
                let intensity = image.intensity(y, image.channels == 1 ? i / channels : i)
                guard intensity.isFinite, !mustBeIntensities || (0...1).contains(intensity) else {
                    throw MCMError(
                        .invalidArgument,
                        "\(name) \(k) holds \(intensity) in row \(y), expected "
                            + (mustBeIntensities ? "0 to 1" : "finite values"))
                }
                target[y * w * channels + i] = value(intensity)
            }
        }
    }
    return t
}

extension Model {
    /// Images of one size to samples, as the model was trained on: pixels in [-1, 1], or the mean of their latents.
    ///   mustBeIntensities  whether values outside [0, 1] are a mistake
    ///   returns            (images, h / reduction, w / reduction, channels)
    public func encode(
        _ images: [ImageView], mustBeIntensities: Bool = false, tiling: Tiling = .automatic, in workspace: Workspace
    ) throws -> Tensor {
        let pixels = try tensor(
            of: images, channels: imageChannels, mustBeIntensities: mustBeIntensities, in: workspace)
        guard pixels.h % reduction == 0, pixels.w % reduction == 0 else {
            throw MCMError(
                .size, "images of \(pixels.w) x \(pixels.h), expected multiples of \(reduction) for the model")
        }
        return try latents?.encode(pixels, noise: nil, tiling: tiling, in: workspace) ?? pixels
    }

    /// One sample, (1, h, w, channels), to interleaved bytes: (h * reduction, w * reduction, imageChannels).
    func decode(_ sample: Tensor, tiling: Tiling, into pixels: UnsafeMutablePointer<UInt8>) throws {
        guard let latents else {
            for i in 0..<sample.count { pixels[i] = pixel(sample.data[i]) }
            return
        }
        // Its own: an autoencoder needs more than anything else, and not for long.
        let image = try latents.decode(sample, tiling: tiling, in: Workspace(threads: threads))
        for i in 0..<image.count { pixels[i] = pixel(image.data[i]) }
    }
}
