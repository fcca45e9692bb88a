import Checkpoint
import Kernels

/// diffusers' UNet2DModel: the network of DDPM, unconditional LDM and NCSN++, and of every conditioning module.
/// Immutable: any number of threads may call it, each with a workspace of its own.
public final class UNet2D: Sendable {
    public let config: UNet2DConfig
    private let parts: Parts

    private struct Parts {
        let timeProj: TimeProjection
        let timeEmbedding: TimestepEmbedding
        let classEmbedding: ClassEmbedding?
        let convIn: Conv2D
        let downBlocks: [DownBlock]
        let midBlock: MidBlock?
        let upBlocks: [UpBlock]
        let convNormOut: GroupNorm
        let convOut: Conv2D
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

        let options = BlockOptions(
            embedding: width, activation: config.activation, epsilon: config.normEps, scaleShift: config.scaleShift)
        let last = c.count - 1
        parts = Parts(
            timeProj: projection,
            timeEmbedding: try TimestepEmbedding(weights["time_embedding"], projection.width, width),
            classEmbedding: classEmbedding,
            convIn: try weights.conv2D("conv_in", config.inChannels, c[0]),
            downBlocks: try c.indices.map { i in
                try DownBlock(
                    weights["down_blocks.\(i)"], config.downBlockTypes[i], c[max(i - 1, 0)], c[i], isLast: i == last,
                    config, options)
            },
            midBlock: config.hasMidBlock ? try MidBlock(weights["mid_block"], c[last], config, options) : nil,
            upBlocks: try c.indices.map { i in
                try UpBlock(
                    weights["up_blocks.\(i)"], config.upBlockTypes[i], previous: c[min(last - i + 1, last)],
                    outputs: c[last - i], skips: c[max(last - i - 1, 0)], isLast: i == last, config, options)
            },
            convNormOut: try weights.groupNorm(
                "conv_norm_out", c[0], groups: config.normNumGroups ?? min(c[0] / 4, 32), epsilon: config.normEps),
            convOut: try weights.conv2D("conv_out", c[0], config.outChannels))
        // NCSN++'s image shrinks and grows in skip blocks alone: they come first on the way down, last on the way up.
        let down = parts.downBlocks.map(\.readsImage), up = parts.upBlocks.map(\.writesImage)
        if zip(down, down.dropFirst()).contains(where: { !$0 && $1 })
            || zip(up, parts.upBlocks.dropFirst()).contains(where: { $0 && !$1.isSkip })
        {
            throw MCMError(.format, "skip blocks come first in down_block_types and last in up_block_types")
        }
        if down.contains(true) && config.inChannels != 3 || up.contains(true) && config.outChannels != 3 {
            throw MCMError(
                .format, "skip blocks need 3 channels, found \(config.inChannels) in and \(config.outChannels) out")
        }
    }

    /// Floats per image that the network wants as class input: 0 none, 1 a class or number, else an embedding.
    public var classInputSize: Int {
        switch parts.classEmbedding {
        case nil: 0
        case .identity: config.timeEmbeddingDim
        case .table, .timestep: 1
        }
    }

    /// Rows of the class table, 0 if there is none.
    public var classCount: Int {
        if case .table(_, let rows) = parts.classEmbedding { rows } else { 0 }
    }

    /// Throws `.invalidArgument` for a class that the table does not have.
    public func checkClassInput(_ values: [Float]) throws {
        guard case .table(_, let rows) = parts.classEmbedding else { return }
        for value in values where Int(exactly: value).map({ (0..<rows).contains($0) }) != true {
            throw MCMError(.invalidArgument, "class \(value), expected an integer from 0 to \(rows - 1)")
        }
    }

    /// Throws `.size` unless the network takes images of this size.
    public func checkSize(height: Int, width: Int) throws {
        let multiple = config.sizeMultiple
        if height < 1 || width < 1 || height % multiple != 0 || width % multiple != 0 {
            throw MCMError(
                .size, "a sample of width \(width) and height \(height), expected positive multiples of \(multiple)")
        }
    }

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
            embed(timesteps, classInput, in: workspace), config.activation, in: workspace)

        let input = config.centerInputSample ? try map(x, in: workspace) { 2 * $0 - 1 } : x  // x has no gradient
        var state = UNetState(sample: try conv2D(input, parts.convIn, in: workspace), image: input)
        state.skips.append(state.sample)
        for block in parts.downBlocks { try block(&state, embedding, in: workspace) }
        if let mid = parts.midBlock { state.sample = try mid(state.sample, embedding, in: workspace) }
        state.image = nil
        for block in parts.upBlocks { try block(&state, embedding, in: workspace) }

        let h = try normalized(state.sample, parts.convNormOut, activation: .silu, in: workspace)
        let out = try conv2D(h, parts.convOut, residual: state.image, in: workspace)
        if case .fourier = parts.timeProj { return try divide(out, by: timesteps, in: workspace) }
        return out
    }

    /// Throws for a timestep that the network cannot embed.
    public func checkTimestep(_ timestep: Int) throws { try parts.timeProj.check(Float(timestep), "timestep") }

    /// Time and class embedding: (n, 1, 1, timeEmbeddingDim).
    private func embed(_ timesteps: [Float], _ classInput: [Float], in workspace: Workspace) throws -> Tensor {
        let time = try parts.timeEmbedding(parts.timeProj(timesteps, "timestep", in: workspace), in: workspace)
        let other: Tensor
        switch parts.classEmbedding {
        case nil: return time
        case .timestep(let embedding):
            other = try embedding(parts.timeProj(classInput, "class input", in: workspace), in: workspace)
        case .table(let table, let rows):
            other = try TimeProjection.learned(table: table, rows: rows, width: time.c)(
                classInput, "class", in: workspace)
        case .identity:
            other = try Tensor(time.n, 1, 1, time.c, in: workspace)
            for (i, value) in classInput.enumerated() { other.data[i] = value }
        }
        return try add(time, other, in: workspace)
    }
}

/// What flows through the blocks.
struct UNetState {
    var sample: Tensor
    /// Outputs of the way down that wait for the way up.
    var skips: [Tensor] = []
    /// The image that NCSN++'s skip blocks carry beside the features: on the way down the shrinking input, on the way
    /// up the growing output.
    var image: Tensor?
}
