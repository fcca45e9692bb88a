import Kernels

/// What a text encoder takes of a prompt with weights: one or more chunks of the same length.
public struct WeightedTokens: Sendable, Equatable {
    public struct Chunk: Sendable, Equatable {
        /// (length) Start, at most length - 2 tokens, end, padding.
        public let ids: [Int]
        /// (length) 1 for start, end and padding.
        public let weights: [Float]
    }

    /// What becomes of tokens that one chunk does not hold.
    public enum Overflow: Sendable {
        case truncate
        /// They go into further chunks, each filled up before the next, wherever words or runs end.
        case chunk
    }

    /// One at least: an empty prompt has one without tokens.
    public let chunks: [Chunk]
    /// Whether tokens were left out.
    public let isTruncated: Bool
}

extension CLIPTokenizer {
    /// The tokens of a prompt's runs, one run after the other: no word crosses from one into the next.
    ///   length  of a chunk, at least 3; nil for `maximumLength`
    /// Errors: `.invalidArgument` for another length.
    public func encode(
        _ prompt: PromptWeights, length: Int? = nil, overflow: WeightedTokens.Overflow = .truncate
    ) throws -> WeightedTokens {
        let length = try checked(length, atLeast: 3)
        let capacity = length - 2
        var ids: [Int] = []
        var weights: [Float] = []
        for run in prompt.runs {
            ids += encode(run.text)
            weights += [Float](repeating: Float(run.weight), count: ids.count - weights.count)
        }
        let last = overflow == .truncate ? 0 : max(0, ids.count - 1) / capacity
        let chunks = (0...last).map { chunk in
            let range = chunk * capacity..<min(ids.count, (chunk + 1) * capacity)
            let framed = [1] + weights[range]
            return WeightedTokens.Chunk(
                ids: self.framed(ids[range], length: length),
                weights: framed + [Float](repeating: 1, count: length - framed.count))
        }
        return WeightedTokens(chunks: chunks, isTruncated: overflow == .truncate && ids.count > capacity)
    }
}
