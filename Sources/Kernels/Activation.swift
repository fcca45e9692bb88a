import Microkernels

/// The activation functions that diffusers and transformers name.
public enum Activation: String, Sendable {
    case silu, mish, gelu, relu
    case quickGELU = "quick_gelu"
    case geluTanh = "gelu_new"

    /// Their spelling, in any case; "swish" is silu.
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
        case .quickGELU: .quickGELU
        case .geluTanh: .geluTanh
        }
    }
}

/// The activation of every element.
public func activate(_ x: Tensor, _ activation: Activation, in workspace: Workspace) throws -> Tensor {
    let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
    parallelBlocks(x.count, in: workspace) { block in
        activate(
            x.data + block.lowerBound, into: out.data + block.lowerBound, count: block.count, activation.kernel)
    }
    workspace.tape?.record(out) { gradient, tape, workspace in
        let dx = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
        parallelBlocks(x.count, in: workspace) { block in
            activationGradient(
                x.data + block.lowerBound, gradient.data + block.lowerBound, into: dx.data + block.lowerBound,
                count: block.count, activation.kernel)
        }
        try tape.add(dx, to: x, in: workspace)
    }
    return out
}
