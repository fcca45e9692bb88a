import Checkpoint
import Kernels

/// What UNet2DModel and UNet2DConditionModel have in common: from an image and the embedding of its time to the
/// prediction.
struct UNetBody {
    let encoder: UNetEncoder
    let upBlocks: [UpBlock]
    let convNormOut: GroupNorm
    let convOut: Conv2D
    private let outActivation: Activation
    private let centerInputSample: Bool

    /// What both configs say.
    struct Shape {
        var inChannels, outChannels: Int
        var convInKernel = 3, convOutKernel = 3
        var down, up: [UNetLevel]  // in the order of their use
        var mid: MidBlockOptions?
        var outGroups: Int
        var outActivation: Activation
        var centerInputSample: Bool
    }

    init(_ weights: Weights, _ shape: Shape, _ options: UNetOptions) throws {
        let c = shape.down.map(\.channels)
        let last = c.count - 1
        encoder = try UNetEncoder(
            weights, inChannels: shape.inChannels, kernel: shape.convInKernel, down: shape.down, mid: shape.mid, options
        )
        upBlocks = try c.indices.map { i in
            try UpBlock(
                weights["up_blocks.\(i)"], shape.up[i], previous: c[min(last - i + 1, last)],
                skips: c[max(last - i - 1, 0)], isLast: i == last, options)
        }
        convNormOut = try weights.groupNorm(
            "conv_norm_out", c[0], groups: shape.outGroups, epsilon: options.block.epsilon)
        convOut = try weights.conv2D("conv_out", c[0], shape.outChannels, kernel: shape.convOutKernel)
        outActivation = shape.outActivation
        centerInputSample = shape.centerInputSample
        // NCSN++'s image shrinks and grows in skip blocks alone: they come first on the way down, last on the way up.
        let down = encoder.downBlocks.map(\.readsImage), up = upBlocks.map(\.writesImage)
        if zip(down, down.dropFirst()).contains(where: { !$0 && $1 })
            || zip(up, upBlocks.dropFirst()).contains(where: { $0 && !$1.isSkip })
        {
            throw MCMError(.format, "skip blocks come first in down_block_types and last in up_block_types")
        }
        if down.contains(true) && shape.inChannels != 3 || up.contains(true) && shape.outChannels != 3 {
            throw MCMError(
                .format, "skip blocks need 3 channels, found \(shape.inChannels) in and \(shape.outChannels) out")
        }
    }

    /// The attentions that look at the text, in the order of their use.
    var textAttentions: [Attention] {
        encoder.textAttentions + upBlocks.flatMap(\.textAttentions)
    }

    /// x          (n, h, w, inChannels)
    /// embedding  (n, 1, 1, width), activated
    /// text       of `textAttentions`
    /// returns    (n, h, w, outChannels)
    func callAsFunction(
        _ x: Tensor, _ embedding: Tensor, text: [KeysAndValues] = [], control: ControlResiduals? = nil,
        in workspace: Workspace
    ) throws -> Tensor {
        let input = centerInputSample ? try map(x, in: workspace) { 2 * $0 - 1 } : x  // x has no gradient
        var state = try encoder(input, embedding, text: text, in: workspace)
        if let control { try control.add(to: &state, in: workspace) }
        state.image = nil
        for block in upBlocks { try block(&state, embedding, in: workspace) }

        let h = try normalized(state.sample, convNormOut, activation: outActivation, in: workspace)
        return try conv2D(h, convOut, residual: state.image, in: workspace)
    }
}
