import Checkpoint
import Kernels

/// Passes tensors on, and counts their elements and the memory of the layers made of them.
public final class CountingSource: TensorSource {
    private let source: any TensorSource
    public private(set) var count = 0
    public internal(set) var bytes = 0

    public init(_ source: any TensorSource) { self.source = source }

    public func contains(_ key: String) -> Bool { source.contains(key) }
    public func check(_ key: String, shape: [Int]) throws { try source.check(key, shape: shape) }
    public func finish() throws { try source.finish() }
    public func copy(_ key: String, shape: [Int], into target: UnsafeMutablePointer<Float>) throws {
        try source.copy(key, shape: shape, into: target)
        count += shape.reduce(1, *)
    }
}
