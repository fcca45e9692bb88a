import Kernels

/// Schedulers that keep samples as x_0 + sigma noise: x_t of the others, divided by sqrt(abar_t).
protocol SigmaScheduler: Scheduler {
    var config: SchedulerConfig { get }
    var sigmas: Sigmas { get }
    /// The noise level of the sample at the beginning of a step.
    func sigma(_ index: Int) -> Float
}

extension SigmaScheduler {
    var timesteps: [Int] { sigmas.timesteps }
    var modelTimesteps: [Float] { sigmas.modelTimesteps }
    var initNoiseSigma: Float {
        let largest = sigmas.values.max() ?? 1
        return config.timestepSpacing == .leading ? (largest * largest + 1).squareRoot() : largest
    }
    func sigma(_ index: Int) -> Float { sigmas[index] }
    func inputScale(_ index: Int) -> Float {
        let sigma = sigma(index)
        return 1 / (sigma * sigma + 1).squareRoot()
    }
    func noiseScales(_ index: Int) -> (sample: Float, noise: Float) {
        (1, index < timesteps.count ? sigma(index) : 0)
    }
    func noiseScales(timestep: Int) -> (sample: Float, noise: Float) { (1, sigmas.training[timestep]) }

    /// The predicted x_0 at a noise level.
    func predictOriginal(at sigma: Float, _ input: StepInput, into output: StepOutput) {
        guard config.predictionType == .vPrediction else {
            Prediction(config.predictionType, rootAlpha: 1, rootBeta: sigma).x0(input, config, into: output)
            return
        }
        let square = sigma * sigma + 1
        let ofPrediction = -sigma / square.squareRoot()
        for i in 0..<input.count {
            output.x0[i] = input.prediction[i] * ofPrediction + input.sample[i] / square
        }
        config.limit(output.x0, batch: input.batch, count: input.count)
    }

    /// dx / dsigma at a noise level. As diffusers divides: its difference of large numbers must be ours.
    ///   slope   may be the input's sample
    func slope(
        at sigma: Float, _ input: StepInput, _ output: StepOutput, into slope: UnsafeMutablePointer<Float>
    ) {
        for i in 0..<input.count { slope[i] = (input.sample[i] - output.x0[i]) / sigma }
    }

    /// A step along the slope, from one noise level to another.
    func follow(from sigma: Float, to end: Float, _ input: StepInput, _ output: StepOutput) {
        let change = end - sigma
        for i in 0..<input.count {
            let x = input.sample[i]
            output.sample[i] = x + (x - output.x0[i]) / sigma * change
        }
    }
}

/// Euler's method on the probability flow ODE dx / dsigma = (x - x_0) / sigma (Karras et al. 2022, algorithm 2 without
/// churn), as diffusers' EulerDiscreteScheduler.
struct EulerDiscreteScheduler: SigmaScheduler {
    let schedule: NoiseSchedule
    let config: SchedulerConfig
    let sigmas: Sigmas

    init(_ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int) throws {
        (self.config, self.schedule) = (config, schedule)
        sigmas = try Sigmas(config, schedule, steps: steps, begin: begin)
    }

    func needsNoise(_ index: Int) -> Bool { false }

    func step(_ index: Int, _ input: StepInput, history: [UnsafeMutablePointer<Float>], into output: StepOutput) {
        let (sigma, next) = (sigmas[index], sigmas[index + 1])
        predictOriginal(at: sigma, input, into: output)
        follow(from: sigma, to: next, input, output)
    }
}

/// Euler's method to a lower noise level than the next, and noise up to that one, as diffusers'
/// EulerAncestralDiscreteScheduler.
struct EulerAncestralDiscreteScheduler: SigmaScheduler {
    let schedule: NoiseSchedule
    let config: SchedulerConfig
    let sigmas: Sigmas

    init(_ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int) throws {
        guard config.predictionType != .sample else {
            throw MCMError(
                .unsupported,
                "prediction_type is \"sample\", expected \"epsilon\" or \"v_prediction\" for "
                    + SchedulerKind.eulerAncestral.rawValue)
        }
        (self.config, self.schedule) = (config, schedule)
        sigmas = try Sigmas(config, schedule, steps: steps, begin: begin)
    }

    /// The last step draws too, and adds nothing of it.
    func needsNoise(_ index: Int) -> Bool { true }

    func step(_ index: Int, _ input: StepInput, history: [UnsafeMutablePointer<Float>], into output: StepOutput) {
        let (sigma, next) = (sigmas[index], sigmas[index + 1])
        predictOriginal(at: sigma, input, into: output)
        let up = (next * next * (sigma * sigma - next * next) / (sigma * sigma)).squareRoot()
        let down = max(next * next - up * up, 0).squareRoot()
        follow(from: sigma, to: down, input, output)
        guard let noise = input.noise else { return }
        weightedSum([Term(1, output.sample), Term(up, noise)], count: input.count, into: output.sample)
    }
}
