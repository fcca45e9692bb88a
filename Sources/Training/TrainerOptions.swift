import Glibc
import Kernels
import Sampling

/// How a module is trained.
public struct TrainerOptions: Sendable, Equatable {
    /// What a prediction's squared error counts, by the timestep. The paper does not say.
    public enum Weighting: String, Sendable, CaseIterable {
        /// The same everywhere.
        case uniform
        /// min(SNR, gamma), as its error counts for x_0 (Hang et al. 2023).
        case minSNR = "min_snr"
        /// sqrt((1 - abar) / abar), clipped: high noise, where layout is decided and the error of epsilon is tiny, counts
        /// more.
        case noise
    }

    /// How timesteps are drawn.
    public enum Timesteps: String, Sendable, CaseIterable {
        /// Evenly, and weighted by `weighting`.
        case uniform
        /// In proportion to `weighting`, and not weighted: the same expected gradient.
        case weighted
    }

    public var learningRate: Float = 2e-3
    /// Of matrices and kernels; biases and norms do not decay.
    public var weightDecay: Float = 1e-4
    public var beta1: Float = 0.9
    public var beta2: Float = 0.999
    public var epsilon: Float = 1e-8
    /// Of the whole gradient; 0 for no clipping.
    public var clipNorm: Float = 1
    /// 0 for none.
    public var emaDecay: Float = 0.999
    /// Steps in which the learning rate rises linearly; at most all of them.
    public var warmupSteps = 200
    /// The step at which the learning rate has fallen to 0 along a cosine; 0 for a constant rate.
    public var totalSteps = 0
    public var weighting = Weighting.noise
    public var minSNRGamma: Float = 5
    public var noiseRange: ClosedRange<Float> = 0.3...10
    public var timesteps = Timesteps.uniform
    /// Timesteps that are drawn; nil for all.
    public var timestepRange: Range<Int>?
    /// How often each modality is withheld; one for all, or one per modality.
    public var dropout: [Float] = [0.3]
    public var seed: UInt64 = 0
    /// Of several processes that share each step: which this is, of how many. They draw different examples' noise.
    public var rank = 0
    public var world = 1

    public init() {}

    /// Throws `.invalidArgument` for what cannot be.
    func check(modalities: Int, numTrainTimesteps: Int) throws {
        func fail(_ name: String, _ found: Any, _ expected: String) -> MCMError {
            MCMError(.invalidArgument, "trainer options: \(name) is \(found), expected \(expected)")
        }
        for (name, value, range) in [
            ("learning_rate", learningRate, 0...10), ("weight_decay", weightDecay, 0...10),
            ("beta1", beta1, 0...0.9999),
            ("beta2", beta2, 0...0.99999), ("epsilon", epsilon, 1e-20...1), ("clip_norm", clipNorm, 0...1e9),
            ("ema_decay", emaDecay, 0...0.99999), ("min_snr_gamma", minSNRGamma, 1e-3...1e6),
        ] as [(String, Float, ClosedRange<Float>)] where !range.contains(value) {
            throw fail(name, value, "\(range.lowerBound) to \(range.upperBound)")
        }
        guard noiseRange.lowerBound > 0, noiseRange.upperBound.isFinite else {
            throw fail("noise_weight", "\(noiseRange.lowerBound) to \(noiseRange.upperBound)", "positive numbers")
        }
        guard dropout.count == 1 || dropout.count == modalities else {
            throw fail("dropout_count", dropout.count, "1 or the number of modalities, \(modalities)")
        }
        for value in dropout where !(0...1).contains(value) { throw fail("dropout", value, "0 to 1") }
        if let range = timestepRange, range.isEmpty || range.lowerBound < 0 || range.upperBound > numTrainTimesteps {
            throw fail(
                "the range of timesteps", "\(range.lowerBound) to \(range.upperBound)",
                "a part of 0 to \(numTrainTimesteps)")
        }
        guard (1...65536).contains(world), (0..<world).contains(rank) else {
            throw fail("rank", "\(rank) of \(world)", "0 to world - 1 of 1 to 65536")
        }
        guard warmupSteps >= 0, totalSteps >= 0 else { throw fail("a number of steps", "negative", "0 or more") }
    }

    /// Of step `step`, counted from 0.
    func learningRate(_ step: Int) -> Float {
        let warmup = totalSteps > 0 ? min(warmupSteps, totalSteps) : warmupSteps
        let warm = warmup > 0 ? min(1, Float(step + 1) / Float(warmup)) : 1
        guard totalSteps > 0 else { return learningRate * warm }
        let progress = min(1, Double(step) / Double(totalSteps))
        return learningRate * warm * Float(cos(Double.pi * progress) / 2 + 0.5)
    }
}
