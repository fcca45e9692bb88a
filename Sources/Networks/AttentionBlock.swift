import Checkpoint
import Kernels

/// Self-attention over the pixels of an image with a residual connection: diffusers' Attention as UNet2DModel uses it
/// (once called AttentionBlock).
struct AttentionBlock {
    private let groupNorm: GroupNorm?
    private let toQ, toK, toV, toOut: Conv2D
    private let heads: Int
    private let outputScale: Float

    /// groups: of the norm, nil for none.
    init(_ weights: Weights, _ channels: Int, headDim: Int, groups: Int?, _ options: BlockOptions) throws {
        heads = channels / headDim
        guard heads > 0 else {
            throw MCMError(
                .format, "\"\(weights.prefix)\": attention_head_dim \(headDim) exceeds the \(channels) channels")
        }
        let inner = heads * headDim
        groupNorm = try groups.map {
            try weights.groupNorm("group_norm", channels, groups: $0, epsilon: options.epsilon)
        }
        toQ = try weights.linear("to_q", channels, inner)
        toK = try weights.linear("to_k", channels, inner)
        toV = try weights.linear("to_v", channels, inner)
        toOut = try weights.linear("to_out.0", inner, channels)
        outputScale = options.outputScale
    }

    /// x (n, h, w, channels) to the same shape.
    func callAsFunction(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
        let h = try groupNorm.map { try Kernels.groupNorm(x, $0, in: workspace) } ?? x
        let q = try conv2D(h, toQ, in: workspace)
        let k = try conv2D(h, toK, in: workspace)
        let v = try conv2D(h, toV, in: workspace)
        let mixed = try attention(q, k, v, heads: heads, in: workspace)
        return try conv2D(mixed, toOut, residual: x, in: workspace).divided(by: outputScale, in: workspace)
    }
}
