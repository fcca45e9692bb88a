import Checkpoint
import Kernels
import Networks
import Pipeline
import Sampling
import TestSupport
import Testing

@testable import Training

@Suite struct TrainerTests {
    @Test func theLossFalls() throws {
        let model = try TinyModel.open()
        var options = TrainerOptions()
        options.warmupSteps = 10
        let trainer = try tinyTrainer(model, options)
        let workspace = Workspace(threads: 2)
        let batch = try examples(0, 6, in: workspace)
        var first = 0.0, last = 0.0
        for step in 0..<150 {
            let report = try trainer.step(batch)
            // A module that has not learned anything changes nothing.
            if step == 0 { #expect(report.loss == report.baseLoss) }
            if step < 30 { first += Double(report.weightedLoss) / 30 }
            if step >= 120 { last += Double(report.weightedLoss) / 30 }
        }
        #expect(last < 0.6 * first, "\(first) -> \(last)")
        #expect(trainer.step == 150 && trainer.examples == 900)
        let sums = trainer.losses
        #expect(sums.byTimestep.reduce(0) { $0 + $1.count } == 900)
        #expect(sums.given.allSatisfy { (560...700).contains($0.count) })
        #expect(zip(sums.given, sums.withheld).allSatisfy { $0.count + $1.count == 900 })
    }

    @Test func theSameSeedGivesTheSameBits() throws {
        var runs: [[Float]] = []
        for (threads, seed) in [(1, 7), (2, 7), (3, 7), (2, 8)] as [(Int, UInt64)] {
            var options = TrainerOptions()
            options.seed = seed
            let trainer = try tinyTrainer(TinyModel.open(threads: threads), options)
            let workspace = Workspace(threads: 1)
            for step in 0..<5 { _ = try trainer.step(examples(4 * step, 4, in: workspace)) }
            runs.append(floats(trainer.parameters.values))
        }
        #expect(runs[0] == runs[1] && runs[0] == runs[2] && runs[0] != runs[3])
        #expect(runs[0].allSatisfy { $0.isFinite })
    }

    /// Two halves, accumulated or in two processes whose gradients are averaged, are one batch but for rounding.
    @Test func gradientsAddUp() throws {
        let model = try TinyModel.open(), workspace = Workspace(threads: 1)
        let whole = try tinyTrainer(model), halves = try tinyTrainer(model)
        // The last convolution is zero at first; so are most gradients.
        for trainer in [whole, halves] { _ = try trainer.step(examples(0, 8, in: workspace)) }
        var ranks: [Trainer] = []
        for rank in 0..<2 {
            var options = TrainerOptions()
            (options.rank, options.world) = (rank, 2)
            ranks.append(try tinyTrainer(model, options))
            ranks[rank].parameters.values.data.update(from: whole.parameters.values.data, count: whole.parameters.count)
            _ = try ranks[rank].accumulate(examples(4 * rank, 4, in: workspace))
            ranks[rank].clear()
        }
        _ = try whole.accumulate(examples(8, 8, in: workspace))
        _ = try halves.accumulate(examples(8, 4, in: workspace))
        _ = try halves.accumulate(examples(12, 4, in: workspace))
        for rank in 0..<2 { _ = try ranks[rank].accumulate(examples(8 + 4 * rank, 4, in: workspace)) }
        let expected = floats(whole.parameters.gradients)
        #expect(halves.pending == 8 && halves.examples == 16 && ranks[0].examples == 16)
        #expect(relativeError(floats(halves.parameters.gradients), expected) < 1e-5)
        let sum = zip(floats(ranks[0].parameters.gradients), floats(ranks[1].parameters.gradients)).map { $0 + $1 }
        #expect(relativeError(sum, expected) < 1e-5)
    }

    @Test func whatFailsChangesNothing() throws {
        let model = try TinyModel.open(), workspace = Workspace(threads: 1)
        let trainer = try tinyTrainer(model)
        for i in 0..<3 { _ = try trainer.step(examples(i, 2, in: workspace)) }
        _ = try trainer.accumulate(examples(9, 2, in: workspace))
        let before = (floats(trainer.parameters.values), floats(trainer.parameters.gradients))
        let bad = try examples(0, 2, in: workspace)
        bad.x0.data[70] = .infinity
        #expect(throws: MCMError.self) { try trainer.accumulate(bad) }
        #expect(throws: MCMError.self) { try trainer.step(examples(0, 2, in: workspace)) }
        #expect((floats(trainer.parameters.values), floats(trainer.parameters.gradients)) == before)
        #expect(trainer.pending == 2 && trainer.step == 3 && trainer.examples == 8)
        trainer.parameters.gradients.data[5] = .nan
        var report = Trainer.Report()
        let error = #expect(throws: MCMError.self) { try trainer.apply(&report) }
        #expect(error?.message.contains("step 4") == true)
        #expect(floats(trainer.parameters.values) == before.0 && trainer.step == 3)
        trainer.clear()
        #expect(throws: MCMError.self) { try trainer.apply(&report) }
        _ = try trainer.step(examples(9, 2, in: workspace))
    }

    @Test func optionsThatCannotBeAreRefused() throws {
        let model = try TinyModel.open()
        let changes: [(inout TrainerOptions) -> Void] = [
            { $0.learningRate = .nan }, { $0.learningRate = -1 }, { $0.beta1 = 1 }, { $0.emaDecay = 1 },
            { $0.dropout = [0.1, 0.2, 0.3] }, { $0.dropout = [1.5] }, { $0.timestepRange = 5..<5 },
            { $0.timestepRange = 0..<100_000 }, { $0.rank = 1 }, { $0.world = 0 },
        ]
        for (i, change) in changes.enumerated() {
            var options = TrainerOptions()
            change(&options)
            let error = #expect(throws: MCMError.self, "\(i)") { try tinyTrainer(model, options) }
            #expect(error?.kind == .invalidArgument, "\(i)")
        }
    }

    @Test func theLearningRateRisesAndFalls() {
        var options = TrainerOptions()
        (options.learningRate, options.warmupSteps, options.totalSteps) = (1, 10, 110)
        let rates = (0...110).map { options.learningRate($0) }
        #expect(abs(rates[0] - 0.1) < 1e-6 && rates[110] == 0)
        #expect(zip(rates[..<8], rates[1..<9]).allSatisfy { $0 < $1 })
        #expect(zip(rates[10...], rates[11...]).allSatisfy { $0 > $1 })
        options.totalSteps = 0
        #expect(options.learningRate(1_000_000) == 1)
    }
}
