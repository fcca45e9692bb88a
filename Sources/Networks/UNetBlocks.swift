import Checkpoint
import Kernels

/// One level of the way down.
struct DownBlock {
    private let resnets: [ResnetBlock2D]
    private let attentions: [BlockAttention]  // none, or one per residual block
    private let downsampler: Downsampler?
    private let skipConv: Conv2D?  // (3, outputs), 1 x 1

    private indirect enum Downsampler {
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

/// One level of the way up.
struct UpBlock {
    private let resnets: [ResnetBlock2D]
    private let attentions: [BlockAttention]  // none, one per residual block, or (AttnSkip) one after the last
    private let upsampler: Upsampler?
    let isSkip: Bool
    private let skipOutput: (norm: GroupNorm, conv: Conv2D)?  // features to an RGB image

    private indirect enum Upsampler {
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
            let x = state.sample, (height, width) = state.skips.last.map { ($0.h, $0.w) } ?? (2 * x.h, 2 * x.w)
            state.sample =
                try (height, width) == (2 * x.h, 2 * x.w)
                ? conv2D(upsampling: x, conv, in: workspace)
                : conv2D(upsampleNearest(x, height: height, width: width, in: workspace), conv, in: workspace)
        case .resnet(let resnet): state.sample = try resnet(state.sample, embedding, in: workspace)
        }
    }
}
