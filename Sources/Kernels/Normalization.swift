import Glibc

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

/// Mean and sum of squared deviations of a number of values; two of them combine exactly (Chan, Golub, LeVeque 1979).
struct Moments {
    var count = 0.0, mean = 0.0, deviations = 0.0

    mutating func add(_ other: Moments) {
        let total = count + other.count
        if total == 0 { return }
        let delta = other.mean - mean
        deviations += other.deviations + delta * delta * count * other.count / total
        mean += delta * other.count / total
        count = total
    }
}

/// Group normalisation over each image's (h, w, c / groups), then an optional scale and shift per image and channel,
/// then an optional activation: f(((x - mean) / std * weight + bias) * (1 + scale) + shift).
///   x           (n, h, w, c)
///   modulation  (n, 1, 1, 2 c): scale, then shift
public func groupNorm(
    _ x: Tensor, _ norm: GroupNorm, modulation: Tensor? = nil, activation: Activation? = nil, in workspace: Workspace
) throws -> Tensor {
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
    let size = c / norm.groups
    for image in 0..<x.n {
        let a = affine.data + image * 2 * c, b = a + c
        for group in 0..<norm.groups {
            var all = Moments()
            for k in 0..<blocks {
                let count = Double(min(block, x.pixels - k * block))
                let part = moments.data + (image * blocks + k) * 2 * c
                for j in (group * size)..<((group + 1) * size) {
                    all.add(Moments(count: count, mean: Double(part[j]), deviations: Double(part[c + j])))
                }
            }
            let inverse = 1 / (all.deviations / all.count + Double(norm.epsilon)).squareRoot()
            for j in (group * size)..<((group + 1) * size) {
                let weight = Double(norm.weight.data[j]) * inverse
                let shift = Double(norm.bias.data[j]) - all.mean * weight
                let scale = 1 + Double(modulation?.data[image * 2 * c + j] ?? 0)
                a[j] = Float(weight * scale)
                b[j] = Float(shift * scale + Double(modulation?.data[image * 2 * c + c + j] ?? 0))
            }
        }
    }

    let out = try Tensor(x.n, x.h, x.w, c, in: workspace)
    parallelFor(x.n * blocks, threads: workspace.threads) { task in
        let image = task / blocks
        let first = image * x.pixels + task % blocks * block
        let last = min(first + block, (image + 1) * x.pixels)
        let a = affine.data + image * 2 * c
        for pixel in first..<last {
            scaleShift(x.data + pixel * c, a, a + c, out.data + pixel * c, c, activation)
        }
    }
    return out
}

/// Per channel, the mean and the sum of squared deviations of `pixels` rows of x (pixels, channels). Both sums are of
/// differences, to the first row and to the mean: a mean that is large beside the deviations costs no digits.
///   into  (2, channels)
private func channelMoments(
    _ x: UnsafePointer<Float>, pixels: Int, channels: Int, into out: UnsafeMutablePointer<Float>
) {
    let scale = 1 / Float(pixels)
    var j = 0
    while j + 8 <= channels {
        let first = load(x + j)
        var total = V8()
        for p in 0..<pixels { total += load(x + p * channels + j) - first }
        let mean = first + total * scale
        var deviations = V8()
        for p in 0..<pixels {
            let d = load(x + p * channels + j) - mean
            deviations = fma(d, d, deviations)
        }
        store(mean, out + j)
        store(deviations, out + channels + j)
        j += 8
    }
    while j < channels {
        var total: Float = 0
        for p in 0..<pixels { total += x[p * channels + j] - x[j] }
        let mean = x[j] + total * scale
        var deviations: Float = 0
        for p in 0..<pixels {
            let d = x[p * channels + j] - mean
            deviations = deviations.addingProduct(d, d)
        }
        out[j] = mean
        out[channels + j] = deviations
        j += 1
    }
}

/// out = f(a x + b) over `count` channels.
@inline(__always)
private func scaleShift(
    _ x: UnsafePointer<Float>, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>,
    _ out: UnsafeMutablePointer<Float>, _ count: Int, _ activation: Activation?
) {
    var j = 0
    while j + 8 <= count {
        let y = fma(load(x + j), load(a + j), load(b + j))
        store(activation?(y) ?? y, out + j)
        j += 8
    }
    while j < count {
        let y = V8(repeating: b[j].addingProduct(x[j], a[j]))
        out[j] = (activation?(y) ?? y)[0]
        j += 1
    }
}
