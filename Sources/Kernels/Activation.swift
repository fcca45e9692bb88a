import Glibc

/// The activation functions that diffusers names.
public enum Activation: String, Sendable {
    case silu, mish, gelu, relu

    /// diffusers' spelling, in any case; "swish" is silu.
    public init?(named name: String) {
        let name = name.lowercased()
        self.init(rawValue: name == "swish" ? "silu" : name)
    }

    /// The value at each of eight places.
    @inline(__always)
    func callAsFunction(_ x: V8) -> V8 {
        switch self {
        case .silu:
            return x / (1 + exp(-x))
        case .mish:
            // x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); above 20 the quotient rounds to 1.
            let e = exp(x.replacing(with: 20, where: x .> 20))
            let n = e * (e + 2)
            return x * (n / (n + 2))
        case .gelu:
            var y = x
            for i in 0..<8 { y[i] = 0.5 * x[i] * (1 + erff(x[i] * 0.707_106_781)) }
            return y
        case .relu:
            // NaN stays NaN.
            return x.replacing(with: 0, where: x .< 0)
        }
    }
}

/// The activation of every element.
public func activate(_ x: Tensor, _ activation: Activation, in workspace: Workspace) throws -> Tensor {
    let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
    let chunk = 1 << 14
    parallelFor((x.count + chunk - 1) / chunk, threads: workspace.threads) { task in
        let first = task * chunk
        mapVectors(x.data + first, out.data + first, min(chunk, x.count - first)) { activation($0) }
    }
    return out
}
