import Checkpoint
import Kernels

/// What a network wants to know about an image's class, if anything (`class_embed_type`).
indirect enum ClassEmbedding {
    /// A table with a row per class.
    case table(FloatBuffer, rows: Int)
    /// A number, embedded as a timestep is.
    case timestep(TimestepEmbedding)
    /// A vector, embedded as a projected timestep is.
    case projection(TimestepEmbedding, inputs: Int)
    /// A vector, multiplied by a matrix.
    case simpleProjection(Conv2D)
    /// The embedding itself.
    case identity
}

/// The embedding of an image's time and class, which all residual blocks read.
struct UNetEmbedding {
    let timeProj: TimeProjection
    let timeEmbedding: TimestepEmbedding
    let classEmbedding: ClassEmbedding?
    let width: Int

    /// Floats per image that the network wants as class input: 0 none, 1 a class or number, else a vector.
    var classInputSize: Int {
        switch classEmbedding {
        case nil: 0
        case .identity: width
        case .table, .timestep: 1
        case .projection(_, let inputs): inputs
        case .simpleProjection(let layer): layer.inputs
        }
    }

    /// Rows of the class table, 0 if there is none.
    var classCount: Int {
        if case .table(_, let rows) = classEmbedding { rows } else { 0 }
    }

    /// Throws `.invalidArgument` for a class that the table does not have.
    func checkClassInput(_ values: [Float]) throws {
        guard case .table(_, let rows) = classEmbedding else { return }
        for value in values where Int(exactly: value).map({ (0..<rows).contains($0) }) != true {
            throw MCMError(.invalidArgument, "class \(value), expected an integer from 0 to \(rows - 1)")
        }
    }

    /// (n, 1, 1, width)
    ///   timesteps   n numbers
    ///   classInput  n * classInputSize numbers
    ///   condition   see TimestepEmbedding
    func callAsFunction(
        _ timesteps: [Float], _ classInput: [Float], condition: Tensor? = nil, in workspace: Workspace
    ) throws -> Tensor {
        let time = try timeEmbedding(
            timeProj(timesteps, "timestep", in: workspace), condition: condition, in: workspace)
        let other: Tensor
        switch classEmbedding {
        case nil: return time
        case .timestep(let embedding):
            other = try embedding(timeProj(classInput, "class input", in: workspace), in: workspace)
        case .table(let table, let rows):
            other = try TimeProjection.learned(table: table, rows: rows, width: width)(
                classInput, "class", in: workspace)
        case .projection(let embedding, _):
            other = try embedding(Tensor(rows: classInput, n: time.n, in: workspace), in: workspace)
        case .simpleProjection(let layer):
            other = try conv2D(Tensor(rows: classInput, n: time.n, in: workspace), layer, in: workspace)
        case .identity:
            other = try Tensor(rows: classInput, n: time.n, in: workspace)
        }
        return try add(time, other, in: workspace)
    }
}

extension Tensor {
    /// Vectors, one per image: (n, 1, 1, values.count / n).
    init(rows values: [Float], n: Int, in workspace: Workspace) throws {
        try self.init(n, 1, 1, values.count / max(1, n), in: workspace)
        for i in 0..<count { data[i] = values[i] }
    }
}
