import Checkpoint
import Kernels
import Sampling
import TestSupport

/// One run of a scheduler, on predictions that do not depend on the sample.
final class Run {
    private let scheduler: any Scheduler, config: SchedulerConfig, batch: Int
    let count: Int
    var x: [Float], x0: [Float], generator: Generator
    private let noise: [Float]
    private var history: [Float]

    init(_ scheduler: any Scheduler, _ config: SchedulerConfig, shape: [Int], seed: UInt64, garbage: Float = .nan) {
        (self.scheduler, self.config, batch, count) = (scheduler, config, shape[0], shape.reduce(1, *))
        generator = Generator(seed: seed)
        x = [Float](repeating: 0, count: count)
        x0 = x
        history = [Float](repeating: garbage, count: scheduler.historyCount * count)
        generator.normal(into: &x, count: count)
        noise = x
        for i in x.indices { x[i] *= scheduler.initNoiseSigma }
    }

    /// `image` with the run's first noise, as at the beginning of a step or after the last one.
    func noised(_ image: [Float], step: Int) -> [Float] {
        var x = image
        x.withUnsafeMutableBufferPointer {
            scheduler.addNoise(image, noise, step: step, count: count, into: $0.baseAddress!)
        }
        return x
    }

    /// On the stand-in for a network of Tests/Fixtures/README.md, times `prediction`.
    func step(_ i: Int, prediction: Float = 1) {
        let scale: Float = config.predictionType == .sample ? 0.5 : 0.9
        step(i, e: randn(count, seed: UInt64(1000 + i)).map { prediction * (scale * $0) })
    }

    func step(_ i: Int, e: [Float]) {
        var noise = [Float](repeating: 0, count: count)
        if scheduler.needsNoise(i) { generator.normal(into: &noise, count: count) }
        history.withUnsafeMutableBufferPointer { history in
            x.withUnsafeMutableBufferPointer { x in
                x0.withUnsafeMutableBufferPointer { x0 in
                    let kept = (0..<scheduler.historyCount).map { history.baseAddress! + $0 * count }
                    scheduler.step(
                        i,
                        StepInput(
                            batch: batch, count: count, sample: x.baseAddress!, prediction: e, variance: nil,
                            noise: scheduler.needsNoise(i) ? noise : nil),
                        history: kept, into: StepOutput(sample: x.baseAddress!, x0: x0.baseAddress!))
                }
            }
        }
    }
}

/// How far timesteps are from those of a fixture's case, as a multiple of what rounding explains: numpy's logarithm of
/// float32 is not rounded correctly; where timesteps are cut off, that can make one.
func timestepGap(
    _ scheduler: any Scheduler, _ c: JSONObject, _ config: SchedulerConfig, _ kind: SchedulerKind
) throws -> Float {
    let expected = try c.doubles("timesteps").map { Float($0) }
    guard scheduler.modelTimesteps.count == expected.count else { return .infinity }
    let isMultistep = kind == .dpmSolverMultistep || kind == .uniPC
    let slack: Float = config.sigmaSpacing == .timesteps ? 1e-4 : isMultistep ? 1 : 0.05
    return (zip(scheduler.modelTimesteps, expected).map { abs($0 - $1) }.max() ?? 0) / slack
}
