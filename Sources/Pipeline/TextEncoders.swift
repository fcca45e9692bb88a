import Checkpoint
import Kernels
import Networks
import Text

/// A tokenizer and the network that reads its tokens.
struct TextEncoder: Sendable {
    let config: CLIPTextConfig
    let tokenizer: CLIPTokenizer
    let network: Part<CLIPText>
    let hasProjection: Bool

    /// Tokens of a chunk, start and end among them.
    var length: Int { min(tokenizer.maximumLength, config.maxPositionEmbeddings) }
}

/// How prompts are read.
public struct PromptOptions: Sendable {
    /// Layers of the text encoders that are left out at their end: diffusers' clip_skip.
    public var clipSkip = 0
    /// Whether brackets give parts of a prompt weights, see `PromptWeights`; else they are text.
    public var hasWeights = false
    /// Whether a prompt that is too long is read in chunks, else cut off.
    public var isChunked = false

    public init() {}
}

/// The text encoders of a model: one, or two whose states lie side by side (Stable Diffusion XL).
struct TextEncoders: Sendable {
    let encoders: [TextEncoder]
    /// Stable Diffusion XL's way: states of the last layer but one, not normalised, and a pooled text.
    let isXL: Bool

    /// Channels of the states.
    var channels: Int { encoders.reduce(0) { $0 + $1.config.hiddenSize } }

    /// Of the pooled text that Stable Diffusion XL takes from the last one.
    var pooledChannels: Int { isXL ? encoders.last?.config.projectionDim ?? 0 : 0 }

    private static let longest = 64  // chunks

    func encode(_ prompts: [String], _ options: PromptOptions, threads: Int) throws -> Prompt {
        guard !prompts.isEmpty else { throw MCMError(.size, "no prompt, expected at least one") }
        guard (0...256).contains(options.clipSkip) else {
            throw MCMError(
                .invalidArgument, "\(options.clipSkip) layers are skipped, expected 0 to those of the text encoder")
        }
        let parsed = prompts.map { options.hasWeights ? PromptWeights(parsing: $0) : PromptWeights(plain: $0) }
        let tokens = try encoders.map { encoder in
            try parsed.map {
                try encoder.tokenizer.encode($0, length: length, overflow: options.isChunked ? .chunk : .truncate)
            }
        }
        let chunks = tokens.joined().map(\.chunks.count).max() ?? 1
        guard chunks <= Self.longest else {
            throw MCMError(
                .size, "a prompt of \(chunks) x \(length) tokens, expected at most \(Self.longest) x \(length)")
        }
        let prompt = try Prompt(
            count: prompts.count, tokens: chunks * length, channels: channels,
            pooledChannels: pooledChannels, isTruncated: tokens.joined().contains(where: \.isTruncated))
        // One encoder after the other, so that no more than one need be there.
        var first = 0
        for (encoder, tokens) in zip(encoders, tokens) {
            try encode(tokens, by: encoder, options, channels: first, into: prompt, threads: threads)
            first += encoder.config.hiddenSize
        }
        return prompt
    }

    /// Tokens of a chunk.
    private var length: Int { encoders.map(\.length).min() ?? 0 }

    /// What one encoder makes of the prompts.
    ///   channels  the first of its channels
    private func encode(
        _ prompts: [WeightedTokens], by encoder: TextEncoder, _ options: PromptOptions, channels first: Int,
        into prompt: Prompt, threads: Int
    ) throws {
        let empty = try encoder.tokenizer.encode(PromptWeights(plain: ""), length: length).chunks[0]
        try encoder.network.use { network in
            let workspace = Workspace(threads: threads)
            for (i, weighted) in prompts.enumerated() {
                for k in 0..<(prompt.tokens / length) {
                    let chunk = k < weighted.chunks.count ? weighted.chunks[k] : empty
                    let output = try network(
                        chunk.ids, n: 1, skipping: options.clipSkip + (isXL ? 1 : 0), isNormalized: !isXL, in: workspace
                    )
                    let states = output.states
                    try weigh(states, chunk.weights)
                    for token in 0..<length {
                        (prompt.states.data + (i * prompt.tokens + k * length + token) * prompt.channels + first)
                            .update(
                                from: states.data + token * states.c, count: states.c)
                    }
                    if k == 0, let pooled = output.textEmbeds, pooled.c == prompt.pooledChannels {
                        (prompt.pooled.data + i * pooled.c).update(from: pooled.data, count: pooled.c)
                    }
                }
            }
        }
    }

    /// Multiplies each token's states by its weight, and all so that their mean stays what it was, as the Stable Diffusion
    /// web UI does.
    ///   states  (1, 1, tokens, channels)
    private func weigh(_ states: Tensor, _ weights: [Float]) throws {
        guard weights.contains(where: { $0 != 1 }) else { return }
        func mean() -> Double { states.buffer.reduce(0.0) { $0 + Double($1) } / Double(states.count) }
        let before = mean()
        for (token, weight) in weights.enumerated() {
            for j in token * states.c..<(token + 1) * states.c { states.data[j] *= weight }
        }
        let scale = Float(before / mean())
        if scale.isFinite { for i in 0..<states.count { states.data[i] *= scale } }
        guard states.buffer.allSatisfy(\.isFinite) else {
            throw MCMError(.invalidArgument, "a weight of the prompt is too large: its states are not finite")
        }
    }
}
