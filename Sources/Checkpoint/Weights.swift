import Kernels

/// Where a network's parameters come from, by their full keys.
public protocol TensorSource: AnyObject {
    func contains(_ key: String) -> Bool

    /// Throws if there is no tensor `key` of this shape. Nothing is allocated for a tensor before that.
    func check(_ key: String, shape: [Int]) throws

    /// Copies the tensor, row-major.
    ///   shape   what it must have
    ///   into    receives as many floats as the product of `shape`
    func copy(_ key: String, shape: [Int], into target: UnsafeMutablePointer<Float>) throws

    /// Called when the network is complete; throws if the source holds tensors that were not asked for.
    func finish() throws
}

extension TensorSource {
    public func check(_ key: String, shape: [Int]) throws {}
}

/// The parameters of one part of a network, named as in the checkpoint: weights["down_blocks.0"]["resnets.1"].
public struct Weights {
    public let source: any TensorSource
    public let prefix: String

    public init(_ source: any TensorSource) {
        self.init(source, prefix: "")
    }

    private init(_ source: any TensorSource, prefix: String) {
        self.source = source
        self.prefix = prefix
    }

    public subscript(_ name: String) -> Weights { Weights(source, prefix: key(name)) }

    /// The full key of a name in this scope.
    public func key(_ name: String) -> String { prefix.isEmpty ? name : "\(prefix).\(name)" }

    public func contains(_ name: String) -> Bool { source.contains(key(name)) }

    /// A tensor's elements, row-major; it must have the given shape. Errors: `.format`, `.unsupported`, `.io`, and
    /// `.outOfMemory`.
    public func read(_ name: String, _ shape: [Int]) throws -> FloatBuffer {
        let key = key(name)
        guard let count = checkedProduct(shape) else {
            throw MCMError(.format, "tensor \(quoted(key)): the shape \(shape) is impossible")
        }
        try source.check(key, shape: shape)
        let values = try FloatBuffer(count: count)
        try source.copy(key, shape: shape, into: values.data)
        return values
    }
}
