import Checkpoint
import Kernels
import Networks
import Pipeline
import TestSupport
import Testing

@testable import Training

/// What one step is made of: the gradient of what is reported, and the optimiser's rule.
@Suite struct StepTests {
    /// Not the module that changes nothing, whose gradients are mostly zero.
    private func trainer(_ model: Model, _ options: TrainerOptions) throws -> Trainer {
        let trainer = try tinyTrainer(model, options)
        for (i, x) in randn(trainer.parameters.count, seed: 4).enumerated() {
            trainer.parameters.values.data[i] += 0.05 * x
        }
        return trainer
    }

    /// Along a direction, whatever the weighting, with conditions withheld.
    @Test func theGradientIsThatOfTheWeightedLoss() throws {
        let model = try TinyModel.open(), workspace = Workspace(threads: 1), batch = try examples(0, 6, in: workspace)
        for weighting in TrainerOptions.Weighting.allCases {
            for timesteps in TrainerOptions.Timesteps.allCases {
                var options = TrainerOptions()
                (options.weighting, options.timesteps, options.dropout) = (weighting, timesteps, [0.5])
                let middle = try trainer(model, options), count = middle.parameters.count
                _ = try middle.accumulate(batch)
                let gradient = floats(middle.parameters.gradients)
                // Steepest, for the difference not to be lost in rounding.
                let norm = gradient.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot(), h = 1e-3
                let losses = try [-h, h].map { h in
                    let trainer = try trainer(model, options)
                    for i in 0..<count { trainer.parameters.values.data[i] += Float(h * Double(gradient[i]) / norm) }
                    return Double(try trainer.accumulate(batch).weightedLoss)
                }
                let slope = (losses[1] - losses[0]) / (2 * h)
                #expect(abs(slope / (norm / 6) - 1) < 0.01, "\(weighting) \(timesteps): \(slope), \(norm / 6)")
            }
        }
    }

    /// AdamW with clipping and a moving average, against their definitions in double.
    @Test func aStepIsAdamW() throws {
        let model = try TinyModel.open(), workspace = Workspace(threads: 1)
        var options = TrainerOptions()
        (options.warmupSteps, options.totalSteps, options.learningRate) = (2, 8, 0.01)
        (options.weightDecay, options.clipNorm, options.emaDecay) = (0.1, 0.5, 0.25)
        (options.beta1, options.beta2, options.epsilon) = (0.8, 0.95, 1e-6)
        let trainer = try trainer(model, options), count = trainer.parameters.count
        var p = floats(trainer.parameters.values).map { Double($0) }, ema = floats(trainer.ema!).map { Double($0) }
        var m = [Double](repeating: 0, count: count), v = m, clipped = 0
        for step in 1...6 {
            _ = try trainer.accumulate(examples(8 * step, 3, in: workspace))
            _ = try trainer.accumulate(examples(8 * step + 3, 5, in: workspace))
            let gradients = floats(trainer.parameters.gradients).map { Double($0) / 8 }
            var report = Trainer.Report()
            try trainer.apply(&report)

            let norm = gradients.reduce(0) { $0 + $1 * $1 }.squareRoot()
            let rate = Double(options.learningRate(step - 1)), scale = min(1, 0.5 / norm)
            if scale < 1 { clipped += 1 }
            #expect(abs(Double(report.gradientNorm) / norm - 1) < 1e-5 && report.learningRate == Float(rate))
            for entry in trainer.parameters.entries {
                for i in entry.range {
                    let g = gradients[i] * scale
                    m[i] = 0.8 * m[i] + 0.2 * g
                    v[i] = 0.95 * v[i] + 0.05 * g * g
                    if entry.shape.count > 1 { p[i] -= rate * 0.1 * p[i] }
                    var (first, second) = (1.0, 1.0)  // 1 - beta^step
                    for _ in 0..<step { (first, second) = (0.8 * first, 0.95 * second) }
                    p[i] -= rate * (m[i] / (1 - first)) / ((v[i] / (1 - second)).squareRoot() + 1e-6)
                    let decay = min(0.25, Double(step + 1) / Double(step + 10))
                    ema[i] = decay * ema[i] + (1 - decay) * p[i]
                }
            }
            #expect(relativeError(floats(trainer.parameters.values), p.map { Float($0) }) < 1e-6)
            #expect(relativeError(floats(trainer.ema!), ema.map { Float($0) }) < 1e-6)
        }
        #expect(clipped > 0, "no gradient was clipped")
    }
}
