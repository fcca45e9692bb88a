import Kernels

/// The schedulers that a model folder may name and a run may ask for, by their names in diffusers.
public enum SchedulerKind: String, Sendable, CaseIterable {
    case ddpm = "DDPMScheduler"
    case ddim = "DDIMScheduler"
    case pndm = "PNDMScheduler"
    case lms = "LMSDiscreteScheduler"
    case euler = "EulerDiscreteScheduler"
    case eulerAncestral = "EulerAncestralDiscreteScheduler"
    case heun = "HeunDiscreteScheduler"
    case dpmSolverMultistep = "DPMSolverMultistepScheduler"
    case uniPC = "UniPCMultistepScheduler"
    case lcm = "LCMScheduler"

    /// Steps of diffusers' pipelines, unless they are told.
    public var defaultSteps: Int {
        switch self {
        case .ddpm: 1000
        case .lcm: 4
        default: 50
        }
    }

    /// The options that diffusers' class has beside those that all share. Those of other classes mean nothing to it.
    public var options: Set<String> {
        let clipping: Set = ["clip_sample", "clip_sample_range"]
        let thresholding: Set = ["thresholding", "dynamic_thresholding_ratio", "sample_max_value"]
        let spacing: Set = [
            "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "sigma_min", "sigma_max",
        ]
        let multistep: Set = [
            "solver_order", "solver_type", "lower_order_final", "final_sigmas_type", "rescale_betas_zero_snr",
            "use_flow_sigmas", "flow_shift", "use_dynamic_shifting", "time_shift_type",
        ]
        switch self {
        case .ddpm: return clipping.union(thresholding).union(["rescale_betas_zero_snr"])
        case .ddim: return clipping.union(thresholding).union(["rescale_betas_zero_snr", "set_alpha_to_one"])
        case .pndm: return ["skip_prk_steps", "set_alpha_to_one"]
        case .lms: return spacing
        case .euler:
            return spacing.union([
                "interpolation_type", "timestep_type", "final_sigmas_type", "rescale_betas_zero_snr",
            ])
        case .eulerAncestral: return ["rescale_betas_zero_snr"]
        case .heun: return clipping.union(spacing)
        case .dpmSolverMultistep:
            return thresholding.union(spacing).union(multistep).union([
                "algorithm_type", "euler_at_final", "use_lu_lambdas", "lambda_min_clipped",
            ])
        case .uniPC:
            return thresholding.union(spacing).union(multistep).union([
                "predict_x0", "disable_corrector", "solver_p", "shift_terminal",
            ])
        case .lcm:
            return clipping.union(thresholding).union([
                "original_inference_steps", "timestep_scaling", "rescale_betas_zero_snr",
            ])
        }
    }

    /// A run of `steps` steps, 0 for the default, or of those that a later beginning leaves of them.
    ///   eta   DDIM's share of noise, 0...1
    public func scheduler(
        _ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, eta: Float = 0,
        from beginning: Beginning = .first
    ) throws -> any Scheduler {
        guard eta >= 0, eta <= 1 else { throw MCMError(.invalidArgument, "eta is \(eta), expected 0 to 1") }
        guard eta == 0 || self == .ddim else {
            throw MCMError(.invalidArgument, "eta is \(eta), expected 0 for a \(rawValue)")
        }
        let steps = steps > 0 ? steps : min(defaultSteps, config.numTrainTimesteps)
        let begin = try beginning.stepsLeftOut(of: steps)
        var strength = 1.0
        if case .distilledStrength(let share) = beginning {
            guard self == .lcm else {
                throw MCMError(
                    .invalidArgument,
                    "a strength of distilled timesteps is for an LCMScheduler, not a \(rawValue)")
            }
            strength = share
        }
        switch self {
        case .ddpm: return try DDPMScheduler(config, schedule, steps: steps, begin: begin)
        case .ddim: return try DDIMScheduler(config, schedule, steps: steps, begin: begin, eta: eta)
        case .pndm: return try PNDMScheduler(config, schedule, steps: steps, begin: begin)
        case .lms: return try LMSDiscreteScheduler(config, schedule, steps: steps, begin: begin)
        case .euler: return try EulerDiscreteScheduler(config, schedule, steps: steps, begin: begin)
        case .eulerAncestral: return try EulerAncestralDiscreteScheduler(config, schedule, steps: steps, begin: begin)
        case .heun: return try HeunDiscreteScheduler(config, schedule, steps: steps, begin: begin)
        case .dpmSolverMultistep: return try DPMSolverMultistepScheduler(config, schedule, steps: steps, begin: begin)
        case .uniPC: return try UniPCMultistepScheduler(config, schedule, steps: steps, begin: begin)
        case .lcm: return try LCMScheduler(config, schedule, steps: steps, begin: begin, strength: strength)
        }
    }
}
