import Checkpoint
import Kernels

/// diffusers' UNet2DModel: the network of DDPM, unconditional LDM and NCSN++, and of every conditioning module.
/// Immutable: any number of threads may call it, each with a workspace of its own.
public final class UNet2D: Sendable {
    public let config: UNet2DConfig
    private let parts: Parts

    private struct Parts {
        let embedding: UNetEmbedding
        let body: UNetBody
    }

    public init(_ config: UNet2DConfig, _ weights: Weights) throws {
        self.config = config
        let c = config.blockOutChannels
        let width = config.timeEmbeddingDim
        let projection: TimeProjection
        switch config.timeEmbeddingType {
        case "fourier":
            projection = .fourier(frequencies: try weights.read("time_proj.weight", [c[0]]))
        case "learned":
            let rows = config.numTrainTimesteps ?? 0
            projection = .learned(table: try weights.table("time_proj", rows, c[0]), rows: rows, width: c[0])
        default:
            projection = .positional(width: c[0], flipSinToCos: config.flipSinToCos, freqShift: config.freqShift)
        }
        let classEmbedding: ClassEmbedding?
        switch (config.classEmbedType, config.numClassEmbeds) {
        case ("timestep", _):
            classEmbedding = .timestep(try TimestepEmbedding(weights["class_embedding"], projection.width, width))
        case ("identity", _): classEmbedding = .identity
        case (_, let rows?):
            classEmbedding = .table(try weights.table("class_embedding", rows, width), rows: rows)
        case (_, nil): classEmbedding = nil
        }
        let embedding = UNetEmbedding(
            timeProj: projection,
            timeEmbedding: try TimestepEmbedding(weights["time_embedding"], projection.width, width),
            classEmbedding: classEmbedding, width: width)
        parts = Parts(embedding: embedding, body: try UNetBody(weights, config.body, config.options))
    }

    /// Floats per image that the network wants as class input: 0 none, 1 a class or number, else an embedding.
    public var classInputSize: Int { parts.embedding.classInputSize }

    /// Rows of the class table, 0 if there is none.
    public var classCount: Int { parts.embedding.classCount }

    /// Throws `.invalidArgument` for a class that the table does not have.
    public func checkClassInput(_ values: [Float]) throws { try parts.embedding.checkClassInput(values) }

    /// The prediction for a batch.
    ///   x           (n, h, w, inChannels)
    ///   timesteps   n numbers
    ///   classInput  n * classInputSize numbers
    ///   returns     (n, h, w, outChannels)
    public func callAsFunction(
        _ x: Tensor, timesteps: [Float], classInput: [Float] = [], in workspace: Workspace
    ) throws -> Tensor {
        try checkSize(height: x.h, width: x.w)
        guard x.c == config.inChannels, timesteps.count == x.n, classInput.count == x.n * classInputSize else {
            throw MCMError(
                .size,
                "\(x.c) channels, \(timesteps.count) timesteps and \(classInput.count) class inputs for "
                    + "\(x.n) images, expected \(config.inChannels), \(x.n) and \(x.n * classInputSize)")
        }
        let embedding = try activate(
            parts.embedding(timesteps, classInput, in: workspace), config.activation, in: workspace)
        let out = try parts.body(x, embedding, in: workspace)
        if case .fourier = parts.embedding.timeProj { return try divide(out, by: timesteps, in: workspace) }
        return out
    }

    /// Throws for a timestep that the network cannot embed.
    public func checkTimestep(_ timestep: Int) throws {
        try parts.embedding.timeProj.check(Float(timestep), "timestep")
    }
}

extension UNet2DConfig {
    fileprivate var options: UNetOptions {
        UNetOptions(
            block: BlockOptions(
                embedding: timeEmbeddingDim, activation: activation, epsilon: normEps, scaleShift: scaleShift),
            groups: normNumGroups, downsamplePadding: downsamplePadding, downsampleType: downsampleType,
            upsampleType: upsampleType)
    }

    fileprivate var body: UNetBody.Shape {
        func levels(_ types: [String], _ channels: [Int]) -> [UNetLevel] {
            zip(types, channels).map { type, channels in
                UNetLevel(type: type, channels: channels, layers: layersPerBlock, headDim: attentionHeadDim)
            }
        }
        let last = blockOutChannels[blockOutChannels.count - 1]
        // The norm of the mid block's attention, as diffusers chooses it.
        let midGroups = attnNormNumGroups ?? (scaleShift ? nil : normNumGroups ?? min(last / 4, 32))
        let mid = MidBlockOptions(
            channels: last, outputScale: midBlockScaleFactor,
            attention: addAttention ? .block(headDim: attentionHeadDim ?? last, groups: midGroups) : nil)
        return UNetBody.Shape(
            inChannels: inChannels, outChannels: outChannels, down: levels(downBlockTypes, blockOutChannels),
            up: levels(upBlockTypes, blockOutChannels.reversed()), mid: hasMidBlock ? mid : nil,
            outGroups: normNumGroups ?? min(blockOutChannels[0] / 4, 32), outActivation: .silu,
            centerInputSample: centerInputSample)
    }
}

/// Throws `.size` unless both are positive multiples.
func checkSize(height: Int, width: Int, multiple: Int) throws {
    if height < 1 || width < 1 || height % multiple != 0 || width % multiple != 0 {
        throw MCMError(
            .size, "a sample of width \(width) and height \(height), expected positive multiples of \(multiple)")
    }
}
