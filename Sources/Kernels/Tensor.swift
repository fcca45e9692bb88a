/// A dense float32 array of shape (n, h, w, c), channels innermost (NHWC).
///
/// Vectors per image are (n, 1, 1, c), token sequences (n, 1, tokens, c). Copies share storage: a kernel writes only
/// into a tensor that it has just made.
public struct Tensor {
    public let n, h, w, c: Int
    public let data: UnsafeMutablePointer<Float>
    private let storage: Workspace.Block

    /// An uninitialised tensor from `workspace`.
    public init(_ n: Int, _ h: Int, _ w: Int, _ c: Int, in workspace: Workspace) throws {
        guard let count = checkedProduct([n, h, w, c]) else {
            throw MCMError(.outOfMemory, "a tensor of \(n) x \(h) x \(w) x \(c) floats exceeds the address space")
        }
        storage = try workspace.block(count)
        data = storage.pointer
        (self.n, self.h, self.w, self.c) = (n, h, w, c)
    }

    private init(_ n: Int, _ h: Int, _ w: Int, _ c: Int, sharing other: Tensor, from first: Int = 0) {
        (self.n, self.h, self.w, self.c) = (n, h, w, c)
        storage = other.storage
        data = other.data + first
    }

    public var shape: (Int, Int, Int, Int) { (n, h, w, c) }
    /// Floats in all.
    public var count: Int { n * h * w * c }
    /// Floats per image.
    public var stride: Int { h * w * c }
    public var pixels: Int { h * w }

    /// The same floats as (n, h, w, c); the number of floats must not change.
    public func reshaped(_ n: Int, _ h: Int, _ w: Int, _ c: Int) -> Tensor {
        assert(n * h * w * c == count)
        return Tensor(n, h, w, c, sharing: self)
    }

    /// Image `i` alone: (1, h, w, c), sharing the floats.
    public func image(_ i: Int) -> Tensor {
        assert((0..<n).contains(i))
        return Tensor(1, h, w, c, sharing: self, from: i * stride)
    }

    /// Some of the images, sharing the floats.
    public func images(_ range: Range<Int>) -> Tensor {
        assert(range.lowerBound >= 0 && range.upperBound <= n)
        return Tensor(range.count, h, w, c, sharing: self, from: range.lowerBound * stride)
    }

    public var buffer: UnsafeMutableBufferPointer<Float> { UnsafeMutableBufferPointer(start: data, count: count) }
}

/// The product of non-negative sizes, or nil if it overflows (or one is negative).
public func checkedProduct(_ sizes: [Int]) -> Int? {
    var product = 1
    for size in sizes {
        let (value, overflow) = product.multipliedReportingOverflow(by: size)
        if overflow || size < 0 { return nil }
        product = value
    }
    return product
}
