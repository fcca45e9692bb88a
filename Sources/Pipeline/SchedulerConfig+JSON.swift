import Checkpoint
import Kernels
import Sampling

extension SchedulerConfig {
    /// Reads a scheduler_config.json as diffusers' from_config does for a class, which may be another than the file's:
    /// options that the class does not have are left out, and those that the file does not have are at the class's
    /// defaults.
    public init(_ json: JSONObject, for kind: SchedulerKind) throws {
        self.init(kind)
        let foreign = SchedulerKind.allCases.reduce(into: Set<String>()) { $0.formUnion($1.options) }
            .subtracting(kind.options)
        let own = try JSONObject(.object(json.members.filter { !foreign.contains($0.key) }), name: json.name)
        try readShared(own)
        try readClipping(own)
        try readSigmas(own)
        try readSolvers(own, kind)
        try own.rejectUnknown()
    }

    /// Reads an object whose "_class_name" says which class it is for.
    public init(_ json: JSONObject) throws { try self.init(json, for: SchedulerKind(json)) }

    private mutating func readShared(_ json: JSONObject) throws {
        numTrainTimesteps = try json.int("num_train_timesteps", default: numTrainTimesteps, in: 1...(1 << 20))
        betaStart = try json.double("beta_start", default: betaStart, in: 0...1)
        betaEnd = try json.double("beta_end", default: betaEnd, in: 0...1)
        betaSchedule = try json.choice("beta_schedule", default: betaSchedule)
        if json.has("trained_betas") {
            let betas = try json.doubles("trained_betas", in: 0...1)
            // In diffusers the betas count and num_train_timesteps only names the range of timesteps.
            guard betas.count >= numTrainTimesteps else {
                throw json.error("trained_betas", expected: "at least \(numTrainTimesteps) numbers")
            }
            trainedBetas = betas
        }
        _ = json.value("trained_betas")
        rescaleBetasZeroSNR = try json.bool("rescale_betas_zero_snr", default: rescaleBetasZeroSNR)
        predictionType = try json.choice("prediction_type", default: predictionType)
        timestepSpacing = try json.choice("timestep_spacing", default: timestepSpacing)
        stepsOffset = try json.int("steps_offset", default: stepsOffset, in: 0...(1 << 20))
        // null is DPMSolverMultistep's default.
        if json.has("variance_type") { varianceType = try json.choice("variance_type", default: varianceType) }
        _ = json.value("variance_type")
        setAlphaToOne = try json.bool("set_alpha_to_one", default: setAlphaToOne)
    }

    private mutating func readClipping(_ json: JSONObject) throws {
        clipSample = try json.bool("clip_sample", default: clipSample)
        clipSampleRange = try json.double("clip_sample_range", default: clipSampleRange, in: 0...1e6)
        thresholding = try json.bool("thresholding", default: thresholding)
        dynamicThresholdingRatio = try json.double(
            "dynamic_thresholding_ratio", default: dynamicThresholdingRatio, in: 0...1)
        sampleMaxValue = try json.double("sample_max_value", default: sampleMaxValue, in: 1e-6...1e6)
    }

    private mutating func readSigmas(_ json: JSONObject) throws {
        let spacings: KeyValuePairs<String, SigmaSpacing> = [
            "use_karras_sigmas": .karras, "use_lu_lambdas": .lu, "use_exponential_sigmas": .exponential,
            "use_beta_sigmas": .beta,
        ]
        let asked = try spacings.filter { key, _ in try json.optionalBool(key) ?? false }
        guard asked.count <= 1 else {
            throw json.error(asked[1].key, expected: "false beside \"\(asked[0].key)\"", kind: .unsupported)
        }
        if let spacing = asked.first { sigmaSpacing = spacing.value }
        sigmaMin = try json.optionalDouble("sigma_min", in: 1e-10...1e10)
        sigmaMax = try json.optionalDouble("sigma_max", in: 1e-10...1e10)
        interpolationType = try json.choice("interpolation_type", default: interpolationType)
        timestepType = try json.choice("timestep_type", default: timestepType)
        finalSigmasType = try json.choice("final_sigmas_type", default: finalSigmasType)
    }

    private mutating func readSolvers(_ json: JSONObject, _ kind: SchedulerKind) throws {
        skipPRKSteps = try json.bool("skip_prk_steps", default: skipPRKSteps)
        originalInferenceSteps = try json.int(
            "original_inference_steps", default: originalInferenceSteps, in: 1...(1 << 20))
        timestepScaling = try json.double("timestep_scaling", default: timestepScaling, in: 0...1e6)

        solverOrder = try json.int("solver_order", default: solverOrder, in: 1...3)
        solverType = try json.choice("solver_type", default: solverType)
        // As in diffusers, one solver's type is the default of another.
        let own: [SolverType] = kind == .uniPC ? [.bh1, .bh2] : [.midpoint, .heun]
        if !own.contains(solverType) { solverType = SchedulerConfig(kind).solverType }
        lowerOrderFinal = try json.bool("lower_order_final", default: lowerOrderFinal)
        eulerAtFinal = try json.bool("euler_at_final", default: eulerAtFinal)
        lambdaMinClipped = try json.double("lambda_min_clipped", default: lambdaMinClipped)
        // DEIS's is the default, as in diffusers.
        if json.value("algorithm_type") != .string("deis") {
            algorithmType = try json.choice("algorithm_type", default: algorithmType)
        }
        predictX0 = try json.bool("predict_x0", default: predictX0)
        disableCorrector = Set(try json.ints("disable_corrector", default: []))

        // Of flow matching, which no model here uses; its other options only matter with these.
        for key in ["use_flow_sigmas", "use_dynamic_shifting"] where try json.bool(key, default: false) {
            throw json.error(key, expected: "false", kind: .unsupported)
        }
        ["flow_shift", "time_shift_type"].forEach { _ = json.value($0) }
    }
}

extension SchedulerKind {
    /// The kind that a config's "_class_name" names.
    init(_ json: JSONObject) throws {
        guard let kind = SchedulerKind(rawValue: try json.string("_class_name")) else {
            let known = SchedulerKind.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: " or ")
            throw json.error("_class_name", expected: known, kind: .unsupported)
        }
        self = kind
    }
}
