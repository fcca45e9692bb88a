/// Heun's method on the probability flow ODE (Karras et al. 2022, algorithm 1 without churn), as diffusers'
/// HeunDiscreteScheduler: every step but the last is two evaluations, one at its beginning and one at its end.
struct HeunDiscreteScheduler: SigmaScheduler {
    let schedule: NoiseSchedule
    let config: SchedulerConfig
    let sigmas: Sigmas
    let timesteps: [Int]
    let modelTimesteps: [Float]
    /// The sample at the step's beginning, and the slope dx / dsigma there.
    let historyCount = 2

    init(_ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int) throws {
        (self.config, self.schedule) = (config, schedule)
        let sigmas = try Sigmas(config, schedule, steps: steps, begin: begin)
        self.sigmas = sigmas
        let order = (0..<(2 * sigmas.count - 1)).map { ($0 + 1) / 2 }
        timesteps = order.map { sigmas.timesteps[$0] }
        modelTimesteps = order.map { sigmas.modelTimesteps[$0] }
    }

    func needsNoise(_ index: Int) -> Bool { false }
    func sigma(_ index: Int) -> Float { sigmas[(index + 1) / 2] }

    func step(_ index: Int, _ input: StepInput, history: [UnsafeMutablePointer<Float>], into output: StepOutput) {
        let (start, end) = (sigmas[index / 2], sigmas[index / 2 + 1])
        if index % 2 == 0 {
            predictOriginal(at: start, input, into: output)
            history[0].update(from: input.sample, count: input.count)
            slope(at: start, input, output, into: history[1])
            follow(from: start, to: end, input, output)
        } else {
            predictOriginal(at: end, input, into: output)
            slope(at: end, input, output, into: output.sample)
            // The mean slope.
            weightedSum(
                [Term(0.5, history[1]), Term(0.5, output.sample)], count: input.count, into: output.sample)
            weightedSum(
                [Term(1, history[0]), Term(end - start, output.sample)], count: input.count, into: output.sample)
        }
    }
}
