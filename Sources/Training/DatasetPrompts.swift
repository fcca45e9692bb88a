import Checkpoint
import Kernels
import Pipeline

/// The encoded prompts of a data set, for a model that reads a text: "prompt_embeds", F32 or F16 of shape (prompts, tokens,
/// channels), and for Stable Diffusion XL "pooled_prompt_embeds", (prompts, channels). "prompt_index", I32 of shape
/// (examples), says which belongs to each example; without it there is one for each, or one for all.
struct DatasetPrompts: Sendable {
    static func isTheirs(_ tensor: String) -> Bool { [states, pooled, index].contains(tensor) }

    private static var states: String { "prompt_embeds" }
    private static var pooled: String { "pooled_prompt_embeds" }
    private static var index: String { "prompt_index" }

    private let file: SafetensorsFile
    private let count, tokens, channels, pooledChannels: Int

    /// nil if the file has none.
    init?(_ file: SafetensorsFile, examples: Int) throws {
        guard let info = file.info(Self.states) else {
            if let other = [Self.pooled, Self.index].first(where: { file.info($0) != nil }) {
                throw MCMError(.format, "\(file.name): has \"\(other)\", but no \"\(Self.states)\"")
            }
            return nil
        }
        func check(_ tensor: String, _ info: TensorInfo, rank: Int, _ types: [DType]) throws {
            guard types.contains(info.dtype), info.shape.count == rank, info.shape.allSatisfy({ $0 > 0 }) else {
                throw MCMError(
                    .format,
                    "\(file.name): tensor \"\(tensor)\" is \(info.dtype.rawValue) of shape \(info.shape), expected "
                        + "\(types.map(\.rawValue).joined(separator: " or ")) of \(rank) dimensions")
            }
        }
        try check(Self.states, info, rank: 3, [.f32, .f16])
        self.file = file
        (count, tokens, channels) = (info.shape[0], info.shape[1], info.shape[2])
        if let info = file.info(Self.pooled) {
            try check(Self.pooled, info, rank: 2, [.f32, .f16])
            guard info.shape[0] == count else {
                throw MCMError(
                    .format, "\(file.name): tensor \"\(Self.pooled)\" has \(info.shape[0]) rows, expected \(count)")
            }
            pooledChannels = info.shape[1]
        } else {
            pooledChannels = 0
        }
        if let info = file.info(Self.index) {
            try check(Self.index, info, rank: 1, [.i32])
            guard info.shape[0] == examples else {
                throw MCMError(
                    .format, "\(file.name): tensor \"\(Self.index)\" has \(info.shape[0]) rows, expected \(examples)")
            }
        } else if count != 1, count != examples {
            throw MCMError(
                .format,
                "\(file.name): has \(count) prompts for \(examples) examples and no \"\(Self.index)\", expected one for "
                    + "all or one for each")
        }
    }

    /// Tells these prompts from others.
    func add(to digest: inout Digest) throws {
        for tensor in [Self.states, Self.pooled, Self.index] {
            if let info = file.info(tensor) {
                "\(tensor) \(info.dtype.rawValue) \(info.shape)".utf8.forEach { digest.add($0) }
                try addSample(of: tensor, in: file, to: &digest)
            }
        }
    }

    /// Of some examples, in their order.
    func prompt(_ examples: [Int]) throws -> Prompt {
        let rows = try examples.map(row)
        let states = try values(Self.states, rows, tokens * channels)
        let pooled = pooledChannels > 0 ? try values(Self.pooled, rows, pooledChannels) : nil
        return try Prompt(
            states: states.data, count: rows.count, tokens: tokens, channels: channels, pooled: pooled?.data,
            pooledChannels: pooledChannels)
    }

    private func row(_ example: Int) throws -> Int {
        guard file.info(Self.index) != nil else { return count == 1 ? 0 : example }
        let row = try file.withBytes(Self.index, 4 * example..<4 * example + 4) {
            Int(Int32(littleEndian: $0.loadUnaligned(as: Int32.self)))
        }
        guard (0..<count).contains(row) else {
            throw MCMError(
                .format, "\(file.name): \"\(Self.index)\", example \(example) is \(row), expected 0 to \(count - 1)")
        }
        return row
    }

    private func values(_ tensor: String, _ rows: [Int], _ size: Int) throws -> FloatBuffer {
        guard let floats = checkedProduct([rows.count, size]) else {
            throw MCMError(.outOfMemory, "\(rows.count) rows of \"\(tensor)\" exceed the address space")
        }
        let buffer = try FloatBuffer(count: floats)
        try file.withElements(tensor, all: false) { elements in
            for (k, row) in rows.enumerated() {
                for j in 0..<size {
                    let value = elements[row * size + j]
                    guard value.isFinite else {
                        throw MCMError(
                            .format, "\(file.name): \"\(tensor)\", row \(row) holds \(value), expected finite numbers")
                    }
                    buffer.data[k * size + j] = value
                }
            }
        }
        return buffer
    }
}

/// 4096 words of eight bytes, from places that follow no pattern an image could have; of a small tensor all bytes.
func addSample(of tensor: String, in file: SafetensorsFile, to digest: inout Digest) throws {
    guard let info = file.info(tensor) else { return }
    try file.withBytes(tensor, 0..<info.range.count) { bytes in
        if bytes.count < 8 { bytes.forEach { digest.add($0) } }
        for i in 0..<4096 where bytes.count >= 8 {
            let place = mix(0, UInt64(i)) % UInt64(bytes.count - 7)
            digest.add(bytes.loadUnaligned(fromByteOffset: Int(place), as: UInt64.self))
        }
    }
}
