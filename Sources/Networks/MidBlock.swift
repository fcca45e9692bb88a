import Checkpoint
import Kernels

/// The middle of a network.
struct MidBlockOptions {
    var channels: Int
    var outputScale: Double  // mid_block_scale_factor
    var attention: Attention?
    var isSingle = false  // UNetMidBlock2D as UNet2DConditionModel uses it: one residual block, nothing else

    enum Attention {
        /// groups: of the norm, nil for none
        case block(headDim: Int, groups: Int?)
        case transformer(TransformerOptions)
    }
}

/// diffusers' UNetMidBlock2D and UNetMidBlock2DCrossAttn: residual block, attention, residual block.
struct MidBlock {
    private let first: ResnetBlock2D
    private let attention: BlockAttention?
    private let second: ResnetBlock2D?

    init(_ weights: Weights, _ mid: MidBlockOptions, _ network: UNetOptions) throws {
        let channels = mid.channels
        var options = network.block
        options.outputScale = Float(mid.outputScale)
        let groups = network.groups ?? skipGroups(channels)
        func resnet(_ i: Int) throws -> ResnetBlock2D {
            try ResnetBlock2D(weights["resnets.\(i)"], channels, channels, groups: (groups, groups), options)
        }
        first = try resnet(0)
        switch mid.attention {
        case nil: attention = nil
        case .block(let headDim, let groups):
            attention = .block(
                try AttentionBlock(weights["attentions.0"], channels, headDim: headDim, groups: groups, options))
        case .transformer(let transformer):
            attention = .transformer(
                try Transformer2D(
                    weights["attentions.0"], channels, layers: transformer.layers.first ?? 1, groups: groups,
                    transformer))
        }
        second = mid.isSingle ? nil : try resnet(1)
    }

    var textAttentions: [Attention] { attention?.textAttentions ?? [] }

    func callAsFunction(_ state: inout UNetState, _ embedding: Tensor, in workspace: Workspace) throws {
        state.sample = try first(state.sample, embedding, in: workspace)
        if let attention { state.sample = try attention(state.sample, &state.text, in: workspace) }
        if let second { state.sample = try second(state.sample, embedding, in: workspace) }
    }
}
