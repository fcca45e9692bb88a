/// What a computation did, noted by its kernels, so that gradients can be taken back through it (reverse mode).
///
/// Whatever computes a tensor in a workspace that has a tape notes how the result's gradient becomes those of its inputs
/// and parameters; the two stand beside each other. The tape holds the results until they are no longer needed. Tensors
/// are told apart by where they lie, so that a reshaped one shares its original's gradient.
public final class Tape {
    /// Takes the gradient of a result, of its shape, to its inputs: see `add`.
    public typealias Step = (_ gradient: Tensor, _ tape: Tape, _ workspace: Workspace) throws -> Void

    private var steps: [(result: Tensor, step: Step)] = []
    private var results: Set<UnsafeMutablePointer<Float>> = []
    private var gradients: [UnsafeMutablePointer<Float>: Tensor] = [:]

    public init() {}

    public func record(_ result: Tensor, _ step: @escaping Step) {
        steps.append((result, step))
        results.insert(result.data)
    }

    /// Whether a tensor depends on parameters: those that come from outside have no gradient.
    func wants(_ x: Tensor) -> Bool { results.contains(x.data) }

    /// Adds to x's gradient. A tensor is never written to twice, so that one gradient may serve several.
    public func add(_ gradient: Tensor, to x: Tensor, in workspace: Workspace) throws {
        guard wants(x) else { return }
        try addResult(to: x) { sum in
            try sum.map { try Kernels.add($0, gradient, in: workspace) } ?? gradient
        }
    }

    /// The same for a kernel that can add as it computes: `body` gets the sum so far, if any, and returns the new one.
    func addResult(to x: Tensor, _ body: (_ sum: Tensor?) throws -> Tensor) throws {
        guard wants(x) else { return }
        let sum = gradients.removeValue(forKey: x.data)?.reshaped(x.n, x.h, x.w, x.c)
        gradients[x.data] = try body(sum)
    }

    /// Takes a gradient back through all that was recorded, which is forgotten on the way. Gradients of parameters are
    /// added where `StoredFloats.gradient` said. The workspace must not record meanwhile.
    ///   result    the end of the computation
    ///   gradient  of its shape
    public func backward(from result: Tensor, _ gradient: Tensor, in workspace: Workspace) throws {
        try require(result.shape == gradient.shape, "a gradient \(gradient.shape) of \(result.shape)")
        gradients[result.data] = gradient
        while let (result, step) = steps.popLast() {
            guard let gradient = gradients.removeValue(forKey: result.data) else { continue }
            try step(gradient.reshaped(result.n, result.h, result.w, result.c), self, workspace)
        }
    }
}

extension Tape {
    /// A result whose images are rows of a table that is trained.
    ///   table  (rows of `width` floats)
    public func record(rows: [Int], of table: FloatBuffer, width: Int, as result: Tensor) {
        guard let target = table.gradient else { return }
        record(result) { gradient, _, _ in
            for (i, row) in rows.enumerated() {
                for j in 0..<width { target[row * width + j] += gradient.data[i * width + j] }
            }
        }
    }
}
