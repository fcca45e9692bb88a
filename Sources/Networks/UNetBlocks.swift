import Checkpoint
import Kernels

/// The kinds of block that a name such as "AttnSkipDownBlock2D" stands for.
private struct BlockKind {
    let attention: Bool  // Attn...: attention after each residual block (AttnSkipUp: after the last)
    let skip: Bool  // ...Skip...: NCSN++'s blocks, which carry an image beside the features
    let resnet: Bool  // Resnet...: changes size by a residual block, not by a convolution

    init(_ name: String, direction: String) throws {
        let plain = name.hasPrefix("UNetRes") ? String(name.dropFirst(7)) : name
        let known: [String: (Bool, Bool, Bool)] = [
            "\(direction)Block2D": (false, false, false),
            "Attn\(direction)Block2D": (true, false, false),
            "Resnet\(direction)sampleBlock2D": (false, false, true),
            "Skip\(direction)Block2D": (false, true, false),
            "AttnSkip\(direction)Block2D": (true, true, false),
        ]
        guard let (attention, skip, resnet) = known[plain] else {
            throw MCMError(
                .unsupported, "block type \"\(name)\", expected one of " + known.keys.sorted().joined(separator: ", "))
        }
        (self.attention, self.skip, self.resnet) = (attention, skip, resnet)
    }
}

/// min(channels / 4, 32): the groups of skip blocks.
private func skipGroups(_ channels: Int) -> Int { min(channels / 4, 32) }

private extension UNet2DConfig {
    /// norm_num_groups, which only skip blocks can do without.
    func groups(_ block: String) throws -> Int {
        guard let groups = normNumGroups else {
            throw MCMError(.format, "\"norm_num_groups\" is null, expected an integer for \(block)")
        }
        return groups
    }
}

/// One level of the way down.
struct DownBlock {
    private let resnets: [ResnetBlock2D]
    private let attentions: [AttentionBlock]  // none, or one per residual block
    private let downsampler: Downsampler?
    private let skipConv: Conv2D?  // (3, outputs), 1 x 1

    private enum Downsampler {
        case conv(Conv2D)
        case resnet(ResnetBlock2D)
    }

    init(
        _ weights: Weights, _ type: String, _ inputs: Int, _ outputs: Int, isLast: Bool, _ config: UNet2DConfig,
        _ options: BlockOptions
    ) throws {
        let kind = try BlockKind(type, direction: "Down")
        var options = options
        if kind.skip { options.outputScale = Float(2.0.squareRoot()) }
        let groups = kind.skip ? skipGroups(outputs) : try config.groups(type)
        resnets = try (0..<config.layersPerBlock).map { i in
            let inputs = i == 0 ? inputs : outputs
            return try ResnetBlock2D(
                weights["resnets.\(i)"], inputs, outputs, groups: (kind.skip ? skipGroups(inputs) : groups, groups),
                options)
        }
        attentions = try (0..<(kind.attention ? config.layersPerBlock : 0)).map { i in
            try AttentionBlock(
                weights["attentions.\(i)"], outputs, headDim: config.attentionHeadDim ?? outputs,
                groups: kind.skip ? 32 : groups, options)
        }
        skipConv = kind.skip && !isLast ? try weights.conv2D("skip_conv", 3, outputs, kernel: 1) : nil
        if isLast {
            downsampler = nil
        } else if kind.skip {
            downsampler = .resnet(
                try ResnetBlock2D(
                    weights["resnet_down"], outputs, outputs, groups: (groups, groups), options, resampling: .firDown,
                    shortcut: true))
        } else if kind.resnet || kind.attention && config.downsampleType == "resnet" {
            downsampler = .resnet(
                try ResnetBlock2D(
                    weights["downsamplers.0"], outputs, outputs, groups: (groups, groups), options,
                    resampling: .averageDown))
        } else {
            downsampler = .conv(
                try weights.conv2D(
                    "downsamplers.0.conv", outputs, outputs, stride: 2, padding: (config.downsamplePadding, 1)))
        }
    }

    /// Skip blocks read the image itself, which they take to be RGB.
    var readsImage: Bool { skipConv != nil }

    func callAsFunction(_ state: inout UNetState, _ embedding: Tensor, in workspace: Workspace) throws {
        for i in resnets.indices {
            state.sample = try resnets[i](state.sample, embedding, in: workspace)
            if !attentions.isEmpty { state.sample = try attentions[i](state.sample, in: workspace) }
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

/// diffusers' UNetMidBlock2D: residual block, attention, residual block.
struct MidBlock {
    private let first, second: ResnetBlock2D
    private let attention: AttentionBlock?

    init(_ weights: Weights, _ channels: Int, _ config: UNet2DConfig, _ options: BlockOptions) throws {
        var options = options
        options.outputScale = Float(config.midBlockScaleFactor)
        let groups = config.normNumGroups ?? skipGroups(channels)
        first = try ResnetBlock2D(weights["resnets.0"], channels, channels, groups: (groups, groups), options)
        attention =
            config.addAttention
            ? try AttentionBlock(
                weights["attentions.0"], channels, headDim: config.attentionHeadDim ?? channels,
                groups: config.attnNormNumGroups ?? (config.scaleShift ? nil : groups), options) : nil
        second = try ResnetBlock2D(weights["resnets.1"], channels, channels, groups: (groups, groups), options)
    }

    func callAsFunction(_ x: Tensor, _ embedding: Tensor, in workspace: Workspace) throws -> Tensor {
        var x = try first(x, embedding, in: workspace)
        if let attention { x = try attention(x, in: workspace) }
        return try second(x, embedding, in: workspace)
    }
}

/// One level of the way up.
struct UpBlock {
    private let resnets: [ResnetBlock2D]
    private let attentions: [AttentionBlock]  // none, one per residual block, or (AttnSkip) one after the last
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
        _ weights: Weights, _ type: String, previous: Int, outputs: Int, skips: Int, isLast: Bool,
        _ config: UNet2DConfig, _ options: BlockOptions
    ) throws {
        let kind = try BlockKind(type, direction: "Up")
        var options = options
        if kind.skip { options.outputScale = Float(2.0.squareRoot()) }
        isSkip = kind.skip
        let groups = kind.skip ? skipGroups(outputs) : try config.groups(type)
        let layers = config.layersPerBlock + 1
        resnets = try (0..<layers).map { i in
            let skip = i == layers - 1 ? skips : outputs
            let below = i == 0 ? previous : outputs
            // AttnSkipUpBlock2D divides only the skip's channels by 4; trained weights depend on it.
            let inputGroups =
                !kind.skip ? groups : kind.attention ? min(below + skip / 4, 32) : skipGroups(below + skip)
            return try ResnetBlock2D(
                weights["resnets.\(i)"], below + skip, outputs, groups: (inputGroups, groups), options)
        }
        attentions = try (0..<(!kind.attention ? 0 : kind.skip ? 1 : layers)).map { i in
            try AttentionBlock(
                weights["attentions.\(i)"], outputs, headDim: config.attentionHeadDim ?? outputs,
                groups: kind.skip ? 32 : groups, options)
        }
        skipOutput =
            kind.skip && !isLast
            ? (
                try weights.groupNorm("skip_norm", outputs, groups: groups, epsilon: config.normEps),
                try weights.conv2D("skip_conv", outputs, 3)
            ) : nil
        if isLast {
            upsampler = nil
        } else if kind.skip {
            upsampler = .resnet(
                try ResnetBlock2D(
                    weights["resnet_up"], outputs, outputs, groups: (groups, groups), options, resampling: .firUp,
                    shortcut: true))
        } else if kind.resnet || kind.attention && config.upsampleType == "resnet" {
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

    func callAsFunction(_ state: inout UNetState, _ embedding: Tensor, in workspace: Workspace) throws {
        for i in resnets.indices {
            let skip = state.skips.removeLast()
            state.sample = try resnets[i](
                concatenate([state.sample, skip], in: workspace), embedding, in: workspace)
            if attentions.count == resnets.count { state.sample = try attentions[i](state.sample, in: workspace) }
        }
        if isSkip {
            if let attention = attentions.first { state.sample = try attention(state.sample, in: workspace) }
            state.image = try state.image.map { try firUpsample2x($0, in: workspace) }
            if let skipOutput {
                let h = try normalized(state.sample, skipOutput.norm, activation: .silu, in: workspace)
                state.image = try conv2D(h, skipOutput.conv, residual: state.image, in: workspace)
            }
        }
        switch upsampler {
        case nil: break
        case .conv(let conv):
            state.sample = try conv2D(upsampling: state.sample, conv, in: workspace)
        case .resnet(let resnet): state.sample = try resnet(state.sample, embedding, in: workspace)
        }
    }
}
