import Checkpoint
import Kernels

/// The options of transformers' CLIPTextModel, by their names there.
public struct CLIPTextConfig: Sendable {
    public var vocabSize, maxPositionEmbeddings: Int
    public var hiddenSize, numHiddenLayers: Int
    var intermediateSize, numAttentionHeads: Int
    var hiddenAct: Activation
    var layerNormEps: Double
    public var projectionDim: Int
    var eosTokenID: Int

    /// Reads a config.json. What else transformers writes there is about training, generation and the tokenizer.
    public init(_ json: JSONObject) throws {
        let size = 1...65536
        _ = try json.string("model_type", default: "clip_text_model", oneOf: ["clip_text_model"])
        vocabSize = try json.int("vocab_size", default: 49408, in: 1...(1 << 24))
        hiddenSize = try json.int("hidden_size", default: 512, in: size)
        intermediateSize = try json.int("intermediate_size", default: 2048, in: size)
        projectionDim = try json.optionalInt("projection_dim", in: size) ?? 512
        numHiddenLayers = try json.int("num_hidden_layers", default: 12, in: 1...256)
        numAttentionHeads = try json.int("num_attention_heads", default: 8, in: size)
        maxPositionEmbeddings = try json.int("max_position_embeddings", default: 77, in: size)
        layerNormEps = try json.double("layer_norm_eps", default: 1e-5, in: 0...1)
        eosTokenID = try json.int("eos_token_id", default: 49407)
        let act = try json.string("hidden_act", default: "quick_gelu")
        guard let activation = Activation(named: act) else {
            throw json.error("hidden_act", expected: "\"quick_gelu\", \"gelu\" or \"gelu_new\"", kind: .unsupported)
        }
        hiddenAct = activation
        guard hiddenSize % numAttentionHeads == 0 else {
            throw json.error("num_attention_heads", expected: "a divisor of \"hidden_size\" \(hiddenSize)")
        }
        guard try !json.bool("use_attention_mask", default: false) else {
            throw json.error("use_attention_mask", expected: "false", kind: .unsupported)
        }
    }
}

/// transformers' CLIPTextModel and, with a projection, CLIPTextModelWithProjection: the text encoders of Stable
/// Diffusion. Immutable: any number of threads may call it, each with a workspace of its own.
public final class CLIPText: Sendable {
    public let config: CLIPTextConfig
    private let parts: Parts

    private struct Parts {
        let tokenEmbedding: FloatBuffer  // (vocabSize, hiddenSize)
        let positionEmbedding: FloatBuffer  // (maxPositionEmbeddings, hiddenSize)
        let layers: [CLIPEncoderLayer]
        let finalLayerNorm: LayerNorm
        let textProjection: Conv2D?
    }

    /// hasProjection: whether it is a CLIPTextModelWithProjection. Keys begin with "text_model.", as transformers 4
    /// writes them, or not, as version 5 does.
    public init(_ config: CLIPTextConfig, _ weights: Weights, hasProjection: Bool) throws {
        self.config = config
        let size = config.hiddenSize
        let text =
            weights["text_model"].contains("embeddings.token_embedding.weight") ? weights["text_model"] : weights
        parts = Parts(
            tokenEmbedding: try text.table("embeddings.token_embedding", config.vocabSize, size),
            positionEmbedding: try text.table("embeddings.position_embedding", config.maxPositionEmbeddings, size),
            layers: try (0..<config.numHiddenLayers).map {
                try CLIPEncoderLayer(text["encoder.layers.\($0)"], config)
            },
            finalLayerNorm: try text.layerNorm("final_layer_norm", size, epsilon: config.layerNormEps),
            textProjection: hasProjection
                ? try weights.linear("text_projection", size, config.projectionDim, bias: false) : nil)
    }

    public struct Output {
        /// (n, 1, length, hiddenSize)
        public let states: Tensor
        /// The last layer's states where each text ends, normalised: (n, 1, 1, hiddenSize).
        public let pooled: Tensor
        /// `pooled`, projected: (n, 1, 1, projectionDim).
        public let textEmbeds: Tensor?
    }

    /// Reads n texts of the same length.
    ///   ids           n * length numbers
    ///   skipping      layers whose work `states` lack: 0 for all of it, 1 for Stable Diffusion XL. diffusers' clip_skip
    ///   isNormalized  whether `states` pass the final norm, as in all pipelines but Stable Diffusion XL's
    public func callAsFunction(
        _ ids: [Int], n: Int, skipping: Int = 0, isNormalized: Bool = true, in workspace: Workspace
    ) throws -> Output {
        let length = n > 0 ? ids.count / n : 0
        guard length > 0, ids.count == n * length, length <= config.maxPositionEmbeddings else {
            throw MCMError(
                .size,
                "\(ids.count) tokens for \(n) texts, expected 1 to \(config.maxPositionEmbeddings) for each")
        }
        guard (0...config.numHiddenLayers).contains(skipping) else {
            throw MCMError(
                .invalidArgument, "\(skipping) layers are skipped, expected 0 to \(config.numHiddenLayers)")
        }
        var h = try embed(ids, length: length, in: workspace)
        var states = h
        for (i, layer) in parts.layers.enumerated() {
            if i == parts.layers.count - skipping { states = h }
            h = try layer(h, in: workspace)
        }
        let last = try layerNorm(h, parts.finalLayerNorm, in: workspace)
        if skipping > 0 {
            if isNormalized { states = try layerNorm(states, parts.finalLayerNorm, in: workspace) }
        } else {
            states = isNormalized ? last : h
        }
        let pooled = try Tensor(n, 1, 1, config.hiddenSize, in: workspace)
        for (i, end) in ends(ids, length: length).enumerated() {
            (pooled.data + i * pooled.c).update(from: last.data + (i * length + end) * last.c, count: last.c)
        }
        return Output(
            states: states, pooled: pooled,
            textEmbeds: try parts.textProjection.map { try conv2D(pooled, $0, in: workspace) })
    }

    /// Of tokens and their places: (n, 1, length, hiddenSize).
    private func embed(_ ids: [Int], length: Int, in workspace: Workspace) throws -> Tensor {
        let size = config.hiddenSize
        let out = try Tensor(ids.count / length, 1, length, size, in: workspace)
        for (i, id) in ids.enumerated() {
            guard (0..<config.vocabSize).contains(id) else {
                throw MCMError(.invalidArgument, "token \(id), expected an integer from 0 to \(config.vocabSize - 1)")
            }
            let token = parts.tokenEmbedding.data + id * size
            let place = parts.positionEmbedding.data + i % length * size
            for j in 0..<size { out.data[i * size + j] = token[j] + place[j] }
        }
        return out
    }

    /// Where each text ends: its first eos token. Configs from before transformers 4.31 say 2, which was wrong; there
    /// the largest token is the end.
    private func ends(_ ids: [Int], length: Int) -> [Int] {
        stride(from: 0, to: ids.count, by: length).map { first in
            let text = ids[first..<(first + length)]
            let end =
                config.eosTokenID == 2 ? text.max().flatMap(text.firstIndex) : text.firstIndex(of: config.eosTokenID)
            return (end ?? first) - first
        }
    }
}

private struct CLIPEncoderLayer {
    let layerNorm1, layerNorm2: LayerNorm
    let selfAttn: Attention
    let fc1, fc2: Conv2D
    let activation: Activation

    init(_ weights: Weights, _ config: CLIPTextConfig) throws {
        let size = config.hiddenSize
        layerNorm1 = try weights.layerNorm("layer_norm1", size, epsilon: config.layerNormEps)
        selfAttn = try Attention(
            weights["self_attn"], size, heads: config.numAttentionHeads, headDim: size / config.numAttentionHeads, .clip
        )
        layerNorm2 = try weights.layerNorm("layer_norm2", size, epsilon: config.layerNormEps)
        fc1 = try weights.linear("mlp.fc1", size, config.intermediateSize)
        fc2 = try weights.linear("mlp.fc2", config.intermediateSize, size)
        activation = config.hiddenAct
    }

    /// x (n, 1, length, hiddenSize) to the same shape.
    func callAsFunction(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
        let first = try layerNorm(x, layerNorm1, in: workspace)
        let h = try selfAttn(
            first, selfAttn.keysAndValues(first, in: workspace), isCausal: true, residual: x, in: workspace)
        let hidden = try conv2D(layerNorm(h, layerNorm2, in: workspace), fc1, in: workspace)
        return try conv2D(activate(hidden, activation, in: workspace), fc2, residual: h, in: workspace)
    }
}
