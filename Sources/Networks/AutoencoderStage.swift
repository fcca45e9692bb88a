import Checkpoint
import Kernels

/// An encoder or a decoder is a sequence of these.
enum Stage {
    case conv(Conv2D)
    case resnet(ResnetBlock2D)
    case attention(AttentionBlock)
    /// Half the size. Zeros are added below and on the right alone.
    case downsample(Conv2D)
    /// Twice the size, nearest, then a convolution.
    case upsample(Conv2D)
    /// conv_norm_out, SiLU, conv_out.
    case out(GroupNorm, Conv2D)

    /// x (n, h, w, c), which goes as soon as it is no longer needed, if the caller lets go of it.
    func callAsFunction(_ x: consuming Tensor, in workspace: Workspace) throws -> Tensor {
        switch self {
        case .conv(let conv), .downsample(let conv): return try conv2D(x, conv, in: workspace)
        case .resnet(let resnet): return try resnet(consume x, nil, in: workspace)
        case .attention(let attention): return try attention(x, in: workspace)
        case .upsample(let conv):
            // What smaller tensors lay in is of no use to those that follow.
            guard x.count >= 4 << 20 else { return try conv2D(upsampling: x, conv, in: workspace) }
            workspace.trim()
            let out = try conv2D(upsampling: x, conv, in: workspace)
            _ = consume x
            workspace.trim()
            return out
        case .out(let norm, let conv):
            return try conv2D(normalized(x, norm, activation: .silu, in: workspace), conv, in: workspace)
        }
    }

    /// Group norms that it has.
    var norms: Int {
        switch self {
        case .resnet: 2
        case .attention, .out: 1
        case .conv, .downsample, .upsample: 0
        }
    }

    var isAttention: Bool { if case .attention = self { true } else { false } }
    var isDownsampling: Bool { if case .downsample = self { true } else { false } }
    var isUpsampling: Bool { if case .upsample = self { true } else { false } }

    /// Rows (or columns) of the result from those of the input.
    func outputSize(_ size: Int) -> Int {
        switch self {
        case .downsample: size / 2
        case .upsample: 2 * size
        case .conv, .resnet, .attention, .out: size
        }
    }

    /// The rows (or columns) of the input that some of the result depend on, if the moments of norms are known. Some may
    /// lie outside the image.
    func inputs(of outputs: Range<Int>) -> Range<Int> {
        let (first, end) = (outputs.lowerBound, outputs.upperBound)
        return switch self {
        case .attention: outputs  // and all others: it cannot be computed in pieces
        case .conv, .out: (first - 1)..<(end + 1)
        case .resnet: (first - 2)..<(end + 2)
        case .downsample: (2 * first)..<(2 * end + 1)
        case .upsample: ((first - 1) >> 1)..<((end + 2) >> 1)
        }
    }
}

extension AutoencoderConfig {
    private var options: BlockOptions { BlockOptions(embedding: nil, activation: activation, epsilon: 1e-6) }

    /// diffusers' Encoder: an image (n, h, w, inChannels) to (n, h / reduction, w / reduction, outputs).
    func encoder(_ weights: Weights, outputs: Int) throws -> [Stage] {
        let c = blockOutChannels
        var stages: [Stage] = [.conv(try weights.conv2D("conv_in", inChannels, c[0]))]
        for i in c.indices {
            let block = weights["down_blocks.\(i)"]
            stages += try level(
                block, downBlockTypes[i], "DownEncoderBlock2D", c[max(i - 1, 0)], c[i], layers: layersPerBlock)
            if i < c.count - 1 {
                stages.append(
                    .downsample(
                        try block.conv2D("downsamplers.0.conv", c[i], c[i], stride: 2, padding: (before: 0, after: 1))))
            }
        }
        stages += try midBlock(weights["mid_block"], c[c.count - 1])
        return stages + [try out(weights, c[c.count - 1], outputs)]
    }

    /// diffusers' Decoder: (n, h, w, latentChannels) to an image (n, h * reduction, w * reduction, outChannels).
    func decoder(_ weights: Weights) throws -> [Stage] {
        let c = [Int](blockOutChannels.reversed())
        var stages: [Stage] = [.conv(try weights.conv2D("conv_in", latentChannels, c[0]))]
        stages += try midBlock(weights["mid_block"], c[0])
        for i in c.indices {
            let block = weights["up_blocks.\(i)"]
            stages += try level(
                block, upBlockTypes[i], "UpDecoderBlock2D", c[max(i - 1, 0)], c[i], layers: layersPerBlock + 1)
            if i < c.count - 1 { stages.append(.upsample(try block.conv2D("upsamplers.0.conv", c[i], c[i]))) }
        }
        return stages + [try out(weights, c[c.count - 1], outChannels)]
    }

    /// Residual blocks, each followed by attention if the type is Attn...
    private func level(
        _ weights: Weights, _ type: String, _ plainType: String, _ inputs: Int, _ outputs: Int, layers: Int
    ) throws -> [Stage] {
        guard type == plainType || type == "Attn" + plainType else {
            throw MCMError(
                .unsupported, "block type \"\(type)\", expected \"\(plainType)\" or \"Attn\(plainType)\"")
        }
        return try (0..<layers).flatMap { i in
            let resnet = try resnet(weights["resnets.\(i)"], i == 0 ? inputs : outputs, outputs)
            return type == plainType ? [resnet] : [resnet, try attention(weights["attentions.\(i)"], outputs)]
        }
    }

    private func midBlock(_ weights: Weights, _ channels: Int) throws -> [Stage] {
        let first = try resnet(weights["resnets.0"], channels, channels)
        let attentions = midBlockAddAttention ? [try attention(weights["attentions.0"], channels)] : []
        return [first] + attentions + [try resnet(weights["resnets.1"], channels, channels)]
    }

    private func resnet(_ weights: Weights, _ inputs: Int, _ outputs: Int) throws -> Stage {
        .resnet(try ResnetBlock2D(weights, inputs, outputs, groups: (normNumGroups, normNumGroups), options))
    }

    /// One head.
    private func attention(_ weights: Weights, _ channels: Int) throws -> Stage {
        .attention(try AttentionBlock(weights, channels, headDim: channels, groups: normNumGroups, options))
    }

    private func out(_ weights: Weights, _ inputs: Int, _ outputs: Int) throws -> Stage {
        .out(
            try weights.groupNorm("conv_norm_out", inputs, groups: normNumGroups, epsilon: options.epsilon),
            try weights.conv2D("conv_out", inputs, outputs))
    }
}
