import Checkpoint
import Kernels

/// What UNet2DModel and UNet2DConditionModel have in common: from an image and the embedding of its time to the
/// prediction.
struct UNetBody {
    let convIn: Conv2D
    let downBlocks: [DownBlock]
    let midBlock: MidBlock?
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
        convIn = try weights.conv2D("conv_in", shape.inChannels, c[0], kernel: shape.convInKernel)
        downBlocks = try c.indices.map { i in
            try DownBlock(
                weights["down_blocks.\(i)"], shape.down[i], c[max(i - 1, 0)], isLast: i == last, options)
        }
        midBlock = try shape.mid.map { try MidBlock(weights["mid_block"], $0, options) }
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
        let down = downBlocks.map(\.readsImage), up = upBlocks.map(\.writesImage)
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
        downBlocks.flatMap(\.textAttentions) + (midBlock?.textAttentions ?? []) + upBlocks.flatMap(\.textAttentions)
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
        var state = UNetState(sample: try conv2D(input, convIn, in: workspace), text: text[...], image: input)
        state.skips.append(state.sample)
        for block in downBlocks { try block(&state, embedding, in: workspace) }
        if let control { try control.checkSkips(state.skips) }
        if let midBlock { try midBlock(&state, embedding, in: workspace) }
        if let control { try control.add(to: &state, in: workspace) }
        state.image = nil
        for block in upBlocks { try block(&state, embedding, in: workspace) }

        let h = try normalized(state.sample, convNormOut, activation: outActivation, in: workspace)
        return try conv2D(h, convOut, residual: state.image, in: workspace)
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

/// What a ControlNet adds: to all that goes from the way down to the way up, and to the middle's output.
public struct ControlResiduals {
    /// In the order of the way down, the first convolution's output first: (n, h', w', c') each.
    public var skips: [Tensor]
    public var mid: Tensor

    public init(skips: [Tensor], mid: Tensor) { (self.skips, self.mid) = (skips, mid) }

    func checkSkips(_ expected: [Tensor]) throws {
        guard skips.map(\.shapeList) == expected.map(\.shapeList) else {
            throw MCMError(
                .size,
                "residuals of shapes \(skips.map(\.shapeList)), expected \(expected.map(\.shapeList)), for the way down"
            )
        }
    }

    func add(to state: inout UNetState, in workspace: Workspace) throws {
        guard mid.shape == state.sample.shape else {
            throw MCMError(
                .size, "a residual of shape \(mid.shape), expected \(state.sample.shape), for the middle")
        }
        for i in skips.indices { state.skips[i] = try Kernels.add(state.skips[i], skips[i], in: workspace) }
        state.sample = try Kernels.add(state.sample, mid, in: workspace)
    }
}

extension Tensor {
    fileprivate var shapeList: [Int] { [n, h, w, c] }
}
