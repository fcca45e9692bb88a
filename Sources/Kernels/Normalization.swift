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
    let origin: Origin

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
        workspace.tape?.record(out) { gradient, tape, workspace in
            try backward(gradient, tape, in: workspace)
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

    /// What a and b come from.
    struct Origin {
        let norm: GroupNorm
        let modulation: Tensor?
        let statistics: Tensor  // (n, 1, 2, c): the mean of the channel's group, and 1 / its standard deviation
    }

    /// With d = gradient * f'(a x + b), y = (x - mean) / std and means over each image's group (Ioffe and Szegedy 2015,
    /// section 3, for groups):
    ///
    ///     dx = a d - mean(a d) - y mean(a d y)
    private func backward(_ gradient: Tensor, _ tape: Tape, in workspace: Workspace) throws {
        let c = x.c, norm = origin.norm
        let block = max(1, min(x.pixels, (1 << 14) / c))
        let blocks = (x.pixels + block - 1) / block
        let parts = try Tensor(x.n, blocks, 2, c, in: workspace)
        parallelFor(x.n * blocks, threads: workspace.threads) { task in
            let image = task / blocks, first = task % blocks * block
            let offset = (image * x.pixels + first) * c
            let a = affine.data + image * 2 * c
            scaleShiftSums(
                x.data + offset, gradient.data + offset, pixels: min(block, x.pixels - first), channels: c, a: a,
                b: a + c, center: origin.statistics.data + image * 2 * c, into: parts.data + task * 2 * c,
                activation?.kernel ?? .none)
        }

        // Per image and channel: the sums of d and of d y, then p and q in dx = a d + p (x - mean) + q.
        let sums = try Tensor(x.n, 1, 4, c, in: workspace)
        parallelFor(x.n, threads: workspace.threads) { image in
            let inverse = origin.statistics.data + (image * 2 + 1) * c, a = affine.data + image * 2 * c
            let sums = sums.data + image * 4 * c
            for first in stride(from: 0, to: c, by: c / norm.groups) {
                let channels = first..<(first + c / norm.groups)
                var plain = 0.0, weighted = 0.0
                for j in channels {
                    var d = 0.0, dy = 0.0
                    for k in 0..<blocks {
                        let part = parts.data + (image * blocks + k) * 2 * c
                        d += Double(part[j])
                        dy += Double(part[c + j]) * Double(inverse[j])
                    }
                    (sums[j], sums[c + j]) = (Float(d), Float(dy))
                    plain += Double(a[j]) * d
                    weighted += Double(a[j]) * dy
                }
                let count = Double(x.pixels) * Double(channels.count)
                for j in channels {
                    sums[2 * c + j] = Float(-weighted / count * Double(inverse[j]))
                    sums[3 * c + j] = Float(-plain / count)
                }
            }
        }

        for image in 0..<x.n {
            let sums = sums.data + image * 4 * c
            for j in 0..<c {
                let scale = 1 + (origin.modulation?.data[image * 2 * c + j] ?? 0)
                if let target = norm.weight.gradient { target[j] += scale * sums[c + j] }
                if let target = norm.bias.gradient { target[j] += scale * sums[j] }
            }
        }
        if let modulation = origin.modulation, tape.wants(modulation) {
            let dm = try Tensor(x.n, 1, 1, 2 * c, in: workspace)
            for image in 0..<x.n {
                let sums = sums.data + image * 4 * c, target = dm.data + image * 2 * c
                for j in 0..<c {
                    target[j] = norm.weight.data[j] * sums[c + j] + norm.bias.data[j] * sums[j]
                    target[c + j] = sums[j]
                }
            }
            try tape.add(dm, to: modulation, in: workspace)
        }
        guard tape.wants(x) else { return }
        let dx = try Tensor(x.n, x.h, x.w, c, in: workspace)
        parallelFor(x.n * blocks, threads: workspace.threads) { task in
            let image = task / blocks, first = task % blocks * block
            let offset = (image * x.pixels + first) * c
            let a = affine.data + image * 2 * c, sums = sums.data + image * 4 * c
            scaleShiftGradient(
                x.data + offset, gradient.data + offset, pixels: min(block, x.pixels - first), channels: c, a: a,
                b: a + c, center: origin.statistics.data + image * 2 * c, p: sums + 2 * c, q: sums + 3 * c,
                into: dx.data + offset, activation?.kernel ?? .none)
        }
        try tape.add(dx, to: x, in: workspace)
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
    let moments = try workspace.sharedMoments?.next(x, in: workspace) ?? imageMoments(x, in: workspace)

    // y = a x + b for each image and channel.
    let affine = try Tensor(x.n, 1, 2, c, in: workspace)
    let statistics = try Tensor(x.n, 1, 2, c, in: workspace)
    let pixels = Double(moments.pixels)
    parallelFor(x.n, threads: workspace.threads) { image in
        moments.withImage(image) { means, deviations in
            let a = affine.data + image * 2 * c, statistics = statistics.data + image * 2 * c
            let modulation = modulation.map { UnsafePointer($0.data + image * 2 * c) }
            for first in stride(from: 0, to: c, by: c / norm.groups) {
                let channels = first..<(first + c / norm.groups)
                // Moments of the group from those of its channels, which have as many values each (Chan, Golub, LeVeque).
                let mean = channels.reduce(0) { $0 + means[$1] } / Double(channels.count)
                let squares = channels.reduce(0) {
                    $0 + deviations[$1] + pixels * (means[$1] - mean) * (means[$1] - mean)
                }
                let variance = squares / (pixels * Double(channels.count))
                let inverse = 1 / (variance + Double(norm.epsilon)).squareRoot()
                for j in channels {
                    (statistics[j], statistics[c + j]) = (Float(mean), Float(inverse))
                    let weight = Double(norm.weight.data[j]) * inverse
                    let shift = Double(norm.bias.data[j]) - mean * weight
                    let scale = 1 + Double(modulation?[j] ?? 0)
                    a[j] = Float(weight * scale)
                    a[c + j] = Float(shift * scale + Double(modulation?[c + j] ?? 0))
                }
            }
        }
    }

    return Normalized(
        x: x, affine: affine, activation: activation,
        origin: .init(norm: norm, modulation: modulation, statistics: statistics))
}
