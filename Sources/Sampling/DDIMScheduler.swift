import Kernels

/// The non-Markovian sampler of Song et al. 2021 (DDIM), as diffusers' DDIMScheduler.
public struct DDIMScheduler: Scheduler {
    public let schedule: NoiseSchedule
    public let timesteps: [Int]
    private let config: SchedulerConfig
    private let eta: Float
    private let useClippedModelOutput: Bool
    private let stride: Int

    /// eta: 0 is deterministic, 1 has DDPM's noise.
    public init(
        _ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int = 0, eta: Float = 0,
        useClippedModelOutput: Bool = false
    ) throws {
        (self.config, self.schedule) = (config, schedule)
        (self.eta, self.useClippedModelOutput) = (eta, useClippedModelOutput)
        timesteps = try begun(spacedTimesteps(config, steps: steps), at: begin)
        stride = config.numTrainTimesteps / steps
    }

    /// With eta every step draws, the last one included.
    public func needsNoise(_ index: Int) -> Bool { eta > 0 }

    public func step(
        _ index: Int, _ input: StepInput, history: [UnsafeMutablePointer<Float>], into output: StepOutput
    ) {
        let abar = schedule.alphasCumprod
        let t = timesteps[index]
        let alpha = abar[t]
        let previous = t >= stride ? abar[t - stride] : config.setAlphaToOne ? 1 : abar[0]
        let prediction = Prediction(config.predictionType, alpha: alpha)
        prediction.x0(input, config, into: output)

        // Eq. 16 and 12.
        let variance = (1 - previous) / (1 - alpha) * (1 - alpha / previous)
        let sigma = eta == 0 ? 0 : eta * max(variance, 0).squareRoot()
        let direction = max(1 - previous - sigma * sigma, 0).squareRoot()
        let root = previous.squareRoot()
        for i in 0..<input.count {
            let x = input.sample[i]
            let epsilon =
                useClippedModelOutput
                ? (x - prediction.rootAlpha * output.x0[i]) / prediction.rootBeta
                : prediction.epsilon(x, input.prediction[i])
            output.sample[i] = root * output.x0[i] + direction * epsilon
        }
        guard eta > 0, let noise = input.noise else { return }
        for i in 0..<input.count { output.sample[i] += sigma * noise[i] }
    }
}
