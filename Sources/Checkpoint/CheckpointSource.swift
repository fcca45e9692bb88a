import Kernels

/// The tensors of a checkpoint: one safetensors file, or several shards of one.
///
/// Keys are those of current diffusers. Attention layers of checkpoints from before diffusers 0.16 have others, which
/// are understood too.
public final class CheckpointSource: TensorSource {
    /// What the checkpoint is called in messages.
    public let name: String
    private var locations: [String: Location] = [:]
    private var unread: Set<String>

    private struct Location {
        let file: SafetensorsFile
        let name: String  // in the file
        let info: TensorInfo
        var part = TensorPart.whole
        let shape: [Int]  // of the part

        func withElements<R>(all: Bool = true, _ body: (StoredFloats) throws -> R) throws -> R {
            try file.withElements(name, all: all) { try part.withElements($0, shape: info.shape, body) }
        }
    }

    public convenience init(_ file: SafetensorsFile) throws {
        try self.init(shards: [file], name: file.name)
    }

    /// Errors: `.format` if two tensors have the same key.
    public init(shards: [SafetensorsFile], name: String) throws {
        for file in shards {
            for tensor in file.names {
                guard let info = file.info(tensor) else { continue }
                let key = Self.currentKey(tensor)
                let location = Location(file: file, name: tensor, info: info, shape: info.shape)
                try Self.add(location, as: key, to: &locations)
            }
        }
        self.name = name
        unread = Self.parameters(locations)
    }

    /// Some tensors of a file, under other keys. Errors: `.format`.
    init(_ file: SafetensorsFile, _ tensors: [(key: String, name: String, part: TensorPart)]) throws {
        name = file.name
        for (key, tensor, part) in tensors {
            guard let info = file.info(tensor) else { continue }
            guard let shape = part.shape(of: info.shape) else {
                throw MCMError(
                    .format,
                    "\(file.name): tensor \(quoted(tensor)) has shape \(info.shape), expected one that has \(quoted(key)) as part"
                )
            }
            try Self.add(
                Location(file: file, name: tensor, info: info, part: part, shape: shape), as: key, to: &locations)
        }
        unread = Self.parameters(locations)
    }

    /// What a network must ask for. Old text encoders hold the numbers 0, 1, 2 ... beside their parameters.
    private static func parameters(_ locations: [String: Location]) -> Set<String> {
        Set(locations.keys.filter { !$0.hasSuffix("embeddings.position_ids") })
    }

    private static func add(_ location: Location, as key: String, to locations: inout [String: Location]) throws {
        guard locations.updateValue(location, forKey: key) == nil else {
            throw MCMError(
                .format, "\(location.file.name): tensor \(quoted(location.name)): the key \(quoted(key)) is taken")
        }
    }

    /// The keys of all tensors, in ascending order of their UTF-8 bytes.
    public var keys: [String] { locations.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) } }

    public func contains(_ key: String) -> Bool { locations[key] != nil }

    /// nil if there is no such tensor.
    public func shape(_ key: String) -> [Int]? { locations[key]?.shape }

    public func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        let location = try location(key, shape)
        let result = try location.withElements(body)
        unread.remove(key)
        return result
    }

    public func finish() throws {
        guard let key = unread.min(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }), let location = locations[key]
        else { return }
        let more = unread.count > 1 ? ", and so are \(unread.count - 1) more" : ""
        throw MCMError(
            .format,
            "\(location.file.name): tensor \(quoted(location.name)) of shape "
                + "\(location.shape) is surplus, expected no such tensor\(more)")
    }

    /// 16 hexadecimal digits that tell one checkpoint from another, whatever float type and sharding its files have.
    ///
    /// FNV-1a (64 bit) over the tensors in ascending order of their keys' bytes. Each gives: its key in UTF-8; for each
    /// dimension a space and its decimal digits; a line feed; then up to 16 elements, those at flat index
    /// (i * count) / 16 for i < 16, or all of them where there are fewer than 16, each rounded to IEEE half precision
    /// (nearest even, NaN = 0x7e00) as two little-endian bytes.
    public func fingerprint() throws -> String {
        var digest = Digest()
        for (key, location) in keys.lazy.compactMap({ key in self.locations[key].map { (key, $0) } }) {
            let shape = location.shape.map { " \($0)" }.joined()
            "\(key)\(shape)\n".utf8.forEach { digest.add($0) }
            let count = location.shape.reduce(1, *)  // at most the tensor's
            // (i * count) / 16 without a product that could overflow.
            let indices = count < 16 ? Array(0..<count) : (0..<16).map { $0 * (count / 16) + $0 * (count % 16) / 16 }
            try location.withElements(all: false) { elements in
                for index in indices {
                    let bits = halfBits(elements[index])
                    digest.add(UInt8(truncatingIfNeeded: bits))
                    digest.add(UInt8(truncatingIfNeeded: bits >> 8))
                }
            }
        }
        return digest.text
    }

    private func location(_ key: String, _ shape: [Int]) throws -> Location {
        guard let location = locations[key] else {
            throw MCMError(.format, "\(name): tensor \(quoted(key)) is missing, expected shape \(shape)")
        }
        guard location.shape == shape else {
            throw MCMError(
                .format,
                "\(location.file.name): tensor \(quoted(location.name)) has shape "
                    + "\(location.shape), expected \(shape)")
        }
        return location
    }

    /// "mid_block.attentions.0.query.weight" -> "mid_block.attentions.0.to_q.weight"; other names as they are.
    static func currentKey(_ name: String) -> String {
        for (old, new) in [
            (".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0."),
        ] {
            for parameter in ["weight", "bias"] where name.hasSuffix(old + parameter) {
                return name.dropLast(old.utf8.count + parameter.utf8.count) + new + parameter
            }
        }
        return name
    }
}

/// IEEE half precision, rounded to nearest even; any NaN is 0x7e00.
func halfBits(_ value: Float) -> UInt16 {
    let half = Float16(value)
    return half.isNaN ? 0x7e00 : half.bitPattern
}
