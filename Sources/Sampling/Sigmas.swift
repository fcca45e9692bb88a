import Glibc
import Kernels

/// The noise levels of a run: sigma = sqrt((1 - abar) / abar), so that x_t / sqrt(abar_t) = x_0 + sigma noise.
///
/// In diffusers numpy computes them, in float64 except for the training schedule and its logarithms; so it is here.
struct Sigmas: Sendable {
    /// Where each step of the whole run begins, and at the end where the last one ends.
    let values: [Float]
    /// How many of its steps are left out.
    let begin: Int
    /// One per step that is left.
    let modelTimesteps: [Float]
    /// The same, whole.
    let timesteps: [Int]
    /// Of each training timestep.
    let training: [Float]

    /// Those of LMS, Euler and Heun: timesteps may be fractional, and other spacings cover the range of these.
    init(_ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int) throws {
        training = try Self.training(config, schedule)
        var times: [Double]
        if config.timestepSpacing == .linspace {
            try check(steps: steps, of: config.numTrainTimesteps)
            times = linspace(0, Double(config.numTrainTimesteps - 1), steps).reversed().map { Double(Float($0)) }
        } else {
            times = try spacedTimesteps(config, steps: steps).map { Double($0) }
        }
        var sigmas = times.map { [training] in interpolate(training, at: $0) }
        if config.interpolationType == .logLinear {
            // One more than there are timesteps: where the last step ends. Continuous timesteps are as many.
            sigmas = NoiseSchedule.linspace(
                Glibc.log(Double(training[training.count - 1])), Glibc.log(Double(training[0])), steps + 1
            ).map { Double(rounded(exp, $0)) }
        }
        let (first, last) = (sigmas[0], sigmas[sigmas.count - 1])
        if let spaced = try Self.spaced(config, from: first, to: last, steps: steps) {
            sigmas = spaced
            let logarithms = training.map { Float(Glibc.log(Double($0))) }
            times = sigmas.map { timestep(of: $0, logarithms) }
        }
        sigmas.append(config.finalSigmasType == .sigmaMin ? Double(training[0]) : 0)
        values = sigmas.map { Float($0) }
        self.begin = begin
        modelTimesteps = try begun(
            config.timestepType == .continuous && config.predictionType == .vPrediction
                ? values.dropLast().map { 0.25 * Glibc.log($0) } : times.map { Float($0) }, at: begin)
        timesteps = try Self.whole(modelTimesteps.map { Double(max($0, 0).rounded()) })
        try checkFinite()
    }

    /// Those of the multistep solvers: timesteps are whole, and other spacings cover the whole training schedule.
    init(
        multistep config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int, kind: SchedulerKind
    ) throws {
        training = try Self.training(config, schedule)
        // Training timesteps whose lambda = -log(sigma) is below the threshold are left out; sigma grows with t.
        let clipped = training.count { sigma in -Glibc.log(sigma) < Float(config.lambdaMinClipped) }
        var whole = try multistepTimesteps(config, steps: steps, last: config.numTrainTimesteps - clipped)
        let (first, final) = (Double(training[training.count - 1]), Double(training[0]))
        var sigmas: [Double]
        if let spaced = try Self.spaced(config, from: first, to: final, steps: steps) {
            sigmas = spaced
            let logarithms = training.map { Float(Glibc.log(Double($0))) }
            let times = sigmas.map { timestep(of: $0, logarithms) }
            let isEven = config.sigmaSpacing == .karras || config.sigmaSpacing == .lu
            let rounds = isEven && (kind == .uniPC || config.betaSchedule != .squaredcosCapV2)
            whole = try Self.whole(times.map { $0.rounded(rounds ? .toNearestOrEven : .down) })
        } else {
            sigmas = whole.map { [training] in interpolate(training, at: Double($0)) }
        }
        let sigmaMin = kind == .uniPC && config.sigmaSpacing != .timesteps ? sigmas[sigmas.count - 1] : final
        sigmas.append(config.finalSigmasType == .sigmaMin ? sigmaMin : 0)
        values = sigmas.map { Float($0) }
        self.begin = begin
        timesteps = try begun(whole, at: begin)
        modelTimesteps = timesteps.map { Float($0) }
        try checkFinite()
    }

    /// Steps that are left.
    var count: Int { timesteps.count }
    /// Where step `index` begins; negative for those left out.
    subscript(index: Int) -> Float { values[begin + index] }

    /// Throws unless sigma falls with every step, as what divides by its differences needs.
    func checkFalling() throws {
        let total = begin + count
        for i in 0..<max(total - 1, 0) where values[i + 1] >= values[i] {
            throw MCMError(
                .invalidArgument,
                "\(total) steps: sigma is \(values[i]) at step \(i) and \(values[i + 1]) at the next, expected it to "
                    + "fall; take fewer steps")
        }
    }

    private static func training(_ config: SchedulerConfig, _ schedule: NoiseSchedule) throws -> [Float] {
        var alphas = schedule.alphasCumprod
        // Nearly zero, so that sigma is not infinite: the smallest number of float16.
        if config.rescaleBetasZeroSNR, !alphas.isEmpty { alphas[alphas.count - 1] = 0x1p-24 }
        let sigmas = alphas.map { ((1 - $0) / $0).squareRoot() }
        guard !sigmas.isEmpty, sigmas.allSatisfy({ $0.isFinite && $0 > 0 }) else {
            throw MCMError(
                .unsupported, "the betas make a sigma that is zero or infinite, expected positive finite ones")
        }
        return sigmas
    }

    /// `steps` sigmas of another spacing; nil if the config asks for none.
    private static func spaced(
        _ config: SchedulerConfig, from first: Double, to last: Double, steps: Int
    ) throws -> [Double]? {
        let (high, low) = (config.sigmaMax ?? first, config.sigmaMin ?? last)
        guard high >= low, low > 0 else {
            throw MCMError(
                .unsupported, "sigma_max is \(high) and sigma_min \(low), expected 0 < sigma_min <= sigma_max")
        }
        switch config.sigmaSpacing {
        case .timesteps: return nil
        case .karras:
            // Karras et al. 2022, eq. 5, with rho = 7.
            let (a, b) = (pow(high, 1 / 7), pow(low, 1 / 7))
            return linspace(0, 1, steps).map { pow(a + $0 * (b - a), 7) }
        case .exponential: return linspace(Glibc.log(high), Glibc.log(low), steps).map { Glibc.exp($0) }
        case .beta: return linspace(0, 1, steps).map { low + betaQuantile(1 - $0, 0.6) * (high - low) }
        case .lu:
            let (a, b) = (Double(Float(Glibc.log(first))), Double(Float(Glibc.log(last))))
            return linspace(0, 1, steps).map { Glibc.exp(a + $0 * (b - a)) }
        }
    }

    private static func whole(_ times: [Double]) throws -> [Int] {
        try times.map { t in
            guard let whole = Int(exactly: t) else {
                throw MCMError(.unsupported, "a sigma belongs to timestep \(t), expected a number")
            }
            return whole
        }
    }

    private func checkFinite() throws {
        guard values.allSatisfy({ $0.isFinite }) else {
            throw MCMError(.unsupported, "the options make a sigma that is not finite")
        }
    }
}

/// numpy.interp of `values`, which lie at 0, 1, 2 ...
private func interpolate(_ values: [Float], at t: Double) -> Double {
    let last = values.count - 1
    guard t < Double(last) else { return Double(values[last]) }
    let i = Int(t)
    let (a, b) = (Double(values[i]), Double(values[i + 1]))
    return (b - a) * (t - Double(i)) + a
}

/// diffusers' sigma_to_t: the timestep at which log(sigma) would lie between those of training, which rise.
private func timestep(of sigma: Double, _ logarithms: [Float]) -> Double {
    guard logarithms.count > 1 else { return 0 }
    let value = log(max(sigma, 1e-10))
    // The last one that is not above.
    var (low, end) = (0, logarithms.count - 1)
    while end - low > 1 {
        let middle = (low + end) / 2
        if Double(logarithms[middle]) <= value { low = middle } else { end = middle }
    }
    let (a, b) = (logarithms[low], logarithms[low + 1])
    let w = min(max((Double(a) - value) / Double(a - b), 0), 1)
    return (1 - w) * Double(low) + w * Double(low + 1)
}

/// Where the symmetric beta distribution with both parameters `a` has the share `p` below it.
func betaQuantile(_ p: Double, _ a: Double) -> Double {
    if p <= 0 { return 0 }
    if p >= 1 { return 1 }
    if p > 0.5 { return 1 - betaQuantile(1 - p, a) }
    // Bisection; the share is monotonic.
    var (low, high) = (0.0, 0.5)
    for _ in 0..<60 {
        let middle = (low + high) / 2
        if betaShare(middle, a) < p { low = middle } else { high = middle }
    }
    return (low + high) / 2
}

/// The regularised incomplete beta function I_x(a, a) for x <= 1/2, by its continued fraction (DLMF 8.17.22).
private func betaShare(_ x: Double, _ a: Double) -> Double {
    if x <= 0 { return 0 }
    var sum = 1.0
    // From the inside out; the terms fall by at least a factor of four.
    for m in stride(from: 40, to: 0, by: -1) {
        let n = Double(m / 2)
        let term =
            m % 2 == 0
            ? n * (a - n) * x / ((a + 2 * n - 1) * (a + 2 * n))
            : -(a + n) * (2 * a + n) * x / ((a + 2 * n) * (a + 2 * n + 1))
        sum = 1 + term / sum
    }
    let scale = Glibc.exp(lgamma(2 * a) - 2 * lgamma(a) + a * (Glibc.log(x) + log1p(-x)))
    return scale / (a * sum)
}
