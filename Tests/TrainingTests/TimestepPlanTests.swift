import Sampling
import TestSupport
import Testing

@testable import Training

@Suite struct TimestepPlanTests {
    /// What is drawn in proportion to a weight need not be weighted: the expectation is the same.
    @Test func timestepsFollowTheirWeights() throws {
        let model = try TinyModel.open()
        for weighting in TrainerOptions.Weighting.allCases {
            var options = TrainerOptions()
            options.weighting = weighting
            let even = TimestepPlan(options, model.schedule, .epsilon)
            options.timesteps = .weighted
            let drawn = TimestepPlan(options, model.schedule, .epsilon)
            let n = 100_000, count = model.schedule.numTrainTimesteps
            func mean(_ plan: TimestepPlan) -> Double {
                (0..<n).reduce(0) { sum, i in
                    let t = plan.timestep((Double(i) + 0.5) / Double(n))
                    return sum + Double(plan.weight(t)) * Double(t) / Double(count)
                } / Double(n)
            }
            #expect(abs(mean(even) - mean(drawn)) < 0.01, "\(weighting)")
            #expect(drawn.timestep(0) >= 0 && drawn.timestep(0.999999999) == count - 1)
        }
    }
    /// The weights' definitions: of an error of x_0 counts min(SNR, gamma) (Hang et al. 2023), and epsilon's error is
    /// x_0's times sqrt(SNR), v's x_0's times sqrt(SNR + 1).
    @Test func weightsAreWhatTheyAreSaidToBe() {
        let alphas: [Float] = [0.9999, 0.95, 0.6, 0.5, 0.1, 0.002]
        let snr = alphas.map { Double($0) / (1 - Double($0)) }
        func expect(
            _ weighting: TrainerOptions.Weighting, _ type: SchedulerConfig.PredictionType, _ expected: [Double]
        ) {
            var options = TrainerOptions()
            (options.weighting, options.minSNRGamma, options.noiseRange) = (weighting, 4, 0.5...8)
            let plan = TimestepPlan(options, NoiseSchedule(alphasCumprod: alphas), type)
            let mean = expected.reduce(0, +) / Double(expected.count)
            for (t, weight) in expected.enumerated() {
                #expect(abs(Double(plan.weight(t)) * mean / weight - 1) < 1e-5, "\(weighting) \(type) \(t)")
            }
        }
        expect(.uniform, .epsilon, [1, 1, 1, 1, 1, 1])
        expect(.noise, .epsilon, [0.5, 0.5, (1 / snr[2]).squareRoot(), 1, 3, 8])
        expect(.minSNR, .sample, [4, 4, snr[2], 1, snr[4], snr[5]])
        expect(.minSNR, .epsilon, [4 / snr[0], 4 / snr[1], 1, 1, 1, 1])
        expect(.minSNR, .vPrediction, [4 / (snr[0] + 1), 4 / (snr[1] + 1)] + snr[2...].map { $0 / ($0 + 1) })
    }
}
