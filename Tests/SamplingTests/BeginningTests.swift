import Checkpoint
import Kernels
import Pipeline
@testable import Sampling
import TestSupport
import Testing

/// Runs that begin at a later step.
@Suite struct BeginningTests {
    /// Whole trajectories from an image with noise, each step compared; and the image's noise at each step.
    @Test func trajectoriesEqualDiffusers() throws {
        let fixture = try Fixture("begun")
        #expect(Set(try fixture.cases.map { try $0.string("class") }).count == SchedulerKind.allCases.count)
        for c in fixture.cases {
            let name = try c.string("name")
            let error = try Self.worstError(c, fixture)
            #expect(error <= 1e-5, "\(name)")
        }
    }

    /// The largest distance from diffusers in a run.
    private static func worstError(_ c: JSONObject, _ fixture: Fixture) throws -> Double {
        let name = try c.string("name"), kind = try #require(SchedulerKind(rawValue: c.string("class")))
        let config = try SchedulerConfig(c.object("config"), for: kind)
        let strength = try c.double("strength")
        let scheduler = try kind.scheduler(
            config, NoiseSchedule(config), steps: c.int("steps"), eta: Float(c.double("eta")),
            from: c.bool("distilled") ? .distilledStrength(strength) : .strength(strength))
        guard try timestepGap(scheduler, c, config, kind) <= 1 else { return .infinity }

        let seed = UInt64(try c.int("seed"))
        let run = Run(scheduler, config, shape: try c.ints("shape"), seed: seed)
        let image = randn(run.count, seed: seed + 1)
        run.x = run.noised(image, step: 0)
        var worst = 0.0
        func compare(_ values: [Float], with tensor: [Float]?, _ i: Int) {
            guard let tensor else { return }
            worst = max(worst, relativeError(values, Array(tensor[(i * run.count)..<((i + 1) * run.count)])))
        }
        let samples = try fixture.tensor(name), noised = try fixture.tensor(name + ".noised")
        let originals = try? fixture.tensor(name + ".x0")
        for i in scheduler.timesteps.indices {
            compare(run.noised(image, step: i), with: noised, i)
            run.step(i)
            compare(run.x, with: samples, i)
            compare(run.x0, with: originals, i)
        }
        // Nothing but the image is left.
        return run.noised(image, step: scheduler.timesteps.count) == image ? worst : .infinity
    }

    @Test func beginningsAreDiffusersOwn() throws {
        // int(steps * strength) of Python.
        for (steps, strength, left) in [
            (50, 0.8, 40), (10, 0.7, 7), (100, 0.29, 28), (30, 0.1, 3), (50, 1, 50), (1, 1, 1), (50, 0.02, 1),
        ] {
            #expect(try Beginning.strength(strength).stepsLeftOut(of: steps) == steps - left)
        }
        for beginning in [
            Beginning.strength(0.019), .strength(0), .strength(-1), .strength(1.01), .strength(.nan), .step(-1),
            .step(50), .step(.max), .step(.min),
        ] {
            #expect(throws: MCMError.self, "\(beginning)") { try beginning.stepsLeftOut(of: 50) }
        }
    }

    @Test func beginningsThatMakeNoRunAreErrors() throws {
        func expectFailure(
            _ kind: SchedulerKind, steps: Int = 10, _ beginning: Beginning,
            sourceLocation: SourceLocation = #_sourceLocation, _ change: (inout SchedulerConfig) -> Void = { _ in }
        ) {
            var config = SchedulerConfig(kind)
            change(&config)
            #expect(throws: MCMError.self, "\(kind)", sourceLocation: sourceLocation) {
                try kind.scheduler(config, NoiseSchedule(config), steps: steps, from: beginning)
            }
        }
        for kind in SchedulerKind.allCases {
            for beginning in [Beginning.step(10), .step(-1), .strength(0.09), .strength(2), .strength(.infinity)] {
                expectFailure(kind, beginning) { $0.skipPRKSteps = true }
            }
            if kind != .lcm { expectFailure(kind, .distilledStrength(0.5)) }
        }
        expectFailure(.pndm, .step(1))
        for strength in [0.19, 0, -1, 2, .nan] { expectFailure(.lcm, .distilledStrength(strength)) }
        // Clipping leaves 8 of 10 steps.
        expectFailure(.dpmSolverMultistep, .step(8)) { ($0.lambdaMinClipped, $0.timestepSpacing) = (-3, .trailing) }
    }

    /// Later beginnings leave the end of the whole run.
    @Test(arguments: SchedulerKind.allCases) func beginningsLeaveTheEnd(kind: SchedulerKind) throws {
        var config = SchedulerConfig(kind)
        config.skipPRKSteps = true
        let schedule = NoiseSchedule(config)
        let whole = try kind.scheduler(config, schedule, steps: 12)
        for begin in 0..<12 {
            let scheduler = try kind.scheduler(config, schedule, steps: 12, from: .step(begin))
            let start = whole.timesteps.count - scheduler.timesteps.count
            #expect(start == begin * (kind == .heun ? 2 : 1))
            #expect(scheduler.initNoiseSigma == whole.initNoiseSigma)
            for i in 0...scheduler.timesteps.count {
                #expect(scheduler.noiseScales(i) == whole.noiseScales(start + i))
                guard i < scheduler.timesteps.count else { continue }
                #expect(scheduler.modelTimesteps[i] == whole.modelTimesteps[start + i])
                #expect(scheduler.inputScale(i) == whole.inputScale(start + i))
                #expect(scheduler.needsNoise(i) == whole.needsNoise(start + i))
            }
        }
    }
}
