import Checkpoint
import Kernels

/// The options of the transformers of one level, by diffusers' names.
struct TransformerOptions {
    var heads: Int  // diffusers calls it attention_head_dim
    var layers: [Int]  // transformer_layers_per_block: a number for each transformer of the level, or more
    var crossAttentionDim: Int
    var onlyCrossAttention: Bool
    var useLinearProjection: Bool
}

/// diffusers' Transformer2DModel over the pixels of an image.
struct Transformer2D {
    private let norm: GroupNorm
    private let projIn: Conv2D
    private let transformerBlocks: [TransformerBlock]
    private let projOut: Conv2D

    init(_ weights: Weights, _ channels: Int, layers: Int, groups: Int, _ options: TransformerOptions) throws {
        guard options.heads <= channels else {
            throw MCMError(.format, "\"\(weights.prefix)\": \(options.heads) heads exceed the \(channels) channels")
        }
        let headDim = channels / options.heads
        let inner = options.heads * headDim
        func projection(_ name: String, _ inputs: Int, _ outputs: Int) throws -> Conv2D {
            options.useLinearProjection
                ? try weights.linear(name, inputs, outputs) : try weights.conv2D(name, inputs, outputs, kernel: 1)
        }
        norm = try weights.groupNorm("norm", channels, groups: groups, epsilon: 1e-6)
        projIn = try projection("proj_in", channels, inner)
        transformerBlocks = try (0..<layers).map { i in
            try TransformerBlock(weights["transformer_blocks.\(i)"], inner, headDim: headDim, options)
        }
        projOut = try projection("proj_out", inner, channels)
    }

    var textAttentions: [Attention] { transformerBlocks.flatMap(\.textAttentions) }

    /// x     (n, h, w, channels) to the same shape
    /// text  of `textAttentions` and those after them, which are left
    func callAsFunction(
        _ x: Tensor, _ text: inout ArraySlice<KeysAndValues>, in workspace: Workspace
    ) throws -> Tensor {
        var h = try conv2D(normalized(x, norm, in: workspace).tensor(in: workspace), projIn, in: workspace)
        for block in transformerBlocks { h = try block(h, &text, in: workspace) }
        return try conv2D(h, projOut, residual: x, in: workspace)
    }
}

/// diffusers' BasicTransformerBlock: attention to the image, attention to the text, and a layer for each pixel alone.
struct TransformerBlock {
    private let norm1, norm2, norm3: LayerNorm
    private let attn1, attn2: Attention
    private let onlyCrossAttention: Bool
    private let value, gate, out: Conv2D  // ff

    init(_ weights: Weights, _ channels: Int, headDim: Int, _ options: TransformerOptions) throws {
        func attention(_ name: String, states: Int?) throws -> Attention {
            try Attention(
                weights[name], channels, heads: options.heads, headDim: headDim, states: states, hasBias: false)
        }
        onlyCrossAttention = options.onlyCrossAttention
        norm1 = try weights.layerNorm("norm1", channels)
        attn1 = try attention("attn1", states: onlyCrossAttention ? options.crossAttentionDim : nil)
        norm2 = try weights.layerNorm("norm2", channels)
        attn2 = try attention("attn2", states: options.crossAttentionDim)
        norm3 = try weights.layerNorm("norm3", channels)
        (value, gate) = try weights.linearHalves("ff.net.0.proj", channels, 4 * channels)
        out = try weights.linear("ff.net.2", 4 * channels, channels)
    }

    /// The attentions that look at the text, in the order of their use.
    var textAttentions: [Attention] { onlyCrossAttention ? [attn1, attn2] : [attn2] }

    /// x (n, h, w, channels) to the same shape.
    func callAsFunction(
        _ x: Tensor, _ text: inout ArraySlice<KeysAndValues>, in workspace: Workspace
    ) throws -> Tensor {
        func next() throws -> KeysAndValues {
            guard let states = text.popFirst() else {
                throw MCMError(.invalidArgument, "the text's keys are another network's")
            }
            return states
        }
        let first = try layerNorm(x, norm1, in: workspace)
        var h =
            onlyCrossAttention
            ? try attn1(first, next(), residual: x, in: workspace) : try attn1(first, residual: x, in: workspace)
        h = try attn2(layerNorm(h, norm2, in: workspace), next(), residual: h, in: workspace)
        let hidden = try geglu(layerNorm(h, norm3, in: workspace), value: value, gate: gate, in: workspace)
        return try conv2D(hidden, out, residual: h, in: workspace)
    }
}
