import CShims

/// The activation functions that diffusers and transformers name.
public enum Activation: UInt8, Sendable {
    case none, silu, mish, gelu, relu, quickGELU, geluTanh
}

/// A function of each lane. A type rather than a closure, so that loops over it are compiled with it inside.
protocol Pointwise {
    static func apply(_ x: V) -> V
    static func derivative(_ x: V) -> V
}

enum Identity: Pointwise {
    @inline(always) static func apply(_ x: V) -> V { x }
    @inline(always) static func derivative(_ x: V) -> V { V(repeating: 1) }
}

enum SiLU: Pointwise {
    @inline(always) static func apply(_ x: V) -> V { x / (1 + exp(-x)) }
    @inline(always) static func derivative(_ x: V) -> V {
        let sigmoid = 1 / (1 + exp(-x))
        return sigmoid * fma(x, 1 - sigmoid, V(repeating: 1))
    }
}

enum Mish: Pointwise {
    /// x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); above 20 the quotient rounds to 1.
    @inline(always) static func apply(_ x: V) -> V {
        let e = exp(shim_clamp(x, -.infinity, 20))
        let n = e * (e + 2)
        return x * (n / (n + 2))
    }

    /// With t = n / (n + 2): t + x (1 - t^2) sigmoid(x), where 1 - t^2 = 4 (n + 1) / (n + 2)^2.
    @inline(always) static func derivative(_ x: V) -> V {
        let e = exp(shim_clamp(x, -.infinity, 20))
        let n = e * (e + 2)
        let t = n / (n + 2), sigmoid = e / (e + 1)
        let slope = 4 * (n + 1) / ((n + 2) * (n + 2))
        return fma(x * slope, sigmoid, t)
    }
}

enum GELU: Pointwise {
    @inline(always) static func apply(_ x: V) -> V { 0.5 * x * (1 + erf(x * 0.707_106_781)) }
    @inline(always) static func derivative(_ x: V) -> V {
        let density = 0.398_942_280 * exp(-0.5 * x * x)
        return fma(x, density, 0.5 * (1 + erf(x * 0.707_106_781)))
    }
}

enum QuickGELU: Pointwise {
    @inline(always) static func apply(_ x: V) -> V { x / (1 + exp(-1.702 * x)) }
    @inline(always) static func derivative(_ x: V) -> V {
        let sigmoid = 1 / (1 + exp(-1.702 * x))
        return sigmoid * fma(1.702 * x, 1 - sigmoid, V(repeating: 1))
    }
}

/// GELU through tanh (Hendrycks and Gimpel 2016): 0.5 x (1 + tanh(u)) = x sigmoid(2 u) with
/// u = sqrt(2 / pi) (x + 0.044715 x^3).
enum GELUTanh: Pointwise {
    @inline(always) static func apply(_ x: V) -> V { x / (1 + exp(-exponent(x))) }
    @inline(always) static func derivative(_ x: V) -> V {
        let x = shim_clamp(x, -10, 10)  // beyond, it is 0 or 1
        let sigmoid = 1 / (1 + exp(-exponent(x)))
        let slope = fma(x * x, 0.214_064_449, V(repeating: 1.595_769_12))
        return fma(x * slope, sigmoid * (1 - sigmoid), sigmoid)
    }

    @inline(always) private static func exponent(_ x: V) -> V {
        x * fma(x * x, 0.071_354_816_3, V(repeating: 1.595_769_12))
    }
}

enum ReLU: Pointwise {
    /// NaN stays NaN.
    @inline(always) static func apply(_ x: V) -> V { shim_clamp(x, 0, .infinity) }
    @inline(always) static func derivative(_ x: V) -> V { V().replacing(with: 1, where: x .> 0) }
}

/// The activation of `count` floats; the last, partial sixteen are padded with zeros, so that an element's result does
/// not depend on where it stands.
public func activate(
    _ x: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>, count: Int, _ activation: Activation
) {
    // One loop per function.
    switch activation {
    case .none: map(Identity.self, x, out, count)
    case .silu: map(SiLU.self, x, out, count)
    case .mish: map(Mish.self, x, out, count)
    case .gelu: map(GELU.self, x, out, count)
    case .relu: map(ReLU.self, x, out, count)
    case .quickGELU: map(QuickGELU.self, x, out, count)
    case .geluTanh: map(GELUTanh.self, x, out, count)
    }
}

private func map<F: Pointwise>(_: F.Type, _ x: Input, _ out: Output, _ count: Int) {
    var i = 0
    while i < count {
        store(F.apply(load(x + i, count - i)), out + i, count - i)
        i += 16
    }
}

/// out = gradient * f'(x) for `count` floats.
public func activationGradient(
    _ x: UnsafePointer<Float>, _ gradient: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>, count: Int,
    _ activation: Activation
) {
    switch activation {
    case .none: mapGradient(Identity.self, x, gradient, out, count)
    case .silu: mapGradient(SiLU.self, x, gradient, out, count)
    case .mish: mapGradient(Mish.self, x, gradient, out, count)
    case .gelu: mapGradient(GELU.self, x, gradient, out, count)
    case .relu: mapGradient(ReLU.self, x, gradient, out, count)
    case .quickGELU: mapGradient(QuickGELU.self, x, gradient, out, count)
    case .geluTanh: mapGradient(GELUTanh.self, x, gradient, out, count)
    }
}

/// out = x * gelu(gate) for `count` floats (GEGLU, Shazeer 2020).
public func multiplyGELU(
    _ x: UnsafePointer<Float>, _ gate: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>, count: Int
) {
    var i = 0
    while i < count {
        store(load(x + i, count - i) * GELU.apply(load(gate + i, count - i)), out + i, count - i)
        i += 16
    }
}

private func mapGradient<F: Pointwise>(_: F.Type, _ x: Input, _ gradient: Input, _ out: Output, _ count: Int) {
    var i = 0
    while i < count {
        store(load(gradient + i, count - i) * F.derivative(load(x + i, count - i)), out + i, count - i)
        i += 16
    }
}
