import Kernels

/// What text encoders make of prompts: what a network that reads a text is told. Immutable.
public final class Prompt: Sendable {
    /// Prompts: 1, or one per image of a batch.
    public let count: Int
    /// Of each prompt.
    public let tokens: Int
    public let channels: Int
    /// Stable Diffusion XL's pooled text, else 0.
    public let pooledChannels: Int
    /// Whether a prompt was too long and its end is missing.
    public let isTruncated: Bool
    let states: FloatBuffer  // (count, tokens, channels), diffusers' prompt_embeds
    let pooled: FloatBuffer  // (count, pooledChannels), diffusers' pooled_prompt_embeds

    /// All zeros, to be filled by the one who makes it.
    init(count: Int, tokens: Int, channels: Int, pooledChannels: Int, isTruncated: Bool = false) throws {
        guard count > 0, tokens > 0, channels > 0, pooledChannels >= 0,
            let size = checkedProduct([count, tokens, channels]), size <= 1 << 31,
            let pooledSize = checkedProduct([count, pooledChannels]), pooledSize <= 1 << 31
        else {
            throw MCMError(
                .size,
                "\(count) prompts of \(tokens) tokens with \(channels) channels, expected at least one of each and at "
                    + "most 2^31 floats in all")
        }
        (self.count, self.tokens, self.channels) = (count, tokens, channels)
        (self.pooledChannels, self.isTruncated) = (pooledChannels, isTruncated)
        states = try FloatBuffer(count: size)
        pooled = try FloatBuffer(count: pooledSize)
    }

    /// From numbers of the caller's own.
    ///   states  (count, tokens, channels)
    ///   pooled  (count, pooledChannels)
    public convenience init(
        states: UnsafePointer<Float>, count: Int, tokens: Int, channels: Int, pooled: UnsafePointer<Float>?,
        pooledChannels: Int
    ) throws {
        try self.init(
            count: count, tokens: tokens, channels: channels, pooledChannels: pooled == nil ? 0 : pooledChannels)
        self.states.data.update(from: states, count: self.states.count)
        if let pooled { self.pooled.data.update(from: pooled, count: self.pooled.count) }
    }

    /// The same prompts as zeros, as Stable Diffusion XL takes no prompt.
    func zeros() throws -> Prompt {
        try Prompt(count: count, tokens: tokens, channels: channels, pooledChannels: pooledChannels)
    }

    public func copyStates(into values: UnsafeMutablePointer<Float>) {
        values.update(from: states.data, count: states.count)
    }

    public func copyPooled(into values: UnsafeMutablePointer<Float>) {
        values.update(from: pooled.data, count: pooled.count)
    }

    public var stateCount: Int { states.count }
    public var pooledCount: Int { pooled.count }

    /// The states for n images: (n, 1, tokens, channels).
    func states(n: Int, in workspace: Workspace) throws -> Tensor {
        guard count == 1 || count == n else {
            throw MCMError(.size, "\(count) prompts for \(n) images, expected 1 or as many")
        }
        let t = try Tensor(n, 1, tokens, channels, in: workspace)
        for i in 0..<n {
            (t.data + i * t.stride).update(from: states.data + (count == 1 ? 0 : i) * t.stride, count: t.stride)
        }
        return t
    }

    /// The pooled texts for n images: n * pooledChannels numbers.
    func pooled(n: Int) -> [Float] {
        (0..<n * pooledChannels).map { pooled.data[count == 1 ? $0 % pooledChannels : $0] }
    }
}
