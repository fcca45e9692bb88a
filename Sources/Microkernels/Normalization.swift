/// Per channel, the mean and the sum of squared deviations of `pixels` rows of x (pixels, channels). Both sums are of
/// differences, to the first row and to the mean: a mean that is large beside the deviations costs no digits.
///   out  (2, channels): means, then sums
public func channelMoments(
    _ x: UnsafePointer<Float>, pixels: Int, channels: Int, into out: UnsafeMutablePointer<Float>
) {
    let scale = 1 / Float(pixels)
    var j = 0
    while j < channels {
        let count = min(16, channels - j)
        let first = load(x + j, count)
        var total = V()
        for p in 0..<pixels { total += load(x + p * channels + j, count) - first }
        let mean = first + total * scale
        var deviations = V()
        for p in 0..<pixels {
            let d = load(x + p * channels + j, count) - mean
            deviations = fma(d, d, deviations)
        }
        store(mean, out + j, count)
        store(deviations, out + channels + j, count)
        j += 16
    }
}

/// out = f(a x + b) for `pixels` rows of x (pixels, channels).
///   a, b  (channels)
public func scaleShift(
    _ x: UnsafePointer<Float>, pixels: Int, channels: Int, a: UnsafePointer<Float>, b: UnsafePointer<Float>,
    into out: UnsafeMutablePointer<Float>, _ activation: Activation
) {
    switch activation {
    case .none: affine(Identity.self, x, pixels, channels, a, b, out)
    case .silu: affine(SiLU.self, x, pixels, channels, a, b, out)
    case .mish: affine(Mish.self, x, pixels, channels, a, b, out)
    case .gelu: affine(GELU.self, x, pixels, channels, a, b, out)
    case .relu: affine(ReLU.self, x, pixels, channels, a, b, out)
    }
}

private func affine<F: Pointwise>(
    _: F.Type, _ x: Input, _ pixels: Int, _ channels: Int, _ a: Input, _ b: Input, _ out: Output
) {
    for p in 0..<pixels {
        let row = p * channels
        var j = 0
        while j < channels {
            let count = channels - j
            let y = fma(load(x + row + j, count), load(a + j, count), load(b + j, count))
            store(F.apply(y), out + row + j, count)
            j += 16
        }
    }
}
