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
        // A zip archive, as torch writes it, or a bare pickle of protocol 2 and later.
        if file.starts(with: Array("PK\u{3}\u{4}".utf8)) || file[0] == 0x80 && (2...5).contains(file[1]) && file[7] != 0
        {
            throw pickleError(name)
        }
        let declared = UInt64(littleEndian: file.loadUnaligned(as: UInt64.self))
        guard let length = Int(exactly: declared), length <= Self.lengthLimit else {
            throw failure("the header length is \(declared), expected a safetensors file's, <= \(Self.lengthLimit)")
        }
        guard length <= file.count - 8 else {
            throw failure("the header length is \(length), but only \(file.count - 8) bytes follow it")
        }
        let text = UnsafeRawBufferPointer(rebasing: file[8..<8 + length])
        let header = try JSONObject(JSONValue(parsing: text, name: name), name: name)
        metadata = try Self.metadata(header)
        infos = try Self.check(Self.entries(header), dataBegin: 8 + length, fileEnd: file.count, failure)
    }

    /// Checks that the tensors fill the rest of the file, one after the other, each as long as its shape says.
    private static func check(
        _ entries: [String: Entry], dataBegin: Int, fileEnd: Int, _ failure: (String) -> MCMError
    ) throws -> [String: TensorInfo] {
        var infos: [String: TensorInfo] = [:]
        infos.reserveCapacity(entries.count)
        var end = 0  // of the tensors so far, in bytes from dataBegin; never beyond the file
        let ordered = entries.sorted { $0.value.offsets.lexicographicallyPrecedes($1.value.offsets) }
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
            let offsets = entry.offsets
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

    /// What the JSON text says of a tensor, as it is.
    private struct Entry {
        let dtype: String
        let shape: [Int]
        let offsets: [Int]
    }

    private static let metadataKey = "__metadata__"

    private static func metadata(_ header: JSONObject) throws -> [String: String] {
        guard header.members[metadataKey] != nil else { return [:] }
        let metadata = try header.object(metadataKey)
        return try Dictionary(uniqueKeysWithValues: metadata.members.keys.map { ($0, try metadata.string($0)) })
    }

    private static func entries(_ header: JSONObject) throws -> [String: Entry] {
        var entries: [String: Entry] = [:]
        entries.reserveCapacity(header.members.count)
        for (tensor, value) in header.members where tensor != metadataKey {
            let object = try JSONObject(value, name: "\(header.name): tensor \(quoted(tensor))")
            entries[tensor] = try Entry(
                dtype: object.string("dtype"), shape: object.ints("shape"), offsets: object.ints("data_offsets"))
            guard object.members.count == 3 else {
                throw MCMError(.format, "\(object.name): has an unknown key beside dtype, shape and data_offsets")
            }
        }
        return entries
    }
}
