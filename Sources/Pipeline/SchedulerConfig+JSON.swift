import Checkpoint
import Kernels
import Sampling

/// Which arithmetic a run uses.
public enum SchedulerKind: Sendable {
    case ddpm, ddim
}

extension SchedulerConfig {
    /// Reads a scheduler_config.json. Options of one scheduler are accepted for the other, as in diffusers'
    /// from_config.
    public init(_ json: JSONObject) throws {
        self.init()
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
        rescaleBetasZeroSNR = try json.bool("rescale_betas_zero_snr", default: false)
        predictionType = try json.choice("prediction_type", default: predictionType)
        timestepSpacing = try json.choice("timestep_spacing", default: timestepSpacing)
        stepsOffset = try json.int("steps_offset", default: 0, in: 0...(1 << 20))
        clipSample = try json.bool("clip_sample", default: true)
        clipSampleRange = try json.double("clip_sample_range", default: 1, in: 0...1e6)
        thresholding = try json.bool("thresholding", default: false)
        dynamicThresholdingRatio = try json.double("dynamic_thresholding_ratio", default: 0.995, in: 0...1)
        sampleMaxValue = try json.double("sample_max_value", default: 1, in: 1e-6...1e6)
        varianceType = try json.choice("variance_type", default: varianceType)
        setAlphaToOne = try json.bool("set_alpha_to_one", default: true)
        try json.rejectUnknown(harmless: ["skip_prk_steps"])  // PNDM's
    }
}

extension SchedulerKind {
    /// The kind that a config's "_class_name" names.
    init(_ json: JSONObject) throws {
        let names: [String: SchedulerKind] = ["DDPMScheduler": .ddpm, "DDIMScheduler": .ddim]
        guard let kind = names[try json.string("_class_name")] else {
            throw json.error("_class_name", expected: "\"DDPMScheduler\" or \"DDIMScheduler\"", kind: .unsupported)
        }
        self = kind
    }
}
