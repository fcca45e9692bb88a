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
    }

    public convenience init(_ file: SafetensorsFile) throws {
        try self.init(shards: [file], name: file.name)
    }

    /// Errors: `.format` if two tensors have the same key.
    public init(shards: [SafetensorsFile], name: String) throws {
        for file in shards {
            for tensor in file.names {
                guard let info = file.info(tensor) else { continue }
                let location = Location(file: file, name: tensor, info: info)
                let key = Self.currentKey(tensor)
                guard locations.updateValue(location, forKey: key) == nil else {
                    throw MCMError(.format, "\(file.name): tensor \(quoted(tensor)): the key \(quoted(key)) is taken")
                }
            }
        }
        self.name = name
        // Old text encoders hold the numbers 0, 1, 2 ... beside their parameters.
        unread = Set(locations.keys.filter { !$0.hasSuffix("embeddings.position_ids") })
    }

    /// The keys of all tensors, in ascending order of their UTF-8 bytes.
    public var keys: [String] { locations.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) } }

    public func contains(_ key: String) -> Bool { locations[key] != nil }

    public func info(_ key: String) -> TensorInfo? { locations[key]?.info }

    public func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        let location = try location(key, shape)
        let result = try location.file.withElements(location.name, body)
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
                + "\(location.info.shape) is surplus, expected no such tensor\(more)")
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
            let shape = location.info.shape.map { " \($0)" }.joined()
            "\(key)\(shape)\n".utf8.forEach { digest.add($0) }
            let count = location.info.count
            // (i * count) / 16 without a product that could overflow.
            let indices = count < 16 ? Array(0..<count) : (0..<16).map { $0 * (count / 16) + $0 * (count % 16) / 16 }
            for bits in try location.file.float16Bits(location.name, at: indices) {
                digest.add(UInt8(truncatingIfNeeded: bits))
                digest.add(UInt8(truncatingIfNeeded: bits >> 8))
            }
        }
        return digest.text
    }

    private func location(_ key: String, _ shape: [Int]) throws -> Location {
        guard let location = locations[key] else {
            throw MCMError(.format, "\(name): tensor \(quoted(key)) is missing, expected shape \(shape)")
        }
        guard location.info.shape == shape else {
            throw MCMError(
                .format,
                "\(location.file.name): tensor \(quoted(location.name)) has shape "
                    + "\(location.info.shape), expected \(shape)")
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
