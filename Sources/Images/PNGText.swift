import Kernels

/// Text entries of PNG files, in iTXt chunks: a keyword of 1 to 79 bytes of Latin letters, and UTF-8.
enum PNGText {
    /// A file with entries after its IHDR.
    ///   file  a complete PNG
    static func insert(_ text: [String: String], into file: [UInt8]) throws -> [UInt8] {
        let begin = PNGChunks.signature.count + 25  // of IHDR: length, type, 13 bytes, CRC
        guard file.count > begin else { throw MCMError(.format, "image: is no complete PNG") }
        let chunks = try text.sorted { $0.key < $1.key }.flatMap { try chunk($0.key, $0.value) }
        return Array(file[..<begin]) + chunks + file[begin...]
    }

    /// The entries of a file that are not compressed, by their keywords; of several the last.
    static func read(_ file: UnsafeRawBufferPointer, name: String) throws -> [String: String] {
        var entries: [String: String] = [:]
        try PNGChunks.forEach(in: file, name) { type, chunk in
            guard type == "iTXt" else { return }
            let data = file[(chunk.lowerBound + 8)..<(chunk.upperBound - 4)]
            guard crc(file[(chunk.lowerBound + 4)..<(chunk.upperBound - 4)]) == big32(file, chunk.upperBound - 4) else {
                throw MCMError(.format, "\(name): the text chunk at byte \(chunk.lowerBound) is damaged")
            }
            // keyword 0 isCompressed method language 0 translated-keyword 0 text
            let parts = data.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, parts[1].count >= 2, parts[1].first == 0 else { return }
            let rest = parts[1].dropFirst(2).split(separator: 0, maxSplits: 2, omittingEmptySubsequences: false)
            guard rest.count == 3, let value = String(validating: rest[2], as: UTF8.self) else {
                throw MCMError(.format, "\(name): the text chunk at byte \(chunk.lowerBound) is no text")
            }
            entries[String(decoding: parts[0], as: UTF8.self)] = value
        }
        return entries
    }

    private static func chunk(_ keyword: String, _ value: String) throws -> [UInt8] {
        guard (1...79).contains(keyword.utf8.count), keyword.utf8.allSatisfy({ (33...126).contains($0) }),
            !value.utf8.contains(0), value.utf8.count <= PNG.fileLimit / 2
        else {
            throw MCMError(
                .invalidArgument,
                "image: a text entry \"\(keyword)\", expected a keyword of 1 to 79 letters and text without zeros"
            )
        }
        let data = Array("iTXt".utf8) + Array(keyword.utf8) + [0, 0, 0, 0, 0] + Array(value.utf8)
        return bytes(data.count - 4) + data + bytes(data.withUnsafeBytes { crc($0[...]) })
    }

    private static func bytes(_ value: Int) -> [UInt8] {
        withUnsafeBytes(of: UInt32(truncatingIfNeeded: value).bigEndian, Array.init)
    }

    /// CRC-32 of ISO 3309.
    private static func crc(_ bytes: Slice<UnsafeRawBufferPointer>) -> Int {
        var crc = UInt32.max
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc >> 1 ^ (crc & 1 == 0 ? 0 : 0xedb8_8320) }
        }
        return Int(~crc)
    }
}
