import Checkpoint
import Kernels

/// The kinds of block that a name such as "AttnSkipDownBlock2D" stands for.
private struct BlockKind {
    var attention = false  // Attn...: attention after each residual block (AttnSkipUp: after the last)
    var transformer = false  // CrossAttn...: a transformer that reads the text after each residual block
    var skip = false  // ...Skip...: NCSN++'s blocks, which carry an image beside the features
    var resnet = false  // Resnet...: changes size by a residual block, not by a convolution

    init(_ name: String, direction: String, _ options: UNetOptions) throws {
        let plain = name.hasPrefix("UNetRes") ? String(name.dropFirst(7)) : name
        var known = ["\(direction)Block2D", "Attn\(direction)Block2D", "Resnet\(direction)sampleBlock2D"]
        known +=
            options.isConditional
            ? ["CrossAttn\(direction)Block2D"] : ["Skip\(direction)Block2D", "AttnSkip\(direction)Block2D"]
        guard known.contains(plain) else {
            throw MCMError(
                .unsupported,
                "block type \"\(name)\", expected one of " + known.sorted().joined(separator: ", "))
        }
        transformer = plain.hasPrefix("CrossAttn")
        attention = plain.hasPrefix("Attn")
        resnet = plain.hasPrefix("Resnet")
        skip = plain.contains("Skip")
    }
}

/// What the blocks of one network have in common.
struct UNetOptions {
    var block: BlockOptions
    var groups: Int?  // norm_num_groups
    var downsamplePadding: Int
    var downsampleType = "conv", upsampleType = "conv"
    var isConditional = false  // UNet2DConditionModel, whose blocks may read a text
}

/// One level of the way down or up.
struct UNetLevel {
    var type: String
    var channels: Int
    var layers: Int  // layers_per_block
    var headDim: Int?  // attention_head_dim, as attention blocks understand it; nil for one head
    var transformers: TransformerOptions?
}

/// What mixes the pixels after a residual block.
enum BlockAttention {
    case block(AttentionBlock)
    case transformer(Transformer2D)

    var textAttentions: [Attention] {
        switch self {
        case .block: []
        case .transformer(let transformer): transformer.textAttentions
        }
    }

    func callAsFunction(
        _ x: Tensor, _ text: inout ArraySlice<KeysAndValues>, in workspace: Workspace
    ) throws -> Tensor {
        switch self {
        case .block(let block): try block(x, in: workspace)
        case .transformer(let transformer): try transformer(x, &text, in: workspace)
        }
    }
}

private extension UNetLevel {
    /// The attention after residual block i, if there is any.
    func attention(
        _ weights: Weights, _ i: Int, _ kind: BlockKind, groups: Int, _ options: BlockOptions
    ) throws -> BlockAttention? {
        let weights = weights["attentions.\(i)"]
        if kind.attention {
            return .block(
                try AttentionBlock(
                    weights, channels, headDim: headDim ?? channels, groups: kind.skip ? 32 : groups, options))
        }
        guard kind.transformer, let transformers else { return nil }
        guard i < transformers.layers.count else {
            throw MCMError(
                .format,
                "\"transformer_layers_per_block\" has \(transformers.layers.count) numbers for a block of more layers")
        }
        return .transformer(
            try Transformer2D(weights, channels, layers: transformers.layers[i], groups: groups, transformers))
    }
}

/// min(channels / 4, 32): the groups of skip blocks.
private func skipGroups(_ channels: Int) -> Int { min(channels / 4, 32) }

private extension UNetOptions {
    /// norm_num_groups, which only skip blocks can do without.
    func groups(_ block: String) throws -> Int {
        guard let groups else {
            throw MCMError(.format, "\"norm_num_groups\" is null, expected an integer for \(block)")
        }
        return groups
    }
}

/// One level of the way down.
struct DownBlock {
    private let resnets: [ResnetBlock2D]
    private let attentions: [BlockAttention]  // none, or one per residual block
    private let downsampler: Downsampler?
    private let skipConv: Conv2D?  // (3, outputs), 1 x 1

    private enum Downsampler {
        case conv(Conv2D)
        case resnet(ResnetBlock2D)
    }

    init(
        _ weights: Weights, _ level: UNetLevel, _ inputs: Int, isLast: Bool, _ network: UNetOptions
    ) throws {
        let kind = try BlockKind(level.type, direction: "Down", network)
        let outputs = level.channels
        var options = network.block
        if kind.skip { options.outputScale = Float(2.0.squareRoot()) }
        let groups = kind.skip ? skipGroups(outputs) : try network.groups(level.type)
        resnets = try (0..<level.layers).map { i in
            let inputs = i == 0 ? inputs : outputs
            return try ResnetBlock2D(
                weights["resnets.\(i)"], inputs, outputs, groups: (kind.skip ? skipGroups(inputs) : groups, groups),
                options)
        }
        attentions = try (0..<level.layers).compactMap { i in
            try level.attention(weights, i, kind, groups: groups, options)
        }
        skipConv = kind.skip && !isLast ? try weights.conv2D("skip_conv", 3, outputs, kernel: 1) : nil
        if isLast {
            downsampler = nil
        } else if kind.skip {
            downsampler = .resnet(
                try ResnetBlock2D(
                    weights["resnet_down"], outputs, outputs, groups: (groups, groups), options, resampling: .firDown,
                    shortcut: true))
        } else if kind.resnet || kind.attention && network.downsampleType == "resnet" {
            downsampler = .resnet(
                try ResnetBlock2D(
                    weights["downsamplers.0"], outputs, outputs, groups: (groups, groups), options,
                    resampling: .averageDown))
        } else {
            downsampler = .conv(
                try weights.conv2D(
                    "downsamplers.0.conv", outputs, outputs, stride: 2, padding: (network.downsamplePadding, 1)))
        }
    }

    /// Skip blocks read the image itself, which they take to be RGB.
    var readsImage: Bool { skipConv != nil }
    var textAttentions: [Attention] { attentions.flatMap(\.textAttentions) }

    func callAsFunction(_ state: inout UNetState, _ embedding: Tensor, in workspace: Workspace) throws {
        for i in resnets.indices {
            state.sample = try resnets[i](state.sample, embedding, in: workspace)
            if !attentions.isEmpty { state.sample = try attentions[i](state.sample, &state.text, in: workspace) }
            state.skips.append(state.sample)
        }
        switch downsampler {
        case nil: return
        case .conv(let conv): state.sample = try conv2D(state.sample, conv, in: workspace)
        case .resnet(let resnet): state.sample = try resnet(state.sample, embedding, in: workspace)
        }
        if let skipConv, let image = state.image {
            let smaller = try firDownsample2x(image, in: workspace)
            state.sample = try conv2D(smaller, skipConv, residual: state.sample, in: workspace)
            state.image = smaller
        }
        state.skips.append(state.sample)
    }
}

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

/// One level of the way up.
struct UpBlock {
    private let resnets: [ResnetBlock2D]
    private let attentions: [BlockAttention]  // none, one per residual block, or (AttnSkip) one after the last
    private let upsampler: Upsampler?
    let isSkip: Bool
    private let skipOutput: (norm: GroupNorm, conv: Conv2D)?  // features to an RGB image

    private enum Upsampler {
        case conv(Conv2D)
        case resnet(ResnetBlock2D)
    }

    /// previous: channels that come from below; skips: channels of the level above, whose first output the last
    /// residual block takes.
    init(
        _ weights: Weights, _ level: UNetLevel, previous: Int, skips: Int, isLast: Bool, _ network: UNetOptions
    ) throws {
        let kind = try BlockKind(level.type, direction: "Up", network)
        let outputs = level.channels
        var options = network.block
        if kind.skip { options.outputScale = Float(2.0.squareRoot()) }
        isSkip = kind.skip
        let groups = kind.skip ? skipGroups(outputs) : try network.groups(level.type)
        let layers = level.layers + 1
        resnets = try (0..<layers).map { i in
            let skip = i == layers - 1 ? skips : outputs
            let below = i == 0 ? previous : outputs
            // AttnSkipUpBlock2D divides only the skip's channels by 4; trained weights depend on it.
            let inputGroups =
                !kind.skip ? groups : kind.attention ? min(below + skip / 4, 32) : skipGroups(below + skip)
            return try ResnetBlock2D(
                weights["resnets.\(i)"], below + skip, outputs, groups: (inputGroups, groups), options)
        }
        attentions = try (0..<(kind.skip ? 1 : layers)).compactMap { i in
            try level.attention(weights, i, kind, groups: groups, options)
        }
        skipOutput =
            kind.skip && !isLast
            ? (
                try weights.groupNorm("skip_norm", outputs, groups: groups, epsilon: options.epsilon),
                try weights.conv2D("skip_conv", outputs, 3)
            ) : nil
        if isLast {
            upsampler = nil
        } else if kind.skip {
            upsampler = .resnet(
                try ResnetBlock2D(
                    weights["resnet_up"], outputs, outputs, groups: (groups, groups), options, resampling: .firUp,
                    shortcut: true))
        } else if kind.resnet || kind.attention && network.upsampleType == "resnet" {
            upsampler = .resnet(
                try ResnetBlock2D(
                    weights["upsamplers.0"], outputs, outputs, groups: (groups, groups), options,
                    resampling: .nearestUp))
        } else {
            upsampler = .conv(try weights.conv2D("upsamplers.0.conv", outputs, outputs))
        }
    }

    /// Skip blocks add to an RGB image.
    var writesImage: Bool { skipOutput != nil }
    var textAttentions: [Attention] { attentions.flatMap(\.textAttentions) }

    func callAsFunction(_ state: inout UNetState, _ embedding: Tensor, in workspace: Workspace) throws {
        for i in resnets.indices {
            let skip = state.skips.removeLast()
            state.sample = try resnets[i](
                concatenate([state.sample, skip], in: workspace), embedding, in: workspace)
            if attentions.count == resnets.count {
                state.sample = try attentions[i](state.sample, &state.text, in: workspace)
            }
        }
        if isSkip {
            if let attention = attentions.first {
                state.sample = try attention(state.sample, &state.text, in: workspace)
            }
            state.image = try state.image.map { try firUpsample2x($0, in: workspace) }
            if let skipOutput {
                let h = try normalized(state.sample, skipOutput.norm, activation: .silu, in: workspace)
                state.image = try conv2D(h, skipOutput.conv, residual: state.image, in: workspace)
            }
        }
        switch upsampler {
        case nil: break
        case .conv(let conv):
            // An odd size was halved upwards: back to the size of what waits.
            let (height, width) = state.skips.last.map { ($0.h, $0.w) } ?? (2 * state.sample.h, 2 * state.sample.w)
            state.sample = try conv2D(
                upsampleNearest(state.sample, height: height, width: width, in: workspace), conv, in: workspace)
        case .resnet(let resnet): state.sample = try resnet(state.sample, embedding, in: workspace)
        }
    }
}
