import Glibc
import Kernels

/// A noise level as the multistep solvers see it: x_t = alpha x_0 + sigma noise with alpha^2 + sigma^2 = 1, and
/// lambda = log(alpha / sigma). In float32 and diffusers' order, since differences of lambda cancel.
struct NoiseLevel {
    let alpha, sigma, lambda: Float

    /// From sigma / alpha.
    init(_ ratio: Float) {
        alpha = 1 / (ratio * ratio + 1).squareRoot()
        sigma = ratio * alpha
        // Rounded once, which torch's logarithms mostly are.
        lambda = Float(Glibc.log(Double(alpha))) - Float(Glibc.log(Double(sigma)))
    }
}

/// DPM-Solver and DPM-Solver++ (Lu et al. 2022), multistep, and their stochastic forms, as diffusers'
/// DPMSolverMultistepScheduler.
struct DPMSolverMultistepScheduler: Scheduler {
    let schedule: NoiseSchedule
    private let config: SchedulerConfig
    private let sigmas: Sigmas
    /// Where each step begins, and where the last one ends.
    private let levels: [NoiseLevel]

    init(_ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int) throws {
        (self.config, self.schedule) = (config, schedule)
        guard config.algorithmType.predictsX0 || config.finalSigmasType == .sigmaMin else {
            throw MCMError(
                .unsupported,
                "final_sigmas_type is \"zero\", expected \"sigma_min\" for the algorithm_type "
                    + "\"\(config.algorithmType.rawValue)\"")
        }
        guard (1...3).contains(config.solverOrder), config.algorithmType != .sdeDPMSolver || config.solverOrder < 3
        else {
            throw MCMError(
                .unsupported,
                "solver_order is \(config.solverOrder), expected 1 to \(config.algorithmType == .sdeDPMSolver ? 2 : 3)")
        }
        sigmas = try Sigmas(multistep: config, schedule, steps: steps, begin: begin, kind: .dpmSolverMultistep)
        if config.solverOrder > 1 { try sigmas.checkFalling() }
        levels = sigmas.values.dropFirst(begin).map { NoiseLevel($0) }
    }

    var timesteps: [Int] { sigmas.timesteps }
    func noiseScales(_ index: Int) -> (sample: Float, noise: Float) {
        index < timesteps.count ? (levels[index].alpha, levels[index].sigma) : (1, 0)
    }
    /// The predictions of the last steps, that of step i in place i % solverOrder.
    var historyCount: Int { config.solverOrder }

    func needsNoise(_ index: Int) -> Bool { config.algorithmType.isStochastic }

    /// The first steps know fewer predictions; the last ones are more stable at a lower order.
    private func order(_ index: Int) -> Int {
        // The last step may go nowhere, and higher orders divide by its length.
        if levels[index + 1].lambda == levels[index].lambda { return 1 }
        let (left, isShort) = (sigmas.count - index, sigmas.begin + sigmas.count < 15)
        if left == 1, config.eulerAtFinal || config.lowerOrderFinal && isShort || config.finalSigmasType == .zero {
            return 1
        }
        let available = min(config.solverOrder, index + 1)
        return left == 2 && config.lowerOrderFinal && isShort ? min(available, 2) : available
    }

    func step(_ index: Int, _ input: StepInput, history: [UnsafeMutablePointer<Float>], into output: StepOutput) {
        let (s0, t) = (levels[index], levels[index + 1])
        let prediction = Prediction(config.predictionType, rootAlpha: s0.alpha, rootBeta: s0.sigma)
        prediction.x0(input, config, into: output)
        let current = history[index % historyCount]
        if config.algorithmType.predictsX0 {
            current.update(from: output.x0, count: input.count)
        } else if config.thresholding {
            weightedSum(
                [Term(1 / s0.sigma, input.sample), Term(-s0.alpha / s0.sigma, output.x0)], count: input.count,
                into: current)
        } else {
            for i in 0..<input.count { current[i] = prediction.epsilon(input.sample[i], input.prediction[i]) }
        }

        let h = t.lambda - s0.lambda
        let c = coefficients(s0, t, h)
        var terms = [Term(c.sample, input.sample)]
        func past(_ k: Int) -> UnsafeMutablePointer<Float> { history[(index - k) % historyCount] }
        let order = order(index)
        // x_t = c.sample x + c.zero D0 + c.one D1 + c.two D2, where D0 = m0 and the others are differences of the
        // predictions m0, m1, m2 (backwards in time).
        switch order {
        case 1: terms.append(Term(c.zero, current))
        case 2:
            let r0 = (s0.lambda - levels[index - 1].lambda) / h
            let one = (config.solverType == .heun ? c.one : 0.5 * c.zero) * (1 / r0)
            terms += [Term(c.zero + one, current), Term(-one, past(1))]
        default:
            let (s1, s2) = (levels[index - 1], levels[index - 2])
            let (r0, r1) = ((s0.lambda - s1.lambda) / h, (s1.lambda - s2.lambda) / h)
            // D1 = (1 + q) d0 - q d1 and D2 = (d0 - d1) / (r0 + r1), of d0 = (m0 - m1) / r0 and d1 = (m1 - m2) / r1.
            let q = r0 / (r0 + r1)
            let change = c.one * q + c.two * (1 / (r0 + r1))
            let (d0, d1) = ((c.one + change) * (1 / r0), -change * (1 / r1))
            terms += [Term(c.zero + d0, current), Term(d1 - d0, past(1)), Term(-d1, past(2))]
        }
        if let noise = input.noise, config.algorithmType.isStochastic { terms.append(Term(c.noise, noise)) }
        weightedSum(terms, count: input.count, into: output.sample)
    }

    /// What the sample, D0, D1 and D2 weigh, and the noise. The second order has `one` if the solver is Heun's,
    /// otherwise half of `zero`.
    private func coefficients(
        _ s0: NoiseLevel, _ t: NoiseLevel, _ h: Float
    ) -> (sample: Float, zero: Float, one: Float, two: Float, noise: Float) {
        switch config.algorithmType {
        case .dpmSolverPlusPlus:
            let e = rounded(exp, -h)
            return (
                t.sigma / s0.sigma, -(t.alpha * (e - 1)), t.alpha * ((e - 1) / h + 1),
                -(t.alpha * ((e - 1 + h) / (h * h) - 0.5)), 0
            )
        case .dpmSolver:
            let e = rounded(exp, h)
            return (
                t.alpha / s0.alpha, -(t.sigma * (e - 1)), -(t.sigma * ((e - 1) / h - 1)),
                -(t.sigma * ((e - 1 - h) / (h * h) - 0.5)), 0
            )
        case .sdeDPMSolverPlusPlus:
            let e = rounded(exp, -2 * h)
            return (
                t.sigma / s0.sigma * rounded(exp, -h), t.alpha * (1 - e), t.alpha * ((1 - e) / (-2 * h) + 1),
                t.alpha * ((1 - e - 2 * h) / (2 * h * (2 * h)) - 0.5), t.sigma * (1 - e).squareRoot()
            )
        case .sdeDPMSolver:
            let e = rounded(exp, h)
            return (
                t.alpha / s0.alpha, -2 * (t.sigma * (e - 1)), -2 * (t.sigma * ((e - 1) / h - 1)), 0,
                t.sigma * (rounded(exp, 2 * h) - 1).squareRoot()
            )
        }
    }
}

/// A function's float32 value, rounded once.
func rounded(_ function: (Double) -> Double, _ x: Float) -> Float { Float(function(Double(x))) }
