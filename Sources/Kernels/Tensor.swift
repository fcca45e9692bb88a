import Glibc

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

    private init(_ n: Int, _ h: Int, _ w: Int, _ c: Int, sharing other: Tensor) {
        (self.n, self.h, self.w, self.c) = (n, h, w, c)
        storage = other.storage
        data = other.data
    }

    var shape: (Int, Int, Int, Int) { (n, h, w, c) }
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

/// Where the tensors of one computation live: blocks return here when their last tensor goes and serve the next
/// tensor of about that size, so that a sampling step allocates nothing after the first.
///
/// One thread at a time; every session has its own.
public final class Workspace {
    /// The threads that kernels may use, the caller's included.
    public let threads: Int
    private var free: [(pointer: UnsafeMutablePointer<Float>, capacity: Int)] = []
    private var total = 0  // floats, free ones included

    public init(threads: Int) {
        self.threads = max(1, threads)
    }

    deinit { releaseFree() }

    private func releaseFree() {
        for block in free {
            Glibc.free(block.pointer)
            total -= block.capacity
        }
        free = []
    }

    final class Block {
        let pointer: UnsafeMutablePointer<Float>
        private let capacity: Int
        private let workspace: Workspace

        fileprivate init(_ pointer: UnsafeMutablePointer<Float>, _ capacity: Int, _ workspace: Workspace) {
            (self.pointer, self.capacity, self.workspace) = (pointer, capacity, workspace)
        }

        deinit { workspace.free.append((pointer, capacity)) }
    }

    /// The smallest free block that holds `count` floats and wastes less than half of itself, or a new one.
    func block(_ count: Int) throws -> Block {
        let needed = max(count, 16)
        var best: Int?
        for (i, block) in free.enumerated() where block.capacity >= needed && block.capacity / 2 <= needed {
            if best.map({ block.capacity < free[$0].capacity }) ?? true { best = i }
        }
        if let best {
            let (pointer, capacity) = free[best]
            free.swapAt(best, free.count - 1)
            free.removeLast()
            return Block(pointer, capacity, self)
        }
        if total &+ needed > machineFloats { releaseFree() }
        guard needed <= machineFloats - total else {
            throw MCMError(
                .outOfMemory, "\(needed) floats beside the \(total) at work exceed the machine's memory")
        }
        let pointer = try allocateFloats(needed)
        total += needed
        return Block(pointer, needed, self)
    }
}

/// The floats that the machine's memory holds. Linux grants more and kills the process later.
private let machineFloats: Int = {
    let (pages, size) = (sysconf(Int32(_SC_PHYS_PAGES)), sysconf(Int32(_SC_PAGESIZE)))
    return pages > 0 && size > 0 ? pages / MemoryLayout<Float>.stride * size : 1 << 40
}()

/// `count` uninitialised floats aligned to 64 bytes, to be released by `free`.
private func allocateFloats(_ count: Int) throws -> UnsafeMutablePointer<Float> {
    var raw: UnsafeMutableRawPointer?
    guard (0...machineFloats).contains(count),
        posix_memalign(&raw, 64, max(count * MemoryLayout<Float>.stride, 64)) == 0, let raw
    else {
        throw MCMError(.outOfMemory, "cannot allocate \(count) floats")
    }
    return raw.bindMemory(to: Float.self, capacity: count)
}

/// Immutable floats of a layer (weights, biases), owned until the layer goes.
public final class FloatBuffer: @unchecked Sendable {  // written only before it is shared
    public let data: UnsafeMutablePointer<Float>
    public let count: Int

    /// `count` zeros, to be filled by the one who makes it.
    public init(count: Int) throws {
        data = try allocateFloats(count)
        data.initialize(repeating: 0, count: count)
        self.count = count
    }

    public convenience init(_ values: [Float]) throws {
        try self.init(count: values.count)
        values.withUnsafeBufferPointer { if let base = $0.baseAddress { data.update(from: base, count: $0.count) } }
    }

    public var bytes: Int { count * MemoryLayout<Float>.stride }
    /// Valid as long as the buffer is.
    public var values: UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: data, count: count) }

    deinit { free(data) }
}
