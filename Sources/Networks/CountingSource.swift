import Checkpoint
import Kernels

/// Passes tensors on, and counts their elements and the memory of the layers made of them.
public final class CountingSource: TensorSource {
    private let source: any TensorSource
    public private(set) var count = 0
    public internal(set) var bytes = 0
    /// Sums of squares of the weights, and of what rounding to integers changed them by.
    public internal(set) var squares = (all: 0.0, error: 0.0)
    /// Memory that filters kept transformed may take, and do.
    public let cacheBytes: Int
    public internal(set) var cachedBytes = 0

    public init(_ source: any TensorSource, cacheBytes: Int = 0) {
        self.source = source
        self.cacheBytes = cacheBytes
    }

    public func contains(_ key: String) -> Bool { source.contains(key) }
    public func finish() throws { try source.finish() }
    public func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        count += shape.reduce(1, *)
        return try source.withElements(key, shape: shape, body)
    }
}
