import Checkpoint
import Kernels

/// What a network may want to know beside time and text, for n images. Empty for none.
public struct UNetConditions {
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

/// The embedding of time, class, and what SDXL adds, as UNet2DConditionModel and ControlNetModel make it.
struct ConditionEmbedding {
    let base: UNetEmbedding
    private let addTimeProj: TimeProjection?
    private let addEmbedding: TimestepEmbedding?
    private let timeCondProjDim, addedSize: Int
    private let activation: Activation

    init(_ weights: Weights, _ config: UNetEncoderConfig) throws {
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
                try TimestepEmbedding(classWeights, timeProj.width, width, activation: config.classActivation))
        case ("projection", _, let inputs?):
            classEmbedding = .projection(try TimestepEmbedding(classWeights, inputs, width), inputs: inputs)
        case ("simple_projection", _, let inputs?):
            classEmbedding = .simpleProjection(try weights.linear("class_embedding", inputs, width))
        case ("identity", _, _): classEmbedding = .identity
        default: classEmbedding = nil
        }
        base = UNetEmbedding(
            timeProj: timeProj,
            timeEmbedding: try TimestepEmbedding(
                weights["time_embedding"], timeProj.width, width, activation: config.activation,
                condition: config.timeCondProjDim),
            classEmbedding: classEmbedding, width: width)
        let addedSize = config.projectionInputDim ?? 0
        addTimeProj = config.additionTimeEmbedDim.map(positional)
        addEmbedding = try addTimeProj.map { _ in try TimestepEmbedding(weights["add_embedding"], addedSize, width) }
        (timeCondProjDim, self.addedSize) = (config.timeCondProjDim ?? 0, addedSize)
        activation = config.activation
    }

    /// (n, 1, 1, timeEmbeddingDim), activated, for the residual blocks.
    func callAsFunction(
        _ timesteps: [Float], _ conditions: UNetConditions, in workspace: Workspace
    ) throws -> Tensor {
        let n = timesteps.count
        func check(_ values: [Float], _ what: String, _ expected: Int) throws {
            guard values.count == expected else {
                throw MCMError(.size, "\(values.count) \(what) for \(n) images, expected \(expected)")
            }
        }
        try check(conditions.classInput, "class inputs", n * base.classInputSize)
        try base.checkClassInput(conditions.classInput)
        var condition: Tensor?
        if !conditions.timestepCond.isEmpty {
            try check(conditions.timestepCond, "numbers of a timestep's condition", n * timeCondProjDim)
            condition = try Tensor(rows: conditions.timestepCond, n: n, in: workspace)
        }
        var embedding = try base(timesteps, conditions.classInput, condition: condition, in: workspace)
        if let addTimeProj, let addEmbedding {
            let times = conditions.timeIDs.count / n * addTimeProj.width
            guard conditions.timeIDs.count % n == 0, times <= addedSize else {
                throw MCMError(
                    .size, "\(conditions.timeIDs.count) time ids for \(n) images, expected the same number for each")
            }
            try check(conditions.textEmbeds, "numbers of embedded texts", n * (addedSize - times))
            let texts = try Tensor(rows: conditions.textEmbeds, n: n, in: workspace)
            let ids = try addTimeProj(conditions.timeIDs, "time id", in: workspace)
            let added = try concatenate([texts, ids.reshaped(n, 1, 1, times)], in: workspace)
            embedding = try add(embedding, addEmbedding(added, in: workspace), in: workspace)
        } else {
            try check(conditions.textEmbeds, "numbers of embedded texts", 0)
            try check(conditions.timeIDs, "time ids", 0)
        }
        return try activate(embedding, activation, in: workspace)
    }
}
