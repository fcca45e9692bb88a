import Kernels

/// Sampling from a latent consistency model (Luo et al. 2023): each step predicts x_0 and adds noise up to the next
/// timestep, as diffusers' LCMScheduler. The x_0 of a step is its denoised sample.
struct LCMScheduler: Scheduler {
    let schedule: NoiseSchedule
    let timesteps: [Int]
    private let config: SchedulerConfig

    /// Of the timesteps that the model was distilled at, or of the first share of them, `steps` at even distances.
    init(
        _ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int, strength: Double = 1
    ) throws {
        (self.config, self.schedule) = (config, schedule)
        let original = config.originalInferenceSteps
        guard (1...config.numTrainTimesteps).contains(original) else {
            throw MCMError(
                .invalidArgument,
                "original_inference_steps is \(original), expected 1 to the \(config.numTrainTimesteps) of training")
        }
        let share = try Beginning.share(strength, of: original)
        guard steps > 0, steps <= share else {
            let which = share < original ? " at a strength of \(strength)" : ""
            throw MCMError(
                .invalidArgument,
                "\(steps) steps, expected 1 to the \(share) of original_inference_steps\(which)")
        }
        let stride = config.numTrainTimesteps / original
        let step = Double(share) / Double(steps)
        let spaced = (0..<steps).map { i in (share - Int(Double(i) * step)) * stride - 1 }
        timesteps = try begun(checked(spaced, config), at: begin)
    }

    func needsNoise(_ index: Int) -> Bool { index + 1 < timesteps.count }

    func step(_ index: Int, _ input: StepInput, history: [UnsafeMutablePointer<Float>], into output: StepOutput) {
        let t = timesteps[index]
        Prediction(config.predictionType, alpha: schedule.alphasCumprod[t]).x0(input, config, into: output)

        // The boundary condition of consistency models (Song et al. 2023, appendix C) with sigma_data = 0.5.
        let scaled = Float(t) * Float(config.timestepScaling)
        let square = scaled * scaled + 0.25
        weightedSum(
            [Term(scaled / square.squareRoot(), output.x0), Term(0.25 / square, input.sample)], count: input.count,
            into: output.x0)

        guard needsNoise(index), let noise = input.noise else {
            output.sample.update(from: output.x0, count: input.count)
            return
        }
        let alpha = schedule.alphasCumprod[timesteps[index + 1]]
        weightedSum(
            [Term(alpha.squareRoot(), output.x0), Term((1 - alpha).squareRoot(), noise)], count: input.count,
            into: output.sample)
    }
}
