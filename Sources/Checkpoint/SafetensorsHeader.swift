import Kernels

/// The header of a safetensors file after all checks: what it says can be relied on.
struct SafetensorsHeader {
    let metadata: [String: String]
    let infos: [String: TensorInfo]

    private static let lengthLimit = 100_000_000
    private static let rankLimit = 8

    init(_ file: UnsafeRawBufferPointer, name: String) throws {
        func failure(_ text: String) -> MCMError { MCMError(.format, "\(name): \(text)") }
        guard file.count >= 8 else {
            throw failure(
                "has \(file.count) bytes, expected a safetensors file: 8 bytes of header length, header, data")
        }
        let declared = UInt64(littleEndian: file.loadUnaligned(as: UInt64.self))
        guard let length = Int(exactly: declared), length <= Self.lengthLimit else {
            throw failure("the header length is \(declared), expected a safetensors file's, <= \(Self.lengthLimit)")
        }
        guard length <= file.count - 8 else {
            throw failure("the header length is \(length), but only \(file.count - 8) bytes follow it")
        }
        let text = UnsafeRawBufferPointer(rebasing: file[8..<8 + length])
        let header = try decodeJSON(JSONHeader.self, from: text, name: name) { $0.keyCount }
        metadata = header.metadata
        infos = try Self.check(header.entries, dataBegin: 8 + length, fileEnd: file.count, failure)
    }

    /// Checks that the tensors fill the rest of the file, one after the other, each as long as its shape says.
    private static func check(
        _ entries: [String: JSONHeader.Entry], dataBegin: Int, fileEnd: Int, _ failure: (String) -> MCMError
    ) throws -> [String: TensorInfo] {
        var infos: [String: TensorInfo] = [:]
        infos.reserveCapacity(entries.count)
        var end = 0  // of the tensors so far, in bytes from dataBegin; never beyond the file
        let ordered = entries.sorted { $0.value.data_offsets.lexicographicallyPrecedes($1.value.data_offsets) }
        for (tensor, entry) in ordered {
            let title = "tensor \(quoted(tensor))"
            guard let dtype = DType(rawValue: entry.dtype) else {
                throw MCMError(.unsupported, failure("\(title) has the unknown dtype \(quoted(entry.dtype))").message)
            }
            guard entry.shape.count <= rankLimit else {
                throw failure("\(title) has \(entry.shape.count) dimensions, expected at most \(rankLimit)")
            }
            guard let size = checkedProduct(entry.shape + [dtype.size]) else {
                throw failure("\(title) has the impossible shape \(entry.shape)")
            }
            let offsets = entry.data_offsets
            guard offsets.count == 2, offsets[0] == end else {
                throw failure("\(title) has data_offsets \(offsets.prefix(3)), expected it to begin at \(end)")
            }
            guard offsets[1] >= end, offsets[1] - end == size else {
                throw failure(
                    "\(title) has data_offsets \(offsets), expected \(size) bytes for \(dtype.rawValue) "
                        + "\(entry.shape)")
            }
            end = offsets[1]
            guard end <= fileEnd - dataBegin else {
                throw failure("\(title) ends at byte \(end) of the data, but there are only \(fileEnd - dataBegin)")
            }
            let range = dataBegin + end - size..<dataBegin + end
            infos[tensor] = TensorInfo(dtype: dtype, shape: entry.shape, count: size / dtype.size, range: range)
        }
        guard end == fileEnd - dataBegin else {
            throw failure("the tensors end at byte \(end) of the data, expected the file's end, \(fileEnd - dataBegin)")
        }
        return infos
    }
}

/// The JSON text as it is.
private struct JSONHeader: Decodable {
    struct Entry: Decodable {
        let dtype: String
        let shape: [Int]
        let data_offsets: [Int]
    }

    var metadata: [String: String] = [:]
    var entries: [String: Entry] = [:]
    private var hasMetadata = false

    /// The keys there should be in the text.
    var keyCount: Int { entries.count * 4 + metadata.count + (hasMetadata ? 1 : 0) }

    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    init(from decoder: any Decoder) throws {
        let header = try decoder.container(keyedBy: Key.self)
        for key in header.allKeys {
            if key.stringValue == "__metadata__" {
                metadata = try header.decode([String: String].self, forKey: key)
                hasMetadata = true
            } else {
                entries[key.stringValue] = try header.decode(Entry.self, forKey: key)
            }
        }
    }
}
