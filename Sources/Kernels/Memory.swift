import CShims
import Glibc

/// The floats that the machine's memory holds. Linux grants more and kills the process later.
var machineFloats: Int { machineBytes / MemoryLayout<Float>.stride }

public var machineBytes: Int { shim_machine_bytes() }

/// The size of Linux's larger pages on x86-64 and arm64, in bytes.
private let hugePage = 2 << 20

/// `count` uninitialised floats aligned to 64 bytes, to be released by `free`.
func allocateFloats(_ count: Int) throws -> UnsafeMutablePointer<Float> {
    var raw: UnsafeMutableRawPointer?
    let isLarge = count >= hugePage / MemoryLayout<Float>.stride
    guard (0...machineFloats).contains(count),
        posix_memalign(&raw, isLarge ? hugePage : 64, max(count * MemoryLayout<Float>.stride, 64)) == 0, let raw
    else {
        throw MCMError(.outOfMemory, "cannot allocate \(count) floats")
    }
    // Kernels walk through many places of such a block at once: with pages of 4 KiB they would wait for the TLB.
    if isLarge { madvise(raw, count * MemoryLayout<Float>.stride, MADV_HUGEPAGE) }
    return raw.bindMemory(to: Float.self, capacity: count)
}

/// Where the packed weights of one network lie: side by side in slabs, for large pages each to be full.
///
/// For one thread, while the network is made. A slab goes with the last matrix in it.
public final class WeightMemory {
    private var slab: FloatBuffer?
    private var used = 0  // floats of the slab

    public init() {}

    /// `bytes` uninitialised bytes, aligned to a cache line, valid as long as `owner` lives.
    func allocate(_ bytes: Int) throws -> (pointer: UnsafeMutableRawPointer, owner: FloatBuffer) {
        let count = (bytes + 63) / 64 * 16
        if let slab, used + count <= slab.count {
            defer { used += count }
            return (UnsafeMutableRawPointer(slab.data + used), slab)
        }
        // Each slab is twice the one before, from 256 KiB to 64 MiB: little of the last one is in vain.
        let size = min(16 << 20, max(64 << 10, 2 * (slab?.count ?? 0)))
        let fresh = try FloatBuffer(uninitialized: max(count, size))
        if count < size { (slab, used) = (fresh, count) }
        return (UnsafeMutableRawPointer(fresh.data), fresh)
    }
}

/// Immutable floats of a layer (weights, biases), owned until the layer goes.
public final class FloatBuffer: @unchecked Sendable {  // written only before it is shared
    public let data: UnsafeMutablePointer<Float>
    public let count: Int
    /// See StoredFloats.
    let gradient: UnsafeMutablePointer<Float>?

    /// To be filled by the one who makes it.
    init(uninitialized count: Int) throws {
        data = try allocateFloats(count)
        self.count = count
        gradient = nil
    }

    /// `count` zeros, to be filled by the one who makes it.
    public init(count: Int, gradient: UnsafeMutablePointer<Float>? = nil) throws {
        data = try allocateFloats(count)
        data.initialize(repeating: 0, count: count)
        self.count = count
        self.gradient = gradient
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
