import Checkpoint
import Kernels
import Pipeline
import Sampling

/// Predictions of a frozen model, recorded once: since the model never changes, any number of modules can be trained
/// from them without running it again, nor loading it. Immutable; any number of threads may use it.
///
/// The file (docs/format.md): "MCMBANK1", the length of a JSON header as UInt32, the header, alphas_cumprod as Float32,
/// then records of one size: image UInt32, timestep UInt32, seed of the noise UInt64, prediction as Float16 (c, h, w),
/// checksum UInt64; all little-endian.
public final class Bank: Sendable {
    /// What all records have in common.
    struct Header: Sendable {
        var count, channels, height, width: Int
        var predictionType: SchedulerConfig.PredictionType
        var fingerprint, dataset: String  // of the model and of the images
        var seed: UInt64
        var timesteps: Range<Int>
        var alphasCumprod: [Float]

        var predictionCount: Int { channels * height * width }
        var recordSize: Int { 16 + (2 * predictionCount + 7) / 8 * 8 + 8 }

        var bytes: [UInt8] {
            let json = JSONValue.object([
                "count": .integer(count), "channels": .integer(channels), "height": .integer(height),
                "width": .integer(width), "prediction_type": .string(predictionType.rawValue),
                "base": .string(fingerprint), "images": .string(dataset), "seed": .string("\(seed)"),
                "first_timestep": .integer(timesteps.lowerBound), "end_timestep": .integer(timesteps.upperBound),
                "num_train_timesteps": .integer(alphasCumprod.count),
            ])
            var text = Array(json.text.utf8)
            text += Array(repeating: 0x20, count: (8 - (12 + text.count + 4 * alphasCumprod.count) % 8) % 8)
            var bytes = Array("MCMBANK1".utf8)
            withUnsafeBytes(of: UInt32(text.count).littleEndian) { bytes += $0 }
            bytes += text
            alphasCumprod.withUnsafeBytes { bytes += $0 }
            return bytes
        }
    }

    public let name: String
    let header: Header
    private let file: any FileBytes
    private let first: Int  // byte of the first record

    /// Number of records.
    public var count: Int { header.count }
    public var fingerprint: String { header.fingerprint }
    public var imageFingerprint: String { header.dataset }
    public var timesteps: Range<Int> { header.timesteps }
    public var shape: (channels: Int, height: Int, width: Int) { (header.channels, header.height, header.width) }

    /// Reads and checks the whole file.
    public init(_ file: any FileBytes, name: String) throws {
        self.file = file
        self.name = name
        (header, first) = try file.withBytes { try Self.header($0, name) }
        let (size, count) = (header.recordSize, header.count)
        guard let records = checkedProduct([size, count]), file.bytes.count - first == records else {
            throw MCMError(
                .format,
                "\(name): has \((file.bytes.count - first) / size) whole records in \(file.bytes.count) bytes, expected "
                    + "\(count)")
        }
        for i in 0..<count {
            let range = (first + i * size)..<(first + (i + 1) * size)
            let record = UnsafeRawBufferPointer(rebasing: file.bytes[range])
            guard timestep(of: record) != nil else { throw damaged(i) }
            if i % 1024 == 1023 { file.hasRead((first + (i - 1023) * size)..<range.upperBound) }
        }
    }

    static func header(_ bytes: UnsafeRawBufferPointer, _ name: String) throws -> (Header, first: Int) {
        func failure(_ text: String) -> MCMError { MCMError(.format, "\(name): \(text)") }
        guard bytes.count >= 12, bytes[..<8].elementsEqual("MCMBANK1".utf8) else {
            throw failure("is no bank of predictions, expected it to begin with \"MCMBANK1\"")
        }
        let length = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)))
        guard length <= 1 << 16, length <= bytes.count - 12 else {
            throw failure("the header's length is \(length), expected at most 65536 and the file's size")
        }
        let json = try JSONObject(
            JSONValue(parsing: UnsafeRawBufferPointer(rebasing: bytes[12..<(12 + length)]), name: name), name: name)
        let timesteps = try json.int("num_train_timesteps", in: 1...(1 << 20))
        let begin = try json.int("first_timestep", in: 0...(timesteps - 1))
        let end = try json.int("end_timestep", in: (begin + 1)...timesteps)
        let first = 12 + length + 4 * timesteps
        guard bytes.count >= first else { throw failure("is cut short within its header") }
        guard let seed = UInt64(try json.string("seed")) else { throw json.error("seed", expected: "an integer") }
        let header = Header(
            count: try json.int("count", in: 1...Int(UInt32.max)), channels: try json.int("channels", in: 1...4096),
            height: try json.int("height", in: 1...65536), width: try json.int("width", in: 1...65536),
            predictionType: try json.choice("prediction_type", default: .epsilon), fingerprint: try json.string("base"),
            dataset: try json.string("images"), seed: seed, timesteps: begin..<end,
            alphasCumprod: (0..<timesteps).map {
                bytes.loadUnaligned(fromByteOffset: 12 + length + 4 * $0, as: Float.self)
            })
        try json.rejectUnknown()
        guard header.alphasCumprod.allSatisfy({ $0 >= 0 && $0 <= 1 }) else {
            throw failure("its noise schedule is damaged")
        }
        return (header, first)
    }

    static func checksum(_ words: UnsafeRawBufferPointer) -> UInt64 {
        var digest = Digest()
        digest.add(words: words)
        return digest.value
    }

    static func isIntact(_ record: UnsafeRawBufferPointer) -> Bool {
        let end = record.count - 8
        return checksum(UnsafeRawBufferPointer(rebasing: record[..<end]))
            == record.loadUnaligned(fromByteOffset: end, as: UInt64.self)
    }

    /// Record i. Checked again, since the file may have changed: a timestep is an index.
    ///   e        receives the prediction, (1, h, w, channels)
    ///   returns  number of the image, timestep, and seed of the noise
    func record(_ i: Int, into e: Tensor) throws -> (image: Int, timestep: Int, seed: UInt64) {
        try file.check()
        let begin = first + i * header.recordSize
        return try file.withBytes { bytes in
            let record = UnsafeRawBufferPointer(rebasing: bytes[begin..<(begin + header.recordSize)])
            guard let timestep = timestep(of: record) else { throw damaged(i) }
            for channel in 0..<header.channels {
                for p in 0..<e.pixels {
                    let bits = record.loadUnaligned(
                        fromByteOffset: 16 + 2 * (channel * e.pixels + p), as: UInt16.self)
                    e.data[p * e.c + channel] = Float(Float16(bitPattern: bits))
                }
            }
            return (
                Int(record.loadUnaligned(fromByteOffset: 0, as: UInt32.self)), timestep,
                record.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
            )
        }
    }

    /// nil for a damaged record.
    private func timestep(of record: UnsafeRawBufferPointer) -> Int? {
        let timestep = Int(record.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        return Self.isIntact(record) && header.timesteps.contains(timestep) ? timestep : nil
    }

    private func damaged(_ i: Int) -> MCMError { MCMError(.format, "\(name): record \(i) is damaged") }
}
