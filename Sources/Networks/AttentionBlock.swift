import Checkpoint
import Kernels

/// Self-attention over the pixels of an image with a residual connection: diffusers' Attention as UNet2DModel uses it
/// (once called AttentionBlock).
struct AttentionBlock {
    private let groupNorm: GroupNorm?
    private let attention: Attention
    private let outputScale: Float

    /// groups: of the norm, nil for none.
    init(_ weights: Weights, _ channels: Int, headDim: Int, groups: Int?, _ options: BlockOptions) throws {
        let heads = channels / headDim
        guard heads > 0 else {
            throw MCMError(
                .format, "\"\(weights.prefix)\": attention_head_dim \(headDim) exceeds the \(channels) channels")
        }
        groupNorm = try groups.map {
            try weights.groupNorm("group_norm", channels, groups: $0, epsilon: options.epsilon)
        }
        attention = try Attention(weights, channels, heads: heads, headDim: headDim)
        outputScale = options.outputScale
    }

    /// x (n, h, w, channels) to the same shape.
    func callAsFunction(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
        let h = try groupNorm.map { try Kernels.groupNorm(x, $0, in: workspace) } ?? x
        return try attention(h, residual: x, in: workspace).divided(by: outputScale, in: workspace)
    }
}
