import Kernels

/// Writes safetensors files. The same tensors always give the same bytes.
public enum SafetensorsWriter {
    public struct Tensor: @unchecked Sendable {  // values are only read
        public let name: String
        public let shape: [Int]
        public let dtype: DType
        let contents: Contents

        enum Contents {
            case values(any RandomAccessCollection<Float>)
            case bytes((_ sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Void)
        }

        /// dtype: `.f32` or `.f16`, to which values are rounded to nearest even
        /// values: row-major, an array, or a buffer that lives until the tensor is written
        public init(name: String, shape: [Int], dtype: DType = .f32, values: any RandomAccessCollection<Float>) {
            (self.name, self.shape, self.dtype) = (name, shape, dtype)
            contents = .values(values)
        }

        /// bytes: hands over the tensor's bytes in order, when the tensor is written
        public init(
            name: String, shape: [Int], dtype: DType = .f32,
            bytes: @escaping (_ sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Void
        ) {
            (self.name, self.shape, self.dtype) = (name, shape, dtype)
            contents = .bytes(bytes)
        }

        /// Its numbers; none if it hands over bytes.
        public var values: any RandomAccessCollection<Float> {
            if case .values(let values) = contents { values } else { [Float]() }
        }

        /// Elements; nil for an impossible shape.
        var count: Int? { checkedProduct(shape) }
    }

    /// The bytes of a file.
    public static func serialize(_ tensors: [Tensor], metadata: [String: String] = [:]) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try write(tensors, metadata) { bytes.append(contentsOf: $0) }
        return bytes
    }

    /// Writes a file atomically, without a copy of its tensors.
    public static func write(_ tensors: [Tensor], metadata: [String: String] = [:], to path: String) throws {
        try writeAtomically(to: path) { part in try write(tensors, metadata, part) }
    }

    /// Larger elements come first, so that every tensor is aligned; then names decide.
    /// Errors: `.invalidArgument` for a wrong number of values, another dtype or a name that occurs twice.
    private static func write(
        _ tensors: [Tensor], _ metadata: [String: String], _ part: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let ordered = tensors.sorted {
            $0.dtype.size != $1.dtype.size
                ? $0.dtype.size > $1.dtype.size : $0.name.utf8.lexicographicallyPrecedes($1.name.utf8)
        }
        var names: Set<String> = ["__metadata__"]
        var members: [String] = []
        if !metadata.isEmpty {
            let pairs = metadata.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
            let text = pairs.map { jsonLiteral($0.key) + ":" + jsonLiteral($0.value) }.joined(separator: ",")
            members.append("\"__metadata__\":{\(text)}")
        }
        var end = 0
        for tensor in ordered {
            try check(tensor, isNew: names.insert(tensor.name).inserted)
            let begin = end
            end += (tensor.count ?? 0) * tensor.dtype.size
            let (dtype, shape) = (tensor.dtype.rawValue, tensor.shape.map(String.init).joined(separator: ","))
            let fields = #""dtype":"\#(dtype)","shape":[\#(shape)],"data_offsets":[\#(begin),\#(end)]"#
            members.append("\(jsonLiteral(tensor.name)):{\(fields)}")
        }
        var header = Array("{\(members.joined(separator: ","))}".utf8)
        header.append(contentsOf: repeatElement(UInt8(ascii: " "), count: (8 - header.count % 8) % 8))

        try withUnsafeBytes(of: UInt64(header.count).littleEndian, part)
        try header.withUnsafeBytes(part)
        for tensor in ordered {
            switch tensor.contents {
            case .bytes(let bytes):
                var left = (tensor.count ?? 0) * tensor.dtype.size
                try bytes {
                    left -= $0.count
                    try part($0)
                }
                guard left == 0 else {
                    throw MCMError(.invalidArgument, "tensor \(quoted(tensor.name)): \(left) bytes are missing")
                }
            case .values(let values):
                let written: Void? = try values.withContiguousStorageIfAvailable {
                    try write($0, as: tensor.dtype, part)
                }
                if written == nil {
                    try Array(values).withUnsafeBufferPointer { try write($0, as: tensor.dtype, part) }
                }
            }
        }
    }

    private static func write(
        _ values: UnsafeBufferPointer<Float>, as dtype: DType, _ part: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        guard dtype == .f16 else { return try part(UnsafeRawBufferPointer(values)) }
        try withUnsafeTemporaryAllocation(of: Float16.self, capacity: 8192) { halves in
            for first in stride(from: 0, to: values.count, by: halves.count) {
                let count = min(halves.count, values.count - first)
                for i in 0..<count { halves[i] = Float16(values[first + i]) }
                try part(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(halves)[..<(2 * count)]))
            }
        }
    }

    private static func check(_ tensor: Tensor, isNew: Bool) throws {
        let title = "tensor \(quoted(tensor.name))"
        guard isNew else { throw MCMError(.invalidArgument, "\(title) occurs twice or has a reserved name") }
        guard let count = tensor.count, checkedProduct([count, tensor.dtype.size]) != nil else {
            throw MCMError(.invalidArgument, "\(title) has the impossible shape \(tensor.shape)")
        }
        guard case .values(let values) = tensor.contents else { return }
        guard tensor.dtype == .f32 || tensor.dtype == .f16 else {
            throw MCMError(.invalidArgument, "\(title) is \(tensor.dtype.rawValue), expected F32 or F16")
        }
        guard count == values.count else {
            throw MCMError(.invalidArgument, "\(title) has \(values.count) values for shape \(tensor.shape)")
        }
    }
}
