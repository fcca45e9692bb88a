/// The linear multistep method of order four on the probability flow ODE, as diffusers' LMSDiscreteScheduler.
struct LMSDiscreteScheduler: SigmaScheduler {
    let schedule: NoiseSchedule
    let config: SchedulerConfig
    let sigmas: Sigmas
    /// The last four slopes dx / dsigma, that of step i in place i % 4.
    let historyCount = 4

    init(_ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int) throws {
        (self.config, self.schedule) = (config, schedule)
        var config = config
        // In diffusers only the Karras sigmas of this class know no limits.
        if config.sigmaSpacing == .karras { (config.sigmaMin, config.sigmaMax) = (nil, nil) }
        sigmas = try Sigmas(config, schedule, steps: steps, begin: begin)
        try sigmas.checkFalling()
    }

    func needsNoise(_ index: Int) -> Bool { false }

    func step(_ index: Int, _ input: StepInput, history: [UnsafeMutablePointer<Float>], into output: StepOutput) {
        let sigma = sigmas[index]
        predictOriginal(at: sigma, input, into: output)
        slope(at: sigma, input, output, into: history[index % historyCount])
        let slopes = coefficients(index).prefix(index + 1).enumerated().map { k, weight in
            Term(weight, history[(index - k) % historyCount])
        }
        weightedSum(slopes + [Term(1, input.sample)], count: input.count, into: output.sample)
    }

    /// What the slopes of steps index, index - 1 ... weigh: the integrals over the step of the polynomials that are 1
    /// at one of their sigmas and 0 at the others. Two points of Gauss's rule are exact for cubics.
    ///
    /// As in diffusers, the order counts steps that were left out too: in a run begun later the first three steps lack
    /// slopes that their coefficients are meant for, so that together they are longer or shorter than they should be.
    private func coefficients(_ index: Int) -> [Float] {
        let order = min(sigmas.begin + index + 1, historyCount)
        let nodes = (0..<order).map { Double(sigmas[index - $0]) }
        let (start, end) = (Double(sigmas[index]), Double(sigmas[index + 1]))
        let (middle, half) = ((start + end) / 2, (end - start) / 2)
        return (0..<order).map { k in
            let values = [-1, 1].map { sign in
                let x = middle + sign * half / 3.0.squareRoot()
                return nodes.indices.reduce(1.0) { $1 == k ? $0 : $0 * (x - nodes[$1]) / (nodes[k] - nodes[$1]) }
            }
            return Float(half * (values[0] + values[1]))
        }
    }
}
