import Checkpoint
import Kernels

/// The kinds of block that a name such as "AttnSkipDownBlock2D" stands for.
struct BlockKind {
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
                "block type \(quoted(name)), expected one of " + known.sorted().joined(separator: ", "))
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
indirect enum BlockAttention {
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

extension UNetLevel {
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
func skipGroups(_ channels: Int) -> Int { min(channels / 4, 32) }

extension UNetOptions {
    /// norm_num_groups, which only skip blocks can do without.
    func groups(_ block: String) throws -> Int {
        guard let groups else {
            throw MCMError(.format, "\"norm_num_groups\" is null, expected an integer for \(block)")
        }
        return groups
    }
}
