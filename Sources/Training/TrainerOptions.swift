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
    /// Steps in which the learning rate rises linearly.
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
        if totalSteps > 0 && warmupSteps > totalSteps {
            throw fail("warmup_steps", warmupSteps, "at most total_steps, \(totalSteps)")
        }
    }

    /// Of step `step`, counted from 0.
    func learningRate(_ step: Int) -> Float {
        let warm = warmupSteps > 0 ? min(1, Float(step + 1) / Float(warmupSteps)) : 1
        guard totalSteps > 0 else { return learningRate * warm }
        let progress = min(1, Double(step) / Double(totalSteps))
        return learningRate * warm * Float(cosine(Double.pi * progress) / 2 + 0.5)
    }
}

/// The timesteps that are trained on: how each is drawn, and what it counts.
struct TimestepPlan {
    private let first: Int
    private let weights: [Float]  // mean 1
    private let cumulative: [Double]?  // of drawing in proportion to the weights

    init(_ options: TrainerOptions, _ schedule: NoiseSchedule, _ type: SchedulerConfig.PredictionType) {
        let range = options.timestepRange ?? 0..<schedule.numTrainTimesteps
        first = range.lowerBound
        let raw = range.map { t in
            let abar = Double(schedule.alphasCumprod[t])
            let snr = abar / max(1 - abar, 1e-12)
            switch options.weighting {
            case .uniform: return 1.0
            case .noise:
                return min(
                    max((1 / max(snr, 1e-12)).squareRoot(), Double(options.noiseRange.lowerBound)),
                    Double(options.noiseRange.upperBound))
            case .minSNR:
                // An error of x_0 is one of epsilon times sqrt(1 / SNR), and one of v times sqrt(1 / (SNR + 1)).
                let limited = min(snr, Double(options.minSNRGamma))
                switch type {
                case .sample: return limited
                case .epsilon: return limited / max(snr, 1e-12)
                case .vPrediction: return limited / (snr + 1)
                }
            }
        }
        let mean = max(raw.reduce(0, +) / Double(raw.count), 1e-30)
        var sum = 0.0
        cumulative =
            options.timesteps == .uniform
            ? nil
            : raw.map {
                sum += $0 / mean / Double(raw.count)
                return sum
            }
        weights = options.timesteps == .uniform ? raw.map { Float($0 / mean) } : raw.map { _ in 1 }
    }

    /// The timestep for a number in [0, 1).
    func timestep(_ u: Double) -> Int {
        guard let cumulative else { return first + min(Int(u * Double(weights.count)), weights.count - 1) }
        var low = 0, high = cumulative.count - 1  // the first whose sum exceeds u
        while low < high {
            let middle = (low + high) / 2
            if cumulative[middle] > u { high = middle } else { low = middle + 1 }
        }
        return first + low
    }

    func weight(_ timestep: Int) -> Float {
        weights.indices.contains(timestep - first) ? weights[timestep - first] : 0
    }
}
