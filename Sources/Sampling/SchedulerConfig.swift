/// The options of a diffusers scheduler_config.json, by their names and with their defaults there, which depend on the
/// class. An option that a class does not have is at a value that does nothing.
public struct SchedulerConfig: Sendable {
    public enum BetaSchedule: String, Sendable, CaseIterable {
        case linear
        case scaledLinear = "scaled_linear"
        case squaredcosCapV2 = "squaredcos_cap_v2"
        case sigmoid
        case exp
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
    /// Which sigmas a run has: those of its timesteps, or others over the same range.
    public enum SigmaSpacing: Sendable {
        case timesteps, karras, exponential, beta
        /// Even in lambda, DPMSolverMultistep's use_lu_lambdas.
        case lu
    }
    public enum InterpolationType: String, Sendable, CaseIterable {
        case linear
        case logLinear = "log_linear"
    }
    public enum TimestepType: String, Sendable, CaseIterable {
        case discrete, continuous
    }
    public enum FinalSigmasType: String, Sendable, CaseIterable {
        case zero
        case sigmaMin = "sigma_min"
    }
    public enum AlgorithmType: String, Sendable, CaseIterable {
        case dpmSolver = "dpmsolver"
        case dpmSolverPlusPlus = "dpmsolver++"
        case sdeDPMSolver = "sde-dpmsolver"
        case sdeDPMSolverPlusPlus = "sde-dpmsolver++"

        /// Whether the solver integrates predictions of x_0, not of the noise.
        var predictsX0: Bool { self == .dpmSolverPlusPlus || self == .sdeDPMSolverPlusPlus }
        var isStochastic: Bool { self == .sdeDPMSolver || self == .sdeDPMSolverPlusPlus }
    }
    public enum SolverType: String, Sendable, CaseIterable {
        case midpoint, heun  // DPMSolverMultistep's
        case bh1, bh2  // UniPCMultistep's
        case logrho  // neither's, but accepted
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
    public var clipSample = false
    public var clipSampleRange = 1.0
    public var thresholding = false
    public var dynamicThresholdingRatio = 0.995
    public var sampleMaxValue = 1.0
    /// DDPM's.
    public var varianceType = VarianceType.fixedSmall
    /// DDIM's and PNDM's.
    public var setAlphaToOne = true
    /// PNDM's.
    public var skipPRKSteps = false
    /// Of schedulers that count in sigmas.
    public var sigmaSpacing = SigmaSpacing.timesteps
    public var sigmaMin, sigmaMax: Double?
    public var interpolationType = InterpolationType.linear
    public var timestepType = TimestepType.discrete
    public var finalSigmasType = FinalSigmasType.zero
    /// DPMSolverMultistep's and UniPCMultistep's.
    public var solverOrder = 2
    public var solverType = SolverType.midpoint
    public var lowerOrderFinal = true
    /// DPMSolverMultistep's.
    public var algorithmType = AlgorithmType.dpmSolverPlusPlus
    public var eulerAtFinal = false
    public var lambdaMinClipped = -Double.infinity
    /// UniPCMultistep's.
    public var predictX0 = true
    public var disableCorrector: Set<Int> = []
    /// LCM's.
    public var originalInferenceSteps = 50
    public var timestepScaling = 10.0

    /// The defaults of a class.
    public init(_ kind: SchedulerKind = .ddpm) {
        switch kind {
        case .ddpm, .ddim: clipSample = true
        case .pndm: setAlphaToOne = false
        case .lms, .euler, .eulerAncestral, .dpmSolverMultistep: timestepSpacing = .linspace
        case .uniPC: (timestepSpacing, solverType) = (.linspace, .bh2)
        case .heun: (betaStart, betaEnd, timestepSpacing) = (0.00085, 0.012, .linspace)
        case .lcm: (betaStart, betaEnd, betaSchedule) = (0.00085, 0.012, .scaledLinear)
        }
    }
}
