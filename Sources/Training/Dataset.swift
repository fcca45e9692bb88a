import Checkpoint
import Images
import Kernels
import Networks
import Pipeline

/// Examples in a safetensors file, which is mapped and read as they are drawn (docs/format.md): "images", U8 or F32 of
/// shape (examples, height, width, channels), or "samples", F32 of shape (examples, channels, height, width) in a model's
/// sample space; every other tensor holds the conditions of the modality of its name, U8 or F32 of shape (examples,
/// height, width, channels). Immutable; any number of threads may use it.
public final class Dataset: Sendable {
    public let name: String
    /// Number of examples.
    public let count: Int
    public let channels, height, width: Int
    public let modalities: [(name: String, channels: Int)]
    /// 16 hexadecimal digits that tell one data set's images and prompts from another's.
    public let fingerprint: String
    let file: SafetensorsFile
    let isEncoded: Bool  // "samples" instead of "images"
    private let prompts: DatasetPrompts?

    public init(_ file: SafetensorsFile) throws {
        self.file = file
        name = file.name
        let title = file.info("samples") == nil ? "images" : "samples"
        isEncoded = title == "samples"
        guard let info = file.info(title) else {
            throw MCMError(.format, "\(file.name): has neither \"images\" nor \"samples\", expected one of them")
        }
        if isEncoded && file.info("images") != nil {
            throw MCMError(.format, "\(file.name): has both \"images\" and \"samples\", expected one of them")
        }
        try Self.check(info, title, file.name, isEncoded ? [.f32] : [.u8, .f32])
        count = info.shape[0]
        (height, width, channels) =
            isEncoded
            ? (info.shape[2], info.shape[3], info.shape[1]) : (info.shape[1], info.shape[2], info.shape[3])
        guard count > 0, count <= Int(UInt32.max) else {
            throw MCMError(.format, "\(file.name): has \(count) examples, expected 1 to \(UInt32.max)")
        }
        var modalities: [(String, Int)] = []
        for modality in file.names where modality != title && !DatasetPrompts.isTheirs(modality) {
            guard let info = file.info(modality) else { continue }
            try Self.check(info, modality, file.name, [.u8, .f32])
            guard info.shape[0] == count else {
                throw MCMError(
                    .format,
                    "\(file.name): tensor \"\(modality)\" holds \(info.shape[0]) examples, expected \(count), as many as "
                        + "\"\(title)\"")
            }
            guard (1...63).contains(modality.utf8.count) else {
                throw MCMError(
                    .format, "\(file.name): a modality is called \"\(modality)\", expected a name of 1 to 63 bytes")
            }
            modalities.append((modality, info.shape[3]))
        }
        self.modalities = modalities
        prompts = try DatasetPrompts(file, examples: count)
        var digest = Digest()
        "\(info.dtype.rawValue) \(info.shape)".utf8.forEach { digest.add($0) }
        try addSample(of: title, in: file, to: &digest)
        try prompts?.add(to: &digest)
        fingerprint = digest.text
    }

    private static func check(_ info: TensorInfo, _ tensor: String, _ name: String, _ types: [DType]) throws {
        guard types.contains(info.dtype) else {
            throw MCMError(
                .unsupported,
                "\(name): tensor \"\(tensor)\" is \(info.dtype.rawValue), expected "
                    + types.map(\.rawValue).joined(separator: " or "))
        }
        guard info.shape.count == 4 else {
            throw MCMError(.format, "\(name): tensor \"\(tensor)\" has shape \(info.shape), expected four dimensions")
        }
        guard info.shape[1...].allSatisfy({ (1...65536).contains($0) }) else {
            throw MCMError(
                .format, "\(name): tensor \"\(tensor)\" has shape \(info.shape), expected dimensions of 1 to 65536")
        }
    }

    /// Lends some images of a tensor.
    func withImages<R>(
        _ tensor: String, _ indices: [Int], _ body: ([ImageView]) throws -> R
    ) throws -> R {
        guard let info = file.info(tensor) else { throw MCMError(.format, "\(name): \"\(tensor)\" is missing") }
        let size = info.range.count / count
        return try file.withBytes(tensor, 0..<info.range.count) { bytes in
            guard let start = bytes.baseAddress else { throw MCMError(.format, "\(name): \"\(tensor)\" is empty") }
            return try body(
                indices.map { i in
                    try ImageView(
                        data: start + i * size, dtype: info.dtype == .u8 ? .u8 : .f32, width: info.shape[2],
                        height: info.shape[1], channels: info.shape[3], name: "\(name): \"\(tensor)\", example \(i)")
                })
        }
    }

    /// The conditions of some examples: of the modalities that the file has.
    private func withConditions<R>(
        _ modalities: ArraySlice<Modality>, _ indices: [Int],
        _ body: ([(modality: String, images: [ImageView])]) throws -> R
    ) throws -> R {
        guard let first = modalities.first else { return try body([]) }
        let rest = modalities.dropFirst()
        guard self.modalities.contains(where: { $0.name == first.name }) else {
            return try withConditions(rest, indices, body)
        }
        return try withImages(first.name, indices) { images in
            try withConditions(rest, indices) { try body([(first.name, images)] + $0) }
        }
    }

    /// Some examples for a trainer.
    func batch(_ indices: [Int], for trainer: Trainer) throws -> Batch {
        do {
            return try withConditions(trainer.modalities[...], indices) { conditions in
                try isEncoded
                    ? withSamples(indices) {
                        try trainer.batch(
                            samples: $0, n: indices.count, height: height, width: width, conditions: conditions,
                            prompt: prompt(indices))
                    }
                    : withImages("images", indices) {
                        try trainer.batch(images: $0, conditions: conditions, prompt: prompt(indices))
                    }
            }
        } catch let error as MCMError where [.invalidArgument, .size, .incompatible].contains(error.kind) {
            if indices.count == 1 { throw MCMError(.format, "\(name): example \(indices[0]): \(error.message)") }
            for index in indices { _ = try batch([index], for: trainer) }  // which of them is it?
            throw error
        }
    }

    /// What a model that reads a text is told of some examples; nil if the data set does not say.
    func prompt(_ indices: [Int]) throws -> Prompt? { try prompts?.prompt(indices) }

    /// x_0 of some examples alone.
    ///   channels  of the model
    ///   returns   (examples, height, width, channels)
    func samples(_ indices: [Int], channels: Int, in workspace: Workspace) throws -> Tensor {
        guard isEncoded else {
            return try withImages("images", indices) {
                try tensor(of: $0, channels: channels, mustBeIntensities: true, in: workspace)
            }
        }
        let x = try Tensor(indices.count, height, width, channels, in: workspace)
        try withSamples(indices) { fromNCHW($0, into: x) }
        return x
    }

    /// Throws unless examples have the channels of a model's samples, or images those of its images.
    func check(_ base: Base) throws {
        let expected = isEncoded ? base.channels : base.model?.imageChannels ?? base.channels
        guard channels == expected else {
            throw MCMError(
                .incompatible,
                "\(name): \(isEncoded ? "samples" : "images") have \(channels) channels, expected the model's \(expected)"
            )
        }
    }

    private func withSamples<R>(_ indices: [Int], _ body: (UnsafePointer<Float>) throws -> R) throws -> R {
        let size = channels * height * width
        let copy = try FloatBuffer(count: indices.count * size)
        try file.withBytes("samples", 0..<(4 * count * size)) { bytes in
            for (k, i) in indices.enumerated() {
                for j in 0..<size {
                    let value = bytes.loadUnaligned(fromByteOffset: 4 * (i * size + j), as: Float.self)
                    guard value.isFinite else {
                        throw MCMError(
                            .format, "\(name): \"samples\", example \(i) holds \(value), expected finite numbers")
                    }
                    copy.data[k * size + j] = value
                }
            }
        }
        return try withExtendedLifetime(copy) { try body(copy.data) }
    }
}

/// The numbers 0 ..< count in an order that looks random, another one for each epoch. For one thread.
final class Shuffle {
    private let seed: UInt64
    private let count: Int
    private var epoch = -1
    private var order: FloatBuffer?  // of UInt32; not an array, which ends the process where memory ends

    init(seed: UInt64, count: Int) { (self.seed, self.count) = (seed, count) }

    /// What is drawn as number `k`.
    func callAsFunction(_ k: Int) throws -> Int {
        let order = try self.order ?? FloatBuffer(count: count)
        return order.data.withMemoryRebound(to: UInt32.self, capacity: count) { numbers in
            if k / count != epoch { shuffle(numbers, epoch: k / count) }
            (self.order, epoch) = (order, k / count)
            return Int(numbers[k % count])
        }
    }

    private func shuffle(_ numbers: UnsafeMutablePointer<UInt32>, epoch: Int) {
        for i in 0..<count { numbers[i] = UInt32(i) }
        var generator = Generator(seed: mix(seed ^ 0x5045_524d, UInt64(epoch)))
        for i in stride(from: count - 1, to: 0, by: -1) {
            let j = min(i, Int(generator.uniform64() * Double(i + 1)))
            (numbers[i], numbers[j]) = (numbers[j], numbers[i])
        }
    }
}
