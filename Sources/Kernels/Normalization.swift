import Microkernels

/// A group normalisation's parameters.
public struct GroupNorm: Sendable {
    public let groups: Int
    public let epsilon: Float
    public let weight, bias: FloatBuffer  // (channels)

    public init(groups: Int, epsilon: Float, weight: FloatBuffer, bias: FloatBuffer) {
        (self.groups, self.epsilon) = (groups, epsilon)
        (self.weight, self.bias) = (weight, bias)
    }
}

/// f(a x + b) for each image and channel, not computed yet: a convolution of a large image computes it as it reads.
public struct Normalized {
    let x: Tensor
    let affine: Tensor  // (n, 1, 2, c): a, then b
    let activation: Activation?

    /// (n, h, w, c)
    public func tensor(in workspace: Workspace) throws -> Tensor {
        let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
        let block = max(1, min(x.pixels, (1 << 14) / x.c))
        let blocks = (x.pixels + block - 1) / block
        parallelFor(x.n * blocks, threads: workspace.threads) { task in
            let first = task % blocks * block
            compute(
                image: task / blocks, pixel: first, count: min(block, x.pixels - first),
                into: out.data + (task / blocks * x.pixels + first) * x.c)
        }
        return out
    }

    /// `count` pixels of an image, counted along its rows.
    func compute(image: Int, pixel: Int, count: Int, into out: UnsafeMutablePointer<Float>) {
        let a = affine.data + image * 2 * x.c
        scaleShift(
            x.data + (image * x.pixels + pixel) * x.c, pixels: count, channels: x.c, a: a, b: a + x.c, into: out,
            activation?.kernel ?? .none)
    }
}

/// Group normalisation and activation, computed.
public func groupNorm(
    _ x: Tensor, _ norm: GroupNorm, modulation: Tensor? = nil, activation: Activation? = nil, in workspace: Workspace
) throws -> Tensor {
    try normalized(x, norm, modulation: modulation, activation: activation, in: workspace).tensor(in: workspace)
}

/// Group normalisation over each image's (h, w, c / groups), then an optional scale and shift per image and channel,
/// then an optional activation: f(((x - mean) / std * weight + bias) * (1 + scale) + shift).
///   x           (n, h, w, c)
///   modulation  (n, 1, 1, 2 c): scale, then shift
public func normalized(
    _ x: Tensor, _ norm: GroupNorm, modulation: Tensor? = nil, activation: Activation? = nil, in workspace: Workspace
) throws -> Normalized {
    let c = x.c
    try require(c == norm.weight.count, "\(c) channels meet a group norm of \(norm.weight.count)")
    if let modulation {
        try require(modulation.shape == (x.n, 1, 1, 2 * c), "\(modulation.shape) modulates \(x.shape)")
    }
    // Rows of pixels per task: by shape alone, for the partial sums to be the same for any number of threads.
    let block = max(1, min(x.pixels, (1 << 14) / c))
    let blocks = (x.pixels + block - 1) / block
    let moments = try Tensor(x.n, blocks, 2, c, in: workspace)  // per block: means, then squared deviations
    parallelFor(x.n * blocks, threads: workspace.threads) { task in
        let first = task % blocks * block
        channelMoments(
            x.data + (task / blocks * x.pixels + first) * c, pixels: min(block, x.pixels - first), channels: c,
            into: moments.data + task * 2 * c)
    }

    // y = a x + b for each image and channel.
    let affine = try Tensor(x.n, 1, 2, c, in: workspace)
    let doubles = try Tensor(x.n, 2, 2, c, in: workspace)  // per image: means and squared deviations of channels
    parallelFor(x.n, threads: workspace.threads) { image in
        UnsafeMutableRawPointer(doubles.data + image * doubles.stride).withMemoryRebound(
            to: Double.self, capacity: 2 * c
        ) {
            let means = $0, deviations = $0 + c
            combineMoments(
                moments.data + image * moments.stride, blocks: blocks, block: block, pixels: x.pixels, channels: c,
                means: means, deviations: deviations)
            let a = affine.data + image * 2 * c
            let modulation = modulation.map { UnsafePointer($0.data + image * 2 * c) }
            for first in stride(from: 0, to: c, by: c / norm.groups) {
                let channels = first..<(first + c / norm.groups)
                // Moments of the group from those of its channels, which have as many values each (Chan, Golub, LeVeque).
                let mean = channels.reduce(0) { $0 + means[$1] } / Double(channels.count)
                let squares = channels.reduce(0) {
                    $0 + deviations[$1] + Double(x.pixels) * (means[$1] - mean) * (means[$1] - mean)
                }
                let variance = squares / (Double(x.pixels) * Double(channels.count))
                let inverse = 1 / (variance + Double(norm.epsilon)).squareRoot()
                for j in channels {
                    let weight = Double(norm.weight.data[j]) * inverse
                    let shift = Double(norm.bias.data[j]) - mean * weight
                    let scale = 1 + Double(modulation?[j] ?? 0)
                    a[j] = Float(weight * scale)
                    a[c + j] = Float(shift * scale + Double(modulation?[c + j] ?? 0))
                }
            }
        }
    }

    return Normalized(x: x, affine: affine, activation: activation)
}

/// Means and squared deviations of each channel over an image from those of its blocks of pixels.
///   parts  (blocks, 2, channels): all blocks but the last have `block` pixels
private func combineMoments(
    _ parts: UnsafePointer<Float>, blocks: Int, block: Int, pixels: Int, channels: Int,
    means: UnsafeMutablePointer<Double>, deviations: UnsafeMutablePointer<Double>
) {
    means.update(repeating: 0, count: channels)
    deviations.update(repeating: 0, count: channels)
    for k in 0..<blocks {
        let share = Double(min(block, pixels - k * block)) / Double(pixels)
        let part = parts + k * 2 * channels
        for j in 0..<channels { means[j] += share * Double(part[j]) }
    }
    for k in 0..<blocks {
        let count = Double(min(block, pixels - k * block))
        let part = parts + k * 2 * channels
        for j in 0..<channels {
            let difference = Double(part[j]) - means[j]
            deviations[j] += Double(part[channels + j]) + count * difference * difference
        }
    }
}
