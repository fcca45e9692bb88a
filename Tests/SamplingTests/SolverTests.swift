import Checkpoint
import Kernels
import Pipeline
@testable import Sampling
import TestSupport
import Testing

@Suite struct SolverTests {
    /// Whole trajectories of every scheduler beside DDPM and DDIM, each step compared.
    @Test func trajectoriesEqualDiffusers() throws {
        let fixture = try Fixture("solvers")
        #expect(Set(try fixture.cases.map { try $0.string("class") }).count == SchedulerKind.allCases.count - 2)
        for c in fixture.cases {
            let name = try c.string("name"), kind = try #require(SchedulerKind(rawValue: c.string("class")))
            let config = try SchedulerConfig(c.object("config"), for: kind)
            let scheduler = try kind.scheduler(config, NoiseSchedule(config), steps: c.int("steps"))
            let gap = try timestepGap(scheduler, c, config, kind)
            #expect(gap <= 1, "\(name): \(scheduler.modelTimesteps)")
            #expect(abs(scheduler.initNoiseSigma / Float(try c.double("init_noise_sigma")) - 1) <= 2e-7, "\(name)")

            let run = Run(scheduler, config, shape: try c.ints("shape"), seed: UInt64(try c.int("seed")))
            let samples = try fixture.tensor(name), count = run.count
            let originals = try? fixture.tensor(name + ".x0")
            for i in scheduler.timesteps.indices {
                run.step(i)
                let range = (i * count)..<((i + 1) * count)
                #expect(relativeError(run.x, Array(samples[range])) <= 1e-5, "\(name) after step \(i)")
                if let originals {
                    #expect(relativeError(run.x0, Array(originals[range])) <= 1e-5, "\(name): x0 of step \(i)")
                }
            }
        }
    }

    /// A step may be repeated until the next one is taken, whatever the history held before the run.
    @Test(arguments: SchedulerKind.allCases) func stepsCanBeRepeated(kind: SchedulerKind) throws {
        var config = SchedulerConfig(kind)
        config.solverOrder = 3
        config.algorithmType = .sdeDPMSolverPlusPlus
        let scheduler = try kind.scheduler(config, NoiseSchedule(config), steps: 20)
        let once = Run(scheduler, config, shape: [1, 1, 3, 7], seed: 1)
        let twice = Run(scheduler, config, shape: [1, 1, 3, 7], seed: 1, garbage: 1e30)
        for i in scheduler.timesteps.indices {
            once.step(i)
            let (x, generator) = (twice.x, twice.generator)
            twice.x = x.map { 3 * $0 + 1 }
            twice.step(i, prediction: 2)
            (twice.x, twice.generator) = (x, generator)
            twice.step(i)
            #expect(once.x == twice.x && once.x0 == twice.x0, "step \(i)")
        }
    }

    /// Predictions that are right lead to x_0, whatever the scheduler.
    @Test(arguments: SchedulerKind.allCases) func rightPredictionsLeadToTheOriginal(kind: SchedulerKind) throws {
        for steps in [1, 2, 4, 25] {
            var config = SchedulerConfig(kind)
            config.clipSample = false
            config.setAlphaToOne = true
            config.skipPRKSteps = true
            config.timestepSpacing = .trailing
            let schedule = NoiseSchedule(config)
            let scheduler = try kind.scheduler(config, schedule, steps: steps)
            let run = Run(scheduler, config, shape: [1, 1, 4, 4], seed: 2)
            let original = randn(run.count, seed: 3)
            for i in scheduler.timesteps.indices {
                let scales = scheduler.noiseScales(i)
                run.step(i, e: zip(run.x, original).map { ($0 - scales.sample * $1) / scales.noise })
            }
            // The consistency model's boundary keeps a little of the sample.
            #expect(relativeError(run.x, original) <= (kind == .lcm ? 1e-2 : 1e-3), "\(steps) steps")
        }
    }

    @Test func configsThatMakeNoRunAreErrors() throws {
        func expectFailure(
            _ kind: SchedulerKind, steps: Int = 10, eta: Float = 0, _ change: (inout SchedulerConfig) -> Void,
            sourceLocation: SourceLocation = #_sourceLocation
        ) {
            var config = SchedulerConfig(kind)
            change(&config)
            #expect(throws: MCMError.self, "\(kind)", sourceLocation: sourceLocation) {
                try kind.scheduler(config, NoiseSchedule(config), steps: steps, eta: eta)
            }
        }
        for kind in SchedulerKind.allCases {
            expectFailure(kind, steps: 1001) { _ in }
            expectFailure(kind, eta: 2) { _ in }
            if kind != .ddim { expectFailure(kind, eta: 0.5) { _ in } }
            if kind != .lcm { expectFailure(kind) { ($0.timestepSpacing, $0.stepsOffset) = (.leading, 1000) } }
        }
        for kind in [SchedulerKind.pndm, .eulerAncestral] { expectFailure(kind) { $0.predictionType = .sample } }
        expectFailure(.pndm, steps: 3) { _ in }
        for kind in [SchedulerKind.lms, .euler, .eulerAncestral, .heun, .dpmSolverMultistep, .uniPC] {
            expectFailure(kind) { ($0.betaStart, $0.betaEnd) = (1, 1) }
            expectFailure(kind) { ($0.betaStart, $0.betaEnd) = (0, 0) }
        }
        for kind in [SchedulerKind.euler, .uniPC] {
            expectFailure(kind) { ($0.sigmaSpacing, $0.sigmaMin) = (.karras, 1e9) }
        }
        for kind in [SchedulerKind.dpmSolverMultistep, .uniPC] { expectFailure(kind, steps: 1000) { _ in } }
        for type in [SchedulerConfig.AlgorithmType.dpmSolver, .sdeDPMSolver] {
            expectFailure(.dpmSolverMultistep) { $0.algorithmType = type }
        }
        expectFailure(.dpmSolverMultistep) { $0.solverOrder = 4 }
        expectFailure(.dpmSolverMultistep) { $0.lambdaMinClipped = 100 }
        expectFailure(.uniPC) { $0.predictX0 = false }
        expectFailure(.uniPC) { $0.lowerOrderFinal = false }
        expectFailure(.lcm, steps: 51) { _ in }
        expectFailure(.lcm) { $0.originalInferenceSteps = 1001 }
    }

    /// diffusers' LMSDiscreteScheduler spaces Karras's sigmas over the run's own range, whatever the config's limits;
    /// its other spacings, and all other classes, know these.
    @Test func onlyKarrasSigmasOfLMSKnowNoLimits() throws {
        func sigmas(_ kind: SchedulerKind, _ spacing: SchedulerConfig.SigmaSpacing) throws -> [Float] {
            var config = SchedulerConfig(kind)
            (config.betaStart, config.betaEnd, config.betaSchedule) = (0.00085, 0.012, .scaledLinear)
            (config.sigmaSpacing, config.sigmaMin, config.sigmaMax) = (spacing, 0.1, 5)
            let scheduler = try kind.scheduler(config, NoiseSchedule(config), steps: 4)
            return (0..<4).map { scheduler.noiseScales(kind == .heun ? 2 * $0 : $0).noise }
        }
        // LMSDiscreteScheduler and EulerDiscreteScheduler.from_config, set_timesteps(4), sigmas.
        let free: [Float] = [14.614646911621094, 3.1686110496520996, 0.44692090153694153, 0.02916753478348255]
        let limited: [Float] = [5.0, 1.7015821933746338, 0.4756622612476349, 0.10000000149011612]
        #expect(relativeError(try sigmas(.lms, .karras), free) <= 1e-6)
        for kind in [SchedulerKind.euler, .heun] { #expect(relativeError(try sigmas(kind, .karras), limited) <= 1e-6) }
        let exponential = try sigmas(.lms, .exponential)
        #expect(exponential.first == 5 && exponential.last == 0.1)
    }

    /// Sigmas by "log_linear" are one more than the steps; with continuous timesteps diffusers evaluates at each.
    @Test func continuousTimestepsAreAsManyAsSigmas() throws {
        var config = SchedulerConfig(.euler)
        (config.predictionType, config.timestepType) = (.vPrediction, .continuous)
        config.interpolationType = .logLinear
        let scheduler = try SchedulerKind.euler.scheduler(config, NoiseSchedule(config), steps: 4)
        // EulerDiscreteScheduler(...).set_timesteps(4): timesteps and sigmas.
        let timesteps: [Float] = [1.2647, 0.6607, 0.0567, -0.5473, -1.1513]
        #expect(scheduler.modelTimesteps.count == 5)
        #expect(zip(scheduler.modelTimesteps, timesteps).allSatisfy { abs($0 - $1) <= 1e-4 })
        #expect(abs(scheduler.noiseScales(4).noise - 0.010001) <= 1e-6)
        config.sigmaSpacing = .karras
        #expect(
            try SchedulerKind.euler.scheduler(config, NoiseSchedule(config), steps: 4).modelTimesteps.count == 4)
    }

    @Test func betaQuantilesEqualSciPy() {
        // scipy.stats.beta.ppf(p, 0.6, 0.6)
        for (p, x) in [
            (0.01, 0.0008612388215429059), (0.25, 0.17568037865269498), (0.5, 0.5), (0.75, 0.824319621347305),
            (0.999, 0.9999814412614826), (0, 0), (1, 1),
        ] {
            #expect(abs(betaQuantile(p, 0.6) - x) <= 1e-12)
        }
    }
}
