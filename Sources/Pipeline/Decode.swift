import Images
import Kernels

/// A sample in [-1, 1] to 8-bit pixels, as diffusers' pipelines do: round(255 clamp(x / 2 + 0.5, 0, 1)). NaN gives 0.
@inline(__always)
func pixel(_ x: Float) -> UInt8 {
    let scaled = ((x / 2 + 0.5) * 255).rounded(.toNearestOrEven)
    return scaled >= 255 ? 255 : scaled > 0 ? UInt8(scaled) : 0
}

extension Model {
    /// One image (h, w, channels) to `channels` interleaved bytes per pixel.
    func decode(_ x: UnsafePointer<Float>, count: Int, into pixels: UnsafeMutablePointer<UInt8>) {
        for i in 0..<count { pixels[i] = pixel(x[i]) }
    }

    /// See the function of this name.
    public func encode(_ images: [ImageView], into samples: UnsafeMutablePointer<Float>) throws {
        try Pipeline.encode(images, channels: channels, into: samples)
    }
}

/// Images of one size to samples in [-1, 1]: 2 v - 1 with v in [0, 1].
///   mustBeIntensities  whether values outside [0, 1] are a mistake
///   into               (images, channels, h, w)
public func encode(
    _ images: [ImageView], channels: Int, mustBeIntensities: Bool = false, into samples: UnsafeMutablePointer<Float>
) throws {
    guard let first = images.first else { return }
    let size = first.width * first.height * channels
    for (k, image) in images.enumerated() {
        guard (image.width, image.height, image.channels) == (first.width, first.height, channels) else {
            throw MCMError(
                .size,
                "image \(k) is \(image.width) x \(image.height) with \(image.channels) channels, expected "
                    + "\(first.width) x \(first.height) with \(channels)")
        }
        for y in 0..<image.height {
            for i in 0..<(image.width * channels) {
                let value = image.intensity(y, i)
                guard value.isFinite, !mustBeIntensities || (0...1).contains(value) else {
                    throw MCMError(
                        .invalidArgument,
                        "image \(k) holds \(value) in row \(y), expected "
                            + (mustBeIntensities ? "0 to 1" : "finite values"))
                }
                let plane = i % channels * image.height * image.width
                samples[k * size + plane + y * image.width + i / channels] = 2 * value - 1
            }
        }
    }
}
