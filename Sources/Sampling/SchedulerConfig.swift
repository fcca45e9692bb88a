/// The options of a diffusers scheduler_config.json, by their names and with their defaults there.
public struct SchedulerConfig: Sendable {
    public enum BetaSchedule: String, Sendable, CaseIterable {
        case linear
        case scaledLinear = "scaled_linear"
        case squaredcosCapV2 = "squaredcos_cap_v2"
        case sigmoid
    }
    public enum PredictionType: String, Sendable, CaseIterable {
        case epsilon, sample
        case vPrediction = "v_prediction"
    }
    public enum TimestepSpacing: String, Sendable, CaseIterable {
        case leading, trailing, linspace
    }
    public enum VarianceType: String, Sendable, CaseIterable {
        case fixedSmall = "fixed_small"
        case fixedSmallLog = "fixed_small_log"
        case fixedLarge = "fixed_large"
        case learned
        case learnedRange = "learned_range"

        public var isLearned: Bool { self == .learned || self == .learnedRange }
    }

    public var numTrainTimesteps = 1000
    public var betaStart = 0.0001
    public var betaEnd = 0.02
    public var betaSchedule = BetaSchedule.linear
    public var trainedBetas: [Double]?
    public var rescaleBetasZeroSNR = false
    public var predictionType = PredictionType.epsilon
    public var timestepSpacing = TimestepSpacing.leading
    public var stepsOffset = 0
    public var clipSample = true
    public var clipSampleRange = 1.0
    public var thresholding = false
    public var dynamicThresholdingRatio = 0.995
    public var sampleMaxValue = 1.0
    /// DDPM's.
    public var varianceType = VarianceType.fixedSmall
    /// DDIM's.
    public var setAlphaToOne = true

    public init() {}
}
