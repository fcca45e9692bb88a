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

    /// Lends a tensor's elements, row-major, as they are stored, for the duration of `body`.
    ///   all  whether `body` reads most of them
    public func withElements<R>(
        _ tensor: String, all: Bool = true, _ body: (StoredFloats) throws -> R
    ) throws -> R {
        let (info, bytes) = try readable(tensor)
        if all { file.willRead(info.range) }
        defer { file.hasRead(info.range) }
        return try withExtendedLifetime(file) {
            try withUnsafeBytes(of: 0) { nothing in  // an empty tensor may have no address
                try body(
                    StoredFloats(info.dtype.panelElement, bytes.baseAddress ?? nothing.baseAddress!, count: info.count))
            }
        }
    }

    /// Lends a part of a tensor's bytes, whatever its type, for the duration of `body`.
    ///   range  in bytes from the tensor's beginning
    public func withBytes<R>(
        _ tensor: String, _ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> R
    ) throws -> R {
        guard let info = infos[tensor] else {
            throw MCMError(.format, "\(name): tensor \(quoted(tensor)) is missing")
        }
        guard range.lowerBound >= 0, range.upperBound <= info.range.count else {
            throw MCMError(.size, "\(name): tensor \(quoted(tensor)) has \(info.range.count) bytes, no bytes \(range)")
        }
        try file.check()
        let first = info.range.lowerBound + range.lowerBound
        return try withExtendedLifetime(file) {
            try body(UnsafeRawBufferPointer(rebasing: file.bytes[first..<(first + range.count)]))
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

extension DType {
    /// How readable elements are stored.
    fileprivate var panelElement: PanelElement { self == .f16 ? .f16 : self == .bf16 ? .bf16 : .f32 }
}
