import Checkpoint
import Kernels

/// Multi-head attention with its projections: diffusers' Attention, and CLIP's.
struct Attention {
    private let toQ, toK, toV, toOut: Conv2D
    private let heads: Int

    /// What the projections are called in the checkpoint.
    struct Names {
        let q, k, v, out: String
        static let diffusers = Names(q: "to_q", k: "to_k", v: "to_v", out: "to_out.0")
        static let clip = Names(q: "q_proj", k: "k_proj", v: "v_proj", out: "out_proj")
    }

    /// states   channels of what is attended to; nil for x itself
    /// hasBias  whether q, k and v have biases
    init(
        _ weights: Weights, _ channels: Int, heads: Int, headDim: Int, states: Int? = nil, hasBias: Bool = true,
        _ names: Names = .diffusers
    ) throws {
        self.heads = heads
        let inner = heads * headDim
        toQ = try weights.linear(names.q, channels, inner, bias: hasBias)
        toK = try weights.linear(names.k, states ?? channels, inner, bias: hasBias)
        toV = try weights.linear(names.v, states ?? channels, inner, bias: hasBias)
        toOut = try weights.linear(names.out, inner, channels)
    }

    /// Self-attention over the pixels, or tokens, plus `residual`.
    ///   x, residual  (n, h, w, channels)
    func callAsFunction(_ x: Tensor, residual: Tensor, in workspace: Workspace) throws -> Tensor {
        let q = try conv2D(x, toQ, in: workspace)
        let k = try conv2D(x, toK, in: workspace)
        let v = try conv2D(x, toV, in: workspace)
        let mixed = try attention(q, k, v, heads: heads, in: workspace)
        return try conv2D(mixed, toOut, residual: residual, in: workspace)
    }

    /// The keys and values of what is attended to, (n, h, w, states).
    func keysAndValues(_ states: Tensor, in workspace: Workspace) throws -> KeysAndValues {
        try KeysAndValues(
            conv2D(states, toK, in: workspace), conv2D(states, toV, in: workspace), heads: heads, in: workspace)
    }

    /// The same with keys and values that are known already.
    func callAsFunction(
        _ x: Tensor, _ states: KeysAndValues, isCausal: Bool = false, residual: Tensor, in workspace: Workspace
    ) throws -> Tensor {
        let mixed = try attention(conv2D(x, toQ, in: workspace), states, isCausal: isCausal, in: workspace)
        return try conv2D(mixed, toOut, residual: residual, in: workspace)
    }
}
