import Checkpoint
import Kernels

/// diffusers' UNet2DConditionModel: the network of Stable Diffusion 1, 2 and XL and their kin, which reads a text.
/// Immutable: any number of threads may call it, each with a workspace of its own.
public final class UNet2DCondition: Sendable {
    public let config: UNet2DConditionConfig
    private let parts: Parts

    private struct Parts {
        let embedding: UNetEmbedding
        let addTimeProj: TimeProjection?
        let addEmbedding: TimestepEmbedding?
        let encoderHidProj: Conv2D?
        let body: UNetBody
        let textAttentions: [Attention]
    }

    public init(_ config: UNet2DConditionConfig, _ weights: Weights) throws {
        self.config = config
        let width = config.timeEmbeddingDim
        func positional(_ width: Int) -> TimeProjection {
            .positional(width: width, flipSinToCos: config.flipSinToCos, freqShift: config.freqShift)
        }
        let timeProj = positional(config.down[0].channels)
        let classWeights = weights["class_embedding"]
        let classEmbedding: ClassEmbedding?
        switch (config.classEmbedType, config.numClassEmbeds, config.projectionInputDim) {
        case (nil, let rows?, _):
            classEmbedding = .table(try weights.table("class_embedding", rows, width), rows: rows)
        case ("timestep", _, _):
            classEmbedding = .timestep(
                try TimestepEmbedding(classWeights, timeProj.width, width, activation: config.activation))
        case ("projection", _, let inputs?):
            classEmbedding = .projection(try TimestepEmbedding(classWeights, inputs, width), inputs: inputs)
        case ("simple_projection", _, let inputs?):
            classEmbedding = .simpleProjection(try weights.linear("class_embedding", inputs, width))
        case ("identity", _, _): classEmbedding = .identity
        default: classEmbedding = nil
        }
        let embedding = UNetEmbedding(
            timeProj: timeProj,
            timeEmbedding: try TimestepEmbedding(
                weights["time_embedding"], timeProj.width, width, activation: config.activation,
                condition: config.timeCondProjDim),
            classEmbedding: classEmbedding, width: width)
        let addTimeProj = config.additionTimeEmbedDim.map(positional)
        let body = try UNetBody(
            weights,
            UNetBody.Shape(
                inChannels: config.inChannels, outChannels: config.outChannels, convInKernel: config.convInKernel,
                convOutKernel: config.convOutKernel, down: config.down, up: config.up, mid: config.mid,
                outGroups: config.normNumGroups, outActivation: config.activation,
                centerInputSample: config.centerInputSample),
            UNetOptions(
                block: BlockOptions(
                    embedding: width, activation: config.activation, epsilon: config.normEps,
                    scaleShift: config.scaleShift),
                groups: config.normNumGroups, downsamplePadding: config.downsamplePadding, isConditional: true))
        parts = Parts(
            embedding: embedding, addTimeProj: addTimeProj,
            addEmbedding: try addTimeProj.map { _ in
                try TimestepEmbedding(weights["add_embedding"], config.projectionInputDim ?? 0, width)
            },
            encoderHidProj: try config.encoderHidDim.map {
                try weights.linear("encoder_hid_proj", $0, config.down[0].transformers?.crossAttentionDim ?? 0)
            },
            body: body, textAttentions: body.textAttentions)
    }

    /// Floats per image that the network wants as class input: 0 none, 1 a class or number, else a vector.
    public var classInputSize: Int { parts.embedding.classInputSize }

    /// Rows of the class table, 0 if there is none.
    public var classCount: Int { parts.embedding.classCount }

    /// Throws `.invalidArgument` for a class that the table does not have.
    public func checkClassInput(_ values: [Float]) throws { try parts.embedding.checkClassInput(values) }

    /// A text as this network's attentions see it. It is the same in all steps, and may be kept as long as the workspace
    /// is.
    public struct Text {
        let network: UNet2DCondition
        let n: Int
        let keys: [KeysAndValues]
    }

    /// states: what the text encoder makes of a text for each image, (n, 1, tokens, config.textChannels)
    public func text(_ states: Tensor, in workspace: Workspace) throws -> Text {
        guard states.c == config.textChannels, states.pixels > 0 else {
            throw MCMError(
                .size,
                "\(states.pixels) text states of \(states.c) numbers, expected some of \(config.textChannels)")
        }
        let projected = try parts.encoderHidProj.map { try conv2D(states, $0, in: workspace) } ?? states
        return Text(
            network: self, n: states.n,
            keys: try parts.textAttentions.map { try $0.keysAndValues(projected, in: workspace) })
    }

    /// What a network may want to know beside time and text, for n images. Empty for none.
    public struct Conditions {
        /// n * classInputSize numbers.
        public var classInput: [Float] = []
        /// LCM's guidance embedding, n * time_cond_proj_dim numbers, or none for zeros.
        public var timestepCond: [Float] = []
        /// SDXL's pooled text, n vectors.
        public var textEmbeds: [Float] = []
        /// SDXL's original size, crop and target size, n * 6 numbers.
        public var timeIDs: [Float] = []

        public init() {}
    }

    /// The prediction for a batch.
    ///   x          (n, h, w, inChannels)
    ///   timesteps  n numbers
    ///   text       of n images
    ///   returns    (n, h, w, outChannels)
    public func callAsFunction(
        _ x: Tensor, timesteps: [Float], text: Text, conditions: Conditions = Conditions(),
        control: ControlResiduals? = nil, in workspace: Workspace
    ) throws -> Tensor {
        try checkSize(height: x.h, width: x.w)
        guard x.n > 0, x.c == config.inChannels, timesteps.count == x.n, text.n == x.n else {
            throw MCMError(
                .size,
                "\(x.c) channels, \(timesteps.count) timesteps and \(text.n) texts for \(x.n) images, expected "
                    + "\(config.inChannels), \(x.n) and \(x.n)")
        }
        guard text.network === self else {
            throw MCMError(.invalidArgument, "a text for another network, expected one for this")
        }
        let embedding = try embed(timesteps, conditions, in: workspace)
        return try parts.body(
            x, activate(embedding, config.activation, in: workspace), text: text.keys, control: control, in: workspace)
    }

    /// Of time, class, and what SDXL adds: (n, 1, 1, timeEmbeddingDim).
    private func embed(_ timesteps: [Float], _ conditions: Conditions, in workspace: Workspace) throws -> Tensor {
        let n = timesteps.count
        func check(_ values: [Float], _ what: String, _ expected: Int) throws {
            guard values.count == expected else {
                throw MCMError(.size, "\(values.count) \(what) for \(n) images, expected \(expected)")
            }
        }
        try check(conditions.classInput, "class inputs", n * classInputSize)
        try checkClassInput(conditions.classInput)
        var condition: Tensor?
        if !conditions.timestepCond.isEmpty {
            try check(conditions.timestepCond, "numbers of a timestep's condition", n * (config.timeCondProjDim ?? 0))
            condition = try Tensor(rows: conditions.timestepCond, n: n, in: workspace)
        }
        let embedding = try parts.embedding(timesteps, conditions.classInput, condition: condition, in: workspace)
        guard let addTimeProj = parts.addTimeProj, let addEmbedding = parts.addEmbedding else {
            try check(conditions.textEmbeds, "numbers of embedded texts", 0)
            try check(conditions.timeIDs, "time ids", 0)
            return embedding
        }
        let times = conditions.timeIDs.count / n * addTimeProj.width
        guard conditions.timeIDs.count % n == 0, times <= config.projectionInputDim ?? 0 else {
            throw MCMError(
                .size, "\(conditions.timeIDs.count) time ids for \(n) images, expected the same number for each")
        }
        try check(conditions.textEmbeds, "numbers of embedded texts", n * ((config.projectionInputDim ?? 0) - times))
        let texts = try Tensor(rows: conditions.textEmbeds, n: n, in: workspace)
        let ids = try addTimeProj(conditions.timeIDs, "time id", in: workspace)
        let added = try concatenate([texts, ids.reshaped(n, 1, 1, times)], in: workspace)
        return try add(embedding, addEmbedding(added, in: workspace), in: workspace)
    }
}
