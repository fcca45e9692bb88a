import Testing

@testable import Sampling

@Suite struct PredictionTests {
    /// What a model should have predicted says what x_0 and the noise were.
    @Test(arguments: [SchedulerConfig.PredictionType.epsilon, .sample, .vPrediction])
    func targetsAreWhatPredictionsMean(_ type: SchedulerConfig.PredictionType) {
        for alpha in [0.01, 0.3, 0.7, 0.99] as [Float] {
            let prediction = Prediction(type, alpha: alpha)
            for (x0, noise) in [(0.5, -1.25), (-0.75, 2), (1, 0)] as [(Float, Float)] {
                let x = alpha.squareRoot() * x0 + (1 - alpha).squareRoot() * noise
                let e = prediction.target(x0: x0, noise: noise)
                #expect(abs(prediction.x0(x, e) - x0) < 1e-5 && abs(prediction.epsilon(x, e) - noise) < 1e-5)
            }
        }
    }
}
