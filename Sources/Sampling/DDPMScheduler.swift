import Glibc
import Kernels

/// Ancestral sampling of Ho et al. 2020 (DDPM), as diffusers' DDPMScheduler.
public struct DDPMScheduler: Scheduler {
    public let schedule: NoiseSchedule
    public let timesteps: [Int]
    private let config: SchedulerConfig

    public init(_ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int = 0) throws {
        (self.config, self.schedule) = (config, schedule)
        timesteps = try begun(spacedTimesteps(config, steps: steps), at: begin)
    }

    public func needsNoise(_ index: Int) -> Bool { timesteps[index] > 0 }

    public func step(
        _ index: Int, _ input: StepInput, history: [UnsafeMutablePointer<Float>], into output: StepOutput
    ) {
        let alpha = schedule.alphasCumprod[timesteps[index]]
        let previous = index + 1 < timesteps.count ? schedule.alphasCumprod[timesteps[index + 1]] : 1
        let beta = 1 - alpha
        let currentAlpha = alpha / previous
        let currentBeta = 1 - currentAlpha

        let prediction = Prediction(config.predictionType, alpha: alpha)
        prediction.x0(input, config, into: output)

        // The mean of q(x_{t-1} | x_t, x_0), eq. 7.
        let a = previous.squareRoot() * currentBeta / beta
        let b = currentAlpha.squareRoot() * (1 - previous) / beta
        for i in 0..<input.count { output.sample[i] = a * output.x0[i] + b * input.sample[i] }

        guard needsNoise(index), let noise = input.noise else { return }
        let posterior = max((1 - previous) / beta * currentBeta, 1e-20)
        switch config.varianceType {
        case .fixedSmall: add(posterior.squareRoot())
        case .fixedSmallLog: add(exp(0.5 * log(posterior)))
        case .fixedLarge: add(currentBeta.squareRoot())
        case .learned:
            guard let variance = input.variance else { return }
            for i in 0..<input.count { output.sample[i] += variance[i].squareRoot() * noise[i] }
        case .learnedRange:
            // Nichol and Dhariwal 2021, eq. 15.
            guard let variance = input.variance else { return }
            let low = log(posterior), high = log(currentBeta)
            for i in 0..<input.count {
                let share = (variance[i] + 1) / 2
                output.sample[i] += exp(0.5 * (share * high + (1 - share) * low)) * noise[i]
            }
        }

        func add(_ sigma: Float) {
            for i in 0..<input.count { output.sample[i] += sigma * noise[i] }
        }
    }
}
