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

/// Each row normalised: out = (x - mean) / sqrt(variance + epsilon) * weight + bias. As above, sums are of differences,
/// to the row's first value and to its mean.
///   x, out        (rows, channels)
///   weight, bias  (channels)
public func layerNorm(
    _ x: UnsafePointer<Float>, rows: Int, channels: Int, weight: UnsafePointer<Float>, bias: UnsafePointer<Float>,
    epsilon: Float, into out: UnsafeMutablePointer<Float>
) {
    for row in 0..<rows {
        let x = x + row * channels, out = out + row * channels
        let first = x[0]
        let mean = first + rowSum(x, channels) { $0 - first } / Float(channels)
        let squares = rowSum(x, channels) { x in
            let d = x - mean
            return d * d
        }
        let inverse = 1 / (squares / Float(channels) + epsilon).squareRoot()
        var j = 0
        while j < channels {
            let count = channels - j
            let y = (load(x + j, count) - mean) * inverse
            store(fma(y, load(weight + j, count), load(bias + j, count)), out + j, count)
            j += 16
        }
    }
}

/// The sum of f over a row.
@inline(__always)
private func rowSum(_ x: Input, _ count: Int, _ f: (V) -> V) -> Float {
    var total = V()
    var j = 0
    while j + 16 <= count {
        total += f(load(x + j))
        j += 16
    }
    if j < count {
        var last = f(load(x + j, count - j))
        for lane in (count - j)..<16 { last[lane] = 0 }
        total += last
    }
    return sum(total)
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
    case .quickGELU: affine(QuickGELU.self, x, pixels, channels, a, b, out)
    case .geluTanh: affine(GELUTanh.self, x, pixels, channels, a, b, out)
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

/// Sums over `pixels` rows of d = gradient * f'(a x + b).
///   out  (2, channels): sums of d, then of d (x - center)
public func scaleShiftSums(
    _ x: UnsafePointer<Float>, _ gradient: UnsafePointer<Float>, pixels: Int, channels: Int,
    a: UnsafePointer<Float>, b: UnsafePointer<Float>, center: UnsafePointer<Float>,
    into out: UnsafeMutablePointer<Float>, _ activation: Activation
) {
    switch activation {
    case .none: affineSums(Identity.self, x, gradient, pixels, channels, a, b, center, out)
    case .silu: affineSums(SiLU.self, x, gradient, pixels, channels, a, b, center, out)
    case .mish: affineSums(Mish.self, x, gradient, pixels, channels, a, b, center, out)
    case .gelu: affineSums(GELU.self, x, gradient, pixels, channels, a, b, center, out)
    case .relu: affineSums(ReLU.self, x, gradient, pixels, channels, a, b, center, out)
    case .quickGELU: affineSums(QuickGELU.self, x, gradient, pixels, channels, a, b, center, out)
    case .geluTanh: affineSums(GELUTanh.self, x, gradient, pixels, channels, a, b, center, out)
    }
}

private func affineSums<F: Pointwise>(
    _: F.Type, _ x: Input, _ gradient: Input, _ pixels: Int, _ channels: Int, _ a: Input, _ b: Input, _ center: Input,
    _ out: Output
) {
    var j = 0
    while j < channels {
        let count = channels - j
        let a = load(a + j, count), b = load(b + j, count), center = load(center + j, count)
        var plain = V(), weighted = V()
        for p in 0..<pixels {
            let x = load(x + p * channels + j, count)
            let d = load(gradient + p * channels + j, count) * F.derivative(fma(x, a, b))
            plain += d
            weighted = fma(d, x - center, weighted)
        }
        store(plain, out + j, count)
        store(weighted, out + channels + j, count)
        j += 16
    }
}

/// out = a d + p (x - center) + q for `pixels` rows, with d = gradient * f'(a x + b).
///   a, b, center, p, q  (channels)
public func scaleShiftGradient(
    _ x: UnsafePointer<Float>, _ gradient: UnsafePointer<Float>, pixels: Int, channels: Int,
    a: UnsafePointer<Float>, b: UnsafePointer<Float>, center: UnsafePointer<Float>, p: UnsafePointer<Float>,
    q: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>, _ activation: Activation
) {
    switch activation {
    case .none: affineGradient(Identity.self, x, gradient, pixels, channels, a, b, center, p, q, out)
    case .silu: affineGradient(SiLU.self, x, gradient, pixels, channels, a, b, center, p, q, out)
    case .mish: affineGradient(Mish.self, x, gradient, pixels, channels, a, b, center, p, q, out)
    case .gelu: affineGradient(GELU.self, x, gradient, pixels, channels, a, b, center, p, q, out)
    case .relu: affineGradient(ReLU.self, x, gradient, pixels, channels, a, b, center, p, q, out)
    case .quickGELU: affineGradient(QuickGELU.self, x, gradient, pixels, channels, a, b, center, p, q, out)
    case .geluTanh: affineGradient(GELUTanh.self, x, gradient, pixels, channels, a, b, center, p, q, out)
    }
}

private func affineGradient<F: Pointwise>(
    _: F.Type, _ x: Input, _ gradient: Input, _ pixels: Int, _ channels: Int, _ a: Input, _ b: Input, _ center: Input,
    _ p: Input, _ q: Input, _ out: Output
) {
    for pixel in 0..<pixels {
        let row = pixel * channels
        var j = 0
        while j < channels {
            let count = channels - j
            let x = load(x + row + j, count), a = load(a + j, count)
            let d = load(gradient + row + j, count) * F.derivative(fma(x, a, load(b + j, count)))
            let rest = fma(load(p + j, count), x - load(center + j, count), load(q + j, count))
            store(fma(a, d, rest), out + row + j, count)
            j += 16
        }
    }
}
