import Kernels

/// Where a network's parameters come from, by their full keys.
public protocol TensorSource: AnyObject {
    func contains(_ key: String) -> Bool

    /// Lends the tensor's elements, row-major.
    ///   shape   what it must have
    ///   body    gets as many elements as the product of `shape`, valid during the call
    func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R

    /// Called when the network is complete; throws if the source holds tensors that were not asked for.
    func finish() throws
}

/// The parameters of one part of a network, named as in the checkpoint: weights["down_blocks.0"]["resnets.1"].
public struct Weights {
    public let source: any TensorSource
    public let prefix: String
    /// Threads that may prepare what is read.
    public let threads: Int
    /// Where what is packed goes.
    public let memory: WeightMemory
    /// Whether large matrices become 8-bit integers.
    public let rounds: Bool

    public init(_ source: any TensorSource, rounds: Bool = false, threads: Int = usableCPUs) {
        self.init(source, prefix: "", threads: threads, memory: WeightMemory(), rounds: rounds)
    }

    private init(_ source: any TensorSource, prefix: String, threads: Int, memory: WeightMemory, rounds: Bool) {
        self.source = source
        self.prefix = prefix
        self.threads = threads
        self.memory = memory
        self.rounds = rounds
    }

    public subscript(_ name: String) -> Weights {
        Weights(source, prefix: key(name), threads: threads, memory: memory, rounds: rounds)
    }

    /// The full key of a name in this scope.
    public func key(_ name: String) -> String { prefix.isEmpty ? name : "\(prefix).\(name)" }

    public func contains(_ name: String) -> Bool { source.contains(key(name)) }

    /// Lends a tensor's elements, row-major; it must have the given shape. What `body` says of them is said of the
    /// tensor. Errors: `.format`, `.unsupported`, `.io`, and `.outOfMemory`.
    public func withElements<R>(_ name: String, _ shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        let key = key(name)
        guard checkedProduct(shape) != nil else {
            throw MCMError(.format, "tensor \(quoted(key)): the shape \(shape) is impossible")
        }
        return try source.withElements(key, shape: shape) { elements in
            do {
                return try body(elements)
            } catch let error as MCMError where error.kind == .format {
                throw MCMError(.format, "tensor \(quoted(key)) \(error.message)")
            }
        }
    }

    /// A copy of a tensor's elements as floats, all of which must be finite.
    public func read(_ name: String, _ shape: [Int]) throws -> FloatBuffer {
        try withElements(name, shape) { elements in
            let values = try FloatBuffer(count: elements.count, gradient: elements.gradient)
            elements.widen(into: values.data)
            if let bad = elements.firstNonFinite {
                throw MCMError(.format, "holds \(elements[bad]) at element \(bad), expected finite numbers")
            }
            return values
        }
    }
}
