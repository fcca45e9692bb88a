import CShims

/// The activation functions that diffusers names.
public enum Activation: UInt8, Sendable {
    case none, silu, mish, gelu, relu
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
    }
}

private func mapGradient<F: Pointwise>(_: F.Type, _ x: Input, _ gradient: Input, _ out: Output, _ count: Int) {
    var i = 0
    while i < count {
        store(load(gradient + i, count - i) * F.derivative(load(x + i, count - i)), out + i, count - i)
        i += 16
    }
}
