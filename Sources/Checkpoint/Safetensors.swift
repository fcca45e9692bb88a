import Kernels

/// A safetensors file, checked completely when it is opened: header, names, shapes and offsets. Immutable.
///
/// Layout: a UInt64 (little-endian) header length, the header (a JSON object), then the tensors without gaps.
public final class SafetensorsFile: Sendable {
    /// What the file is called in messages.
    public let name: String
    public let metadata: [String: String]
    /// In ascending order of their UTF-8 bytes.
    public let names: [String]
    private let infos: [String: TensorInfo]
    private let file: any FileBytes

    /// `file` may be a `MemoryFile`, which must then outlive the reads from this object.
    /// Errors: `.format` for a damaged file, `.unsupported` for an unknown element type.
    public init(_ file: any FileBytes, name: String) throws {
        try file.check()
        let header = try file.withBytes { try SafetensorsHeader($0, name: name) }
        self.name = name
        self.file = file
        metadata = header.metadata
        infos = header.infos
        names = header.infos.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    public func info(_ tensor: String) -> TensorInfo? { infos[tensor] }

    /// Copies a tensor as Float, row-major.
    ///   into    receives `count` floats
    ///   count   must be the tensor's number of elements
    public func copy(_ tensor: String, into target: UnsafeMutablePointer<Float>, count: Int) throws {
        let (info, bytes) = try readable(tensor)
        guard info.count == count else {
            throw MCMError(.size, "\(name): tensor \(quoted(tensor)) has \(info.count) elements, expected \(count)")
        }
        guard let source = bytes.baseAddress, count > 0 else { return }
        switch info.dtype {
        case .f16: widenFloat16(source, target, count)
        case .bf16: widenBFloat16(source, target, count)
        default: UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: bytes.count)
        }
    }

    /// The elements at the given flat indices as IEEE half-precision bits, rounded to nearest even; any NaN is 0x7e00.
    func float16Bits(_ tensor: String, at indices: [Int]) throws -> [UInt16] {
        let (info, bytes) = try readable(tensor)
        return try indices.map { index in
            guard index >= 0, index < info.count else {
                throw MCMError(
                    .size, "\(name): tensor \(quoted(tensor)) has \(info.count) elements, no element \(index)")
            }
            let value: Float16 =
                switch info.dtype {
                case .f16: bytes.loadUnaligned(fromByteOffset: 2 * index, as: Float16.self)
                case .bf16: Float16(float(bfloat16: bytes.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self)))
                default: Float16(bytes.loadUnaligned(fromByteOffset: 4 * index, as: Float.self))
                }
            return value.isNaN ? 0x7e00 : value.bitPattern
        }
    }

    private func readable(_ tensor: String) throws -> (TensorInfo, UnsafeRawBufferPointer) {
        guard let info = infos[tensor] else { throw MCMError(.format, "\(name): tensor \(quoted(tensor)) is missing") }
        guard info.dtype.isReadable else {
            throw MCMError(
                .unsupported, "\(name): tensor \(quoted(tensor)) is \(info.dtype.rawValue), expected F32, F16 or BF16")
        }
        try file.check()
        return (info, UnsafeRawBufferPointer(rebasing: file.bytes[info.range]))
    }
}

private func float(bfloat16 bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }

// `source` need not be aligned. Both loops vectorise.

private func widenFloat16(_ source: UnsafeRawPointer, _ target: UnsafeMutablePointer<Float>, _ count: Int) {
    for i in 0..<count { target[i] = Float(source.loadUnaligned(fromByteOffset: 2 &* i, as: Float16.self)) }
}

private func widenBFloat16(_ source: UnsafeRawPointer, _ target: UnsafeMutablePointer<Float>, _ count: Int) {
    for i in 0..<count { target[i] = float(bfloat16: source.loadUnaligned(fromByteOffset: 2 &* i, as: UInt16.self)) }
}
