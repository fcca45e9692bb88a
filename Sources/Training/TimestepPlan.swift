import Sampling

/// The timesteps that are trained on: how each is drawn, and what it counts.
struct TimestepPlan {
    let range: Range<Int>
    private let weights: [Float]  // mean 1
    private let cumulative: [Double]?  // of drawing in proportion to the weights

    init(_ options: TrainerOptions, _ schedule: NoiseSchedule, _ type: SchedulerConfig.PredictionType) {
        range = options.timestepRange ?? 0..<schedule.numTrainTimesteps
        let raw = range.map { t in
            let abar = Double(schedule.alphasCumprod[t])
            let snr = abar / max(1 - abar, 1e-12)
            switch options.weighting {
            case .uniform: return 1.0
            case .noise:
                return min(
                    max((1 / max(snr, 1e-12)).squareRoot(), Double(options.noiseRange.lowerBound)),
                    Double(options.noiseRange.upperBound))
            case .minSNR:
                // An error of x_0 is one of epsilon times sqrt(1 / SNR), and one of v times sqrt(1 / (SNR + 1)).
                let limited = min(snr, Double(options.minSNRGamma))
                switch type {
                case .sample: return limited
                case .epsilon: return limited / max(snr, 1e-12)
                case .vPrediction: return limited / (snr + 1)
                }
            }
        }
        let mean = max(raw.reduce(0, +) / Double(raw.count), 1e-30)
        var sum = 0.0
        cumulative =
            options.timesteps == .uniform
            ? nil
            : raw.map {
                sum += $0 / mean / Double(raw.count)
                return sum
            }
        weights = options.timesteps == .uniform ? raw.map { Float($0 / mean) } : raw.map { _ in 1 }
    }

    /// The timestep for a number in [0, 1).
    func timestep(_ u: Double) -> Int {
        guard let cumulative else { return range.lowerBound + min(Int(u * Double(weights.count)), weights.count - 1) }
        var low = 0, high = cumulative.count - 1  // the first whose sum exceeds u
        while low < high {
            let middle = (low + high) / 2
            if cumulative[middle] > u { high = middle } else { low = middle + 1 }
        }
        return range.lowerBound + low
    }

    func weight(_ timestep: Int) -> Float {
        range.contains(timestep) ? weights[timestep - range.lowerBound] : 0
    }
}
