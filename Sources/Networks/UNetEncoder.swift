import Checkpoint
import Kernels

/// The way down and the middle, of which a ControlNet has a copy of its own.
struct UNetEncoder {
    let convIn: Conv2D
    let downBlocks: [DownBlock]
    let midBlock: MidBlock?

    init(
        _ weights: Weights, inChannels: Int, kernel: Int = 3, down: [UNetLevel], mid: MidBlockOptions?,
        _ options: UNetOptions
    ) throws {
        convIn = try weights.conv2D("conv_in", inChannels, down[0].channels, kernel: kernel)
        downBlocks = try down.indices.map { i in
            try DownBlock(
                weights["down_blocks.\(i)"], down[i], down[max(i - 1, 0)].channels, isLast: i == down.count - 1, options
            )
        }
        midBlock = try mid.map { try MidBlock(weights["mid_block"], $0, options) }
    }

    /// The attentions that look at the text, in the order of their use.
    var textAttentions: [Attention] { downBlocks.flatMap(\.textAttentions) + (midBlock?.textAttentions ?? []) }

    /// x          (n, h, w, inChannels)
    /// embedding  (n, 1, 1, width), activated
    /// text       of `textAttentions` and those after them, which are left
    /// residual   (n, h, w, channels of the first level), added to the first convolution
    func callAsFunction(
        _ x: Tensor, _ embedding: Tensor, text: [KeysAndValues], residual: Tensor? = nil, in workspace: Workspace
    ) throws -> UNetState {
        let first = try conv2D(x, convIn, residual: residual, in: workspace)
        var state = UNetState(sample: first, skips: [first], text: text[...], image: x)
        for block in downBlocks { try block(&state, embedding, in: workspace) }
        if let midBlock { try midBlock(&state, embedding, in: workspace) }
        return state
    }
}

/// What flows through the blocks.
struct UNetState {
    var sample: Tensor
    /// Outputs of the way down that wait for the way up.
    var skips: [Tensor] = []
    /// The text as the attentions still to come see it.
    var text: ArraySlice<KeysAndValues>
    /// The image that NCSN++'s skip blocks carry beside the features: on the way down the shrinking input, on the way
    /// up the growing output.
    var image: Tensor?
}
