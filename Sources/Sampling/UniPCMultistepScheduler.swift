import Glibc
import Kernels

/// The unified predictor-corrector of Zhao et al. 2023, as diffusers' UniPCMultistepScheduler. A step's prediction
/// first corrects the sample that the step before has predicted, then predicts the next one.
struct UniPCMultistepScheduler: Scheduler {
    let schedule: NoiseSchedule
    private let config: SchedulerConfig
    private let sigmas: Sigmas
    /// Where each step begins, and where the last one ends.
    private let levels: [NoiseLevel]

    init(_ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int) throws {
        (self.config, self.schedule) = (config, schedule)
        // At sigma = 0 only the first order of x_0 is finite.
        guard
            config.finalSigmasType == .sigmaMin
                || config.predictX0 && (config.lowerOrderFinal || config.solverOrder == 1)
        else {
            throw MCMError(
                .unsupported,
                "final_sigmas_type is \"zero\", expected \"sigma_min\" unless predict_x0 and lower_order_final are true"
            )
        }
        sigmas = try Sigmas(multistep: config, schedule, steps: steps, begin: begin, kind: .uniPC)
        if config.solverOrder > 1 { try sigmas.checkFalling() }
        levels = sigmas.values.dropFirst(begin).map { NoiseLevel($0) }
    }

    var timesteps: [Int] { sigmas.timesteps }
    func noiseScales(_ index: Int) -> (sample: Float, noise: Float) {
        index < timesteps.count ? (levels[index].alpha, levels[index].sigma) : (1, 0)
    }
    /// The predictions of this step and the solverOrder before it, that of step i in place i % (solverOrder + 1); then
    /// the corrected samples of this step and the one before.
    var historyCount: Int { config.solverOrder + 3 }

    func needsNoise(_ index: Int) -> Bool { false }

    private func order(_ index: Int) -> Int {
        // The last step may go nowhere, and higher orders divide by its length.
        if levels[index + 1].lambda == levels[index].lambda { return 1 }
        let left = config.lowerOrderFinal ? sigmas.count - index : config.solverOrder
        return min(config.solverOrder, left, index + 1)
    }

    func step(_ index: Int, _ input: StepInput, history: [UnsafeMutablePointer<Float>], into output: StepOutput) {
        let level = levels[index]
        let prediction = Prediction(config.predictionType, rootAlpha: level.alpha, rootBeta: level.sigma)
        prediction.x0(input, config, into: output)
        func model(_ i: Int) -> UnsafeMutablePointer<Float> { history[i % (config.solverOrder + 1)] }
        func corrected(_ i: Int) -> UnsafeMutablePointer<Float> { history[config.solverOrder + 1 + i % 2] }
        if config.predictX0 {
            model(index).update(from: output.x0, count: input.count)
        } else {
            for i in 0..<input.count { model(index)[i] = prediction.epsilon(input.sample[i], input.prediction[i]) }
        }

        if index > 0, !config.disableCorrector.contains(sigmas.begin + index - 1) {
            let order = order(index - 1)
            let c = coefficients(from: index - 1, order: order, corrects: true)
            weightedSum(
                [Term(c.sample, corrected(index - 1))]
                    + c.models.enumerated().map { Term($1, model(index - 1 - $0)) } + [Term(c.next, model(index))],
                count: input.count, into: corrected(index))
        } else {
            corrected(index).update(from: input.sample, count: input.count)
        }

        let c = coefficients(from: index, order: order(index), corrects: false)
        weightedSum(
            [Term(c.sample, corrected(index))] + c.models.enumerated().map { Term($1, model(index - $0)) },
            count: input.count, into: output.sample)
    }

    /// What weighs in the step from levels[i] to the next: the sample at i, the predictions at i, i - 1 ... (`order` of
    /// them), and for the corrector the one at i + 1. Eq. 3 and 9 of the paper, in float32 and diffusers' order.
    private func coefficients(
        from i: Int, order: Int, corrects: Bool
    ) -> (sample: Float, models: [Float], next: Float) {
        let (s0, t) = (levels[i], levels[i + 1])
        let h = t.lambda - s0.lambda
        let ratios = (1..<max(order, 1)).map { (levels[i - $0].lambda - s0.lambda) / h }
        let hh = config.predictX0 ? -h : h
        let phi = rounded(expm1, hh)
        let b = config.solverType == .bh1 ? hh : phi
        let (outer, sample) =
            config.predictX0 ? (t.alpha, t.sigma / s0.sigma) : (t.sigma, t.alpha / s0.alpha)

        // How much each difference (m_k - m_0) / ratio counts, and the corrector's m_next - m_0.
        let rho: [Float]
        switch (corrects, order) {
        case (false, 1): rho = []
        case (false, 2), (true, 1): rho = [0.5]
        default:
            let unknowns = corrects ? order : order - 1
            let nodes = Array((ratios + [1]).prefix(unknowns))
            var rows: [[Float]] = [], right: [Float] = []
            var (factorial, phiK) = (Float(1), phi / hh - 1)
            for k in 1...unknowns {
                rows.append(nodes.map { x in k == 1 ? 1 : k == 2 ? x : k == 3 ? x * x : powf(x, Float(k - 1)) })
                right.append(phiK * factorial / b)
                factorial *= Float(k + 1)
                phiK = phiK / hh - 1 / factorial
            }
            rho = solve(rows, right)
        }
        if rho.isEmpty { return (sample, [-(outer * phi)], 0) }
        let factor = outer * b
        let weights = zip(ratios, rho).map { ratio, rho in rho / ratio }
        let next = corrects ? rho[rho.count - 1] : 0
        let ofZero = -(outer * phi) + factor * (weights.reduce(0, +) + next)
        return (sample, [ofZero] + weights.map { -factor * $0 }, -factor * next)
    }
}

/// The solution of a small system of linear equations by elimination with pivots.
///   rows    (n, n)
///   right   (n)
private func solve(_ rows: [[Float]], _ right: [Float]) -> [Float] {
    var (a, b) = (rows, right)
    let n = b.count
    for k in 0..<n {
        let pivot = (k..<n).max { abs(a[$0][k]) < abs(a[$1][k]) } ?? k
        a.swapAt(k, pivot)
        b.swapAt(k, pivot)
        for i in (k + 1)..<max(n, k + 1) {
            let factor = a[i][k] / a[k][k]
            for j in k..<n { a[i][j] -= factor * a[k][j] }
            b[i] -= factor * b[k]
        }
    }
    for k in (0..<n).reversed() {
        for j in (k + 1)..<max(n, k + 1) { b[k] -= a[k][j] * b[j] }
        b[k] /= a[k][k]
    }
    return b
}
