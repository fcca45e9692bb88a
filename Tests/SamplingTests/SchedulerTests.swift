import Checkpoint
import Kernels
import Pipeline
import Sampling
import TestSupport
import Testing

@Suite struct SchedulerTests {
    /// Whole trajectories. torch's square roots are off by one unit in the last place for a fifth of all numbers, which
    /// adds up over a thousand steps; up to fifty the bound is 1e-6.
    @Test func trajectoriesEqualDiffusers() throws {
        let fixture = try Fixture("schedulers")
        #expect(fixture.cases.count >= 30)
        for c in fixture.cases {
            let name = try c.string("name")
            let json = try c.object("config")
            let kind = try #require(SchedulerKind(rawValue: c.string("class")))
            let config = try SchedulerConfig(json, for: kind)
            let schedule = NoiseSchedule(config)
            let steps = try c.int("steps")
            let scheduler: any Scheduler =
                try kind == .ddpm
                ? DDPMScheduler(config, schedule, steps: steps)
                : DDIMScheduler(
                    config, schedule, steps: steps, eta: Float(c.double("eta")),
                    useClippedModelOutput: c.bool("use_clipped_model_output"))
            #expect(try scheduler.timesteps == c.ints("timesteps"), "\(name)")
            if try c.bool("alphas") {
                let error = try relativeError(schedule.alphasCumprod, fixture.tensor(name + ".alphas_cumprod"))
                #expect(error <= 2e-7, "\(name)")  // one unit in the last place
            }

            let shape = try c.ints("shape")
            let count = shape.reduce(1, *)
            var generator = Generator(seed: UInt64(try c.int("seed")))
            var x = [Float](repeating: 0, count: count), x0 = x, noise = x
            generator.normal(into: &x, count: count)
            let stored = try Set(c.ints("stored"))
            var samples: [Float] = [], originals: [Float] = []
            for i in 0..<steps {
                let (e, variance) = modelOutput(i, config, count, batch: shape[0])
                if scheduler.needsNoise(i) { generator.normal(into: &noise, count: count) }
                x.withUnsafeMutableBufferPointer { x in
                    x0.withUnsafeMutableBufferPointer { x0 in
                        scheduler.step(
                            i,
                            StepInput(
                                batch: shape[0], count: count, sample: x.baseAddress!, prediction: e,
                                variance: variance, noise: noise),
                            history: [], into: StepOutput(sample: x.baseAddress!, x0: x0.baseAddress!))
                    }
                }
                if stored.contains(i) {
                    samples += x
                    originals += x0
                }
            }
            let bound = steps <= 50 ? 1e-6 : 3e-6
            #expect(try relativeError(samples, fixture.tensor(name)) <= bound, "\(name)")
            #expect(try relativeError(originals, fixture.tensor(name + ".x0")) <= bound, "\(name)")
        }
    }

    /// The stand-in for a network of Tests/Fixtures/README.md: prediction, and variance where it is learned.
    private func modelOutput(
        _ step: Int, _ config: SchedulerConfig, _ count: Int, batch: Int
    ) -> ([Float], [Float]?) {
        let seed = UInt64(1000 + step)
        let scale: Float = config.predictionType == .sample ? 0.5 : 0.9
        guard config.varianceType.isLearned else { return (randn(count, seed: seed).map { scale * $0 }, nil) }
        let both = randn(2 * count, seed: seed)
        let size = count / batch
        var e: [Float] = [], variance: [Float] = []
        for image in 0..<batch {
            let start = image * 2 * size
            e += both[start..<(start + size)].map { scale * $0 }
            variance += both[(start + size)..<(start + 2 * size)].map {
                config.varianceType == .learned ? 0.1 * $0 * $0 : 0.9 * $0
            }
        }
        return (e, variance)
    }

    @Test func refusesStepsThatLeaveTheSchedule() throws {
        var config = SchedulerConfig()
        config.stepsOffset = 1
        let schedule = NoiseSchedule(config)
        #expect(throws: MCMError.self) { try DDIMScheduler(config, schedule, steps: 1000) }
        #expect(throws: MCMError.self) { try DDIMScheduler(config, schedule, steps: 0) }
        #expect(throws: MCMError.self) { try DDIMScheduler(config, schedule, steps: 1001) }
    }

    /// Where numpy's arange yields a step too many, libmcm keeps to the number that was asked for.
    @Test func trailingStepsAreAsManyAsAskedFor() throws {
        var config = SchedulerConfig()
        config.timestepSpacing = .trailing
        let schedule = NoiseSchedule(config)
        for steps in 1...1000 {
            let timesteps = try DDIMScheduler(config, schedule, steps: steps).timesteps
            #expect(timesteps.count == steps && timesteps.first == 999 && timesteps.last! >= 0)
        }
    }
}
