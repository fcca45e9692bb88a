import Kernels

/// Writes safetensors files. The same tensors always give the same bytes.
public enum SafetensorsWriter {
    public struct Tensor: Sendable {
        public let name: String
        public let shape: [Int]
        /// `.f32` or `.f16`, to which values are rounded to nearest even.
        public let dtype: DType
        /// Row-major.
        public let values: [Float]

        public init(name: String, shape: [Int], dtype: DType = .f32, values: [Float]) {
            self.name = name
            self.shape = shape
            self.dtype = dtype
            self.values = values
        }
    }

    /// The bytes of a file. Larger elements come first, so that every tensor is aligned; then names decide.
    /// Errors: `.invalidArgument` for a wrong number of values, another dtype or a name that occurs twice.
    public static func serialize(_ tensors: [Tensor], metadata: [String: String] = [:]) throws -> [UInt8] {
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
            end += tensor.values.count * tensor.dtype.size
            let (dtype, shape) = (tensor.dtype.rawValue, tensor.shape.map(String.init).joined(separator: ","))
            let fields = #""dtype":"\#(dtype)","shape":[\#(shape)],"data_offsets":[\#(begin),\#(end)]"#
            members.append("\(jsonLiteral(tensor.name)):{\(fields)}")
        }
        var header = Array("{\(members.joined(separator: ","))}".utf8)
        header.append(contentsOf: repeatElement(UInt8(ascii: " "), count: (8 - header.count % 8) % 8))

        var bytes: [UInt8] = []
        bytes.reserveCapacity(8 + header.count + end)
        withUnsafeBytes(of: UInt64(header.count).littleEndian) { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: header)
        for tensor in ordered {
            if tensor.dtype == .f16 {
                tensor.values.map { Float16($0) }.withUnsafeBytes { bytes.append(contentsOf: $0) }
            } else {
                tensor.values.withUnsafeBytes { bytes.append(contentsOf: $0) }
            }
        }
        return bytes
    }

    /// Writes a file atomically. Errors: those of `serialize`, and `.io`.
    public static func write(_ tensors: [Tensor], metadata: [String: String] = [:], to path: String) throws {
        try writeAtomically(serialize(tensors, metadata: metadata), to: path)
    }

    private static func check(_ tensor: Tensor, isNew: Bool) throws {
        let title = "tensor \(quoted(tensor.name))"
        guard isNew else { throw MCMError(.invalidArgument, "\(title) occurs twice or has a reserved name") }
        guard tensor.dtype == .f32 || tensor.dtype == .f16 else {
            throw MCMError(.invalidArgument, "\(title) is \(tensor.dtype.rawValue), expected F32 or F16")
        }
        guard checkedProduct(tensor.shape) == tensor.values.count else {
            throw MCMError(.invalidArgument, "\(title) has \(tensor.values.count) values for shape \(tensor.shape)")
        }
    }
}
