import Microkernels

/// The activation functions that diffusers names.
public enum Activation: String, Sendable {
    case silu, mish, gelu, relu

    /// diffusers' spelling, in any case; "swish" is silu.
    public init?(named name: String) {
        let name = name.lowercased()
        self.init(rawValue: name == "swish" ? "silu" : name)
    }

    var kernel: Microkernels.Activation {
        switch self {
        case .silu: .silu
        case .mish: .mish
        case .gelu: .gelu
        case .relu: .relu
        }
    }
}

/// The activation of every element.
public func activate(_ x: Tensor, _ activation: Activation, in workspace: Workspace) throws -> Tensor {
    let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
    let chunk = 1 << 14
    parallelFor((x.count + chunk - 1) / chunk, threads: workspace.threads) { task in
        let first = task * chunk
        activate(
            x.data + first, into: out.data + first, count: min(chunk, x.count - first), activation.kernel)
    }
    return out
}
