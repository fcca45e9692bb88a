import Checkpoint
import Glibc
import Kernels
import Networks
import Pipeline

extension Bank {
    public struct RecordingOptions: Sendable {
        public var count = 0
        /// Records that are made at a time. They do not depend on it.
        public var batch = 16
        public var seed: UInt64 = 0
        /// nil for all.
        public var timesteps: Range<Int>?

        public init() {}
    }

    /// Records predictions for a data set's images, all of them equally often, at timesteps drawn evenly.
    ///
    /// They are collected in a file beside `path`, or beside the file that it is a link to, with ".part" at the end of
    /// its name, which becomes `path` when it is complete. If that file is there already, recording goes on where it stopped.
    ///   progress  is told how many records there are and returns whether to go on; if not, `.cancelled` is thrown
    public static func record(
        _ model: Model, _ dataset: Dataset, to path: String, _ options: RecordingOptions,
        progress: (_ done: Int, _ count: Int) -> Bool
    ) throws {
        try model.unet.checkSize(height: dataset.height, width: dataset.width)
        let base = try Base(model)
        guard dataset.isEncoded || !model.isLatent else {
            throw MCMError(
                .incompatible,
                "\(dataset.name): holds images, expected samples of the latent diffusion model: encode it first")
        }
        try dataset.check(base)
        let range = options.timesteps ?? 0..<base.schedule.numTrainTimesteps
        guard !range.isEmpty, range.lowerBound >= 0, range.upperBound <= base.schedule.numTrainTimesteps else {
            throw MCMError(
                .invalidArgument,
                "the range of timesteps is \(range), expected a part of 0 to \(base.schedule.numTrainTimesteps)")
        }
        guard (1...Int(UInt32.max)).contains(options.count), (1...65536).contains(options.batch) else {
            throw MCMError(
                .invalidArgument,
                "\(options.count) records in batches of \(options.batch), expected 1 to \(UInt32.max) in batches of 1 to 65536"
            )
        }
        let header = Header(
            count: options.count, channels: model.channels, height: dataset.height, width: dataset.width,
            predictionType: base.predictionType, fingerprint: base.fingerprint, dataset: dataset.fingerprint,
            seed: options.seed, timesteps: range, alphasCumprod: base.schedule.alphasCumprod)
        let file = try PartialFile(path: path, header: header)
        let shuffle = Shuffle(seed: options.seed, count: dataset.count)
        let workspace = Workspace(threads: model.threads)
        while file.records < options.count {
            let numbers = file.records..<min(file.records + options.batch, options.count)
            try Self.records(numbers, header, model, dataset, shuffle, in: workspace, file.append)
            if !progress(file.records, options.count) {
                throw MCMError(.cancelled, "cancelled after record \(file.records) of \(options.count)")
            }
        }
        try file.finish()
    }

    /// Records with these numbers; each follows from its number alone.
    private static func records(
        _ numbers: Range<Int>, _ header: Header, _ model: Model, _ dataset: Dataset, _ shuffle: Shuffle,
        in workspace: Workspace, _ append: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let n = numbers.count, size = header.predictionCount
        let images = try numbers.map { try shuffle($0) }
        let draws = numbers.map { number in
            var generator = Generator(seed: mix(header.seed, UInt64(number)))
            let span = header.timesteps
            let t = span.lowerBound + min(Int(generator.uniform64() * Double(span.count)), span.count - 1)
            return (timestep: t, seed: mix(header.seed, ~UInt64(number)) & 0xffff_ffff)
        }
        // Noise and what is recorded are (n, c, h, w), as the model's callers have it.
        let x = try dataset.samples(images, channels: header.channels, in: workspace)
        let order = try Tensor(n, header.channels, header.height, header.width, in: workspace)
        let noise = try Tensor(n, header.height, header.width, header.channels, in: workspace)
        for i in 0..<n {
            var generator = Generator(seed: draws[i].seed)
            generator.normal(into: order.image(i).data, count: size)
        }
        fromNCHW(order.data, into: noise)
        for i in 0..<n {
            model.schedule.addNoise(
                x.image(i).data, noise.image(i).data, timestep: draws[i].timestep, count: size, into: x.image(i).data)
        }
        var given = Model.PredictionInputs()
        given.prompt = try dataset.prompt(images)
        let inputs = try model.inputs(given, batch: n, height: x.h, width: x.w, in: workspace)
        let e = try model.unet(x, timesteps: draws.map { Float($0.timestep) }, inputs, in: workspace)
        toNCHW(e, into: order.data)

        let memory = try Tensor(1, 1, 1, (header.recordSize + 3) / 4, in: workspace)
        memory.buffer.update(repeating: 0)  // also what lies between the prediction and the checksum
        let record = UnsafeMutableRawBufferPointer(start: memory.data, count: header.recordSize)
        for i in 0..<n {
            record.storeBytes(of: UInt32(images[i]), toByteOffset: 0, as: UInt32.self)
            record.storeBytes(of: UInt32(draws[i].timestep), toByteOffset: 4, as: UInt32.self)
            record.storeBytes(of: draws[i].seed, toByteOffset: 8, as: UInt64.self)
            for j in 0..<size {
                let value = Float16(order.data[i * size + j])
                guard value.isFinite else {
                    throw MCMError(
                        .state, "the prediction for record \(numbers.lowerBound + i) is \(order.data[i * size + j])")
                }
                record.storeBytes(of: value.bitPattern, toByteOffset: 16 + 2 * j, as: UInt16.self)
            }
            let end = record.count - 8
            record.storeBytes(
                of: checksum(UnsafeRawBufferPointer(rebasing: record[..<end])), toByteOffset: end, as: UInt64.self)
            try append(UnsafeRawBufferPointer(record))
        }
    }
}

/// A bank that is being recorded. What was written before the process ended, however it ended, is used again up to the
/// last whole record.
private final class PartialFile {
    private let path, partial: String
    private let descriptor: Int32
    private let header: Bank.Header
    private(set) var records = 0

    init(path: String, header: Bank.Header) throws {
        let target = try replaceable(path)  // not where a link lies: a file moves only within its file system
        (self.path, partial, self.header) = (target, target + ".part", header)
        descriptor = open(partial, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw systemError(partial) }
        // The descriptor is closed by deinit, also if what follows throws: all properties have values.
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            if errno != EWOULDBLOCK { throw systemError(partial) }
            throw MCMError(.io, "\(partial): another process is recording to it")
        }
        let start = header.bytes
        let size = lseek(descriptor, 0, SEEK_END)
        if size >= start.count {
            records = try intactRecords(start)
        } else if size > 0, try !MappedFile(path: partial).withBytes({ $0.elementsEqual(start.prefix(size)) }) {
            throw otherRecording()
        } else {
            guard ftruncate(descriptor, 0) == 0, lseek(descriptor, 0, SEEK_SET) == 0 else { throw systemError(partial) }
            try start.withUnsafeBytes { try writeAll($0, to: descriptor, partial) }
        }
        let end = start.count + records * header.recordSize
        guard ftruncate(descriptor, end) == 0, lseek(descriptor, 0, SEEK_END) == end else { throw systemError(partial) }
    }

    deinit { close(descriptor) }

    private func otherRecording() -> MCMError {
        MCMError(
            .state, "\(partial): is a recording of something else, expected one with the same options; remove it")
    }

    private func intactRecords(_ start: [UInt8]) throws -> Int {
        let file = try MappedFile(path: partial)
        return try file.withBytes { bytes in
            guard bytes[..<start.count].elementsEqual(start) else {
                throw otherRecording()
            }
            let whole = min((bytes.count - start.count) / header.recordSize, header.count)
            return (0..<whole).first { i in
                let begin = start.count + i * header.recordSize
                return !Bank.isIntact(UnsafeRawBufferPointer(rebasing: bytes[begin..<(begin + header.recordSize)]))
            } ?? whole
        }
    }

    func append(_ record: UnsafeRawBufferPointer) throws {
        do {
            try writeAll(record, to: descriptor, partial)
        } catch {  // such as a full disk: back to the last whole record
            let end = header.bytes.count + records * header.recordSize
            if ftruncate(descriptor, end) == 0 { lseek(descriptor, 0, SEEK_END) }
            throw error
        }
        records += 1
    }

    func finish() throws {
        try replace(path, by: partial, descriptor)
    }
}
