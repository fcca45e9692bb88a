import Kernels

/// The arithmetic of one run of sampling: from x_t and a prediction to x_{t-1}. Knows no network. Immutable: noise,
/// the number of the step and what is kept from step to step belong to the caller.
///
/// A step is one evaluation of the network, so that some runs have more steps than were asked for, as in diffusers.
/// Of a run that begins later (`Beginning`), steps count from the first that is left.
public protocol Scheduler: Sendable {
    var schedule: NoiseSchedule { get }
    /// One per step: whole, for schedulers whose timesteps are not.
    var timesteps: [Int] { get }
    /// One per step: what the network is told.
    var modelTimesteps: [Float] { get }

    /// x_T, where a whole run begins, is this times normal noise.
    var initNoiseSigma: Float { get }
    /// The network's input at step `index` is this times x_t.
    func inputScale(_ index: Int) -> Float
    /// At the beginning of step `index`, x_t = sample * x_0 + noise * noise; after the last step x_0 alone is left.
    func noiseScales(_ index: Int) -> (sample: Float, noise: Float)
    /// The same at any timestep of training.
    func noiseScales(timestep: Int) -> (sample: Float, noise: Float)

    /// Whether step `index` wants noise.
    func needsNoise(_ index: Int) -> Bool

    /// How many buffers of the sample's size a run keeps from step to step.
    var historyCount: Int { get }

    /// One step on every element of `batch` images.
    ///   history   `historyCount` buffers of `input.count` floats, with anything in them before the first step. A step
    ///             reads what earlier ones have written, and writes only what it does not read: until its successor was
    ///             done, it may be done again.
    func step(
        _ index: Int, _ input: StepInput, history: [UnsafeMutablePointer<Float>], into output: StepOutput)
}

/// What most are like: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, and no history.
extension Scheduler {
    public var modelTimesteps: [Float] { timesteps.map { Float($0) } }
    public var initNoiseSigma: Float { 1 }
    public func inputScale(_ index: Int) -> Float { 1 }
    public func noiseScales(_ index: Int) -> (sample: Float, noise: Float) {
        index < timesteps.count ? noiseScales(timestep: timesteps[index]) : (1, 0)
    }
    public func noiseScales(timestep: Int) -> (sample: Float, noise: Float) {
        let alpha = schedule.alphasCumprod[timestep]
        return (alpha.squareRoot(), (1 - alpha).squareRoot())
    }
    public var historyCount: Int { 0 }

    /// x at the beginning of step `index`, or after the last one, from x_0 and noise.
    public func addNoise(
        _ x0: UnsafePointer<Float>, _ noise: UnsafePointer<Float>, step index: Int, count: Int,
        into x: UnsafeMutablePointer<Float>
    ) {
        let scales = noiseScales(index)
        weightedSum([Term(scales.sample, x0), Term(scales.noise, noise)], count: count, into: x)
    }

    /// The same at any timestep of training.
    public func addNoise(
        _ x0: UnsafePointer<Float>, _ noise: UnsafePointer<Float>, timestep: Int, count: Int,
        into x: UnsafeMutablePointer<Float>
    ) {
        let scales = noiseScales(timestep: timestep)
        weightedSum([Term(scales.sample, x0), Term(scales.noise, noise)], count: count, into: x)
    }
}

/// What a step reads. All buffers have `count` floats, whole images one after the other in any one layout.
public struct StepInput {
    public var batch, count: Int
    public var sample: UnsafePointer<Float>  // x_t
    public var prediction: UnsafePointer<Float>  // e
    public var variance: UnsafePointer<Float>?  // the network's, where it is learned
    public var noise: UnsafePointer<Float>?  // normal, where needsNoise

    public init(
        batch: Int, count: Int, sample: UnsafePointer<Float>, prediction: UnsafePointer<Float>,
        variance: UnsafePointer<Float>?, noise: UnsafePointer<Float>?
    ) {
        (self.batch, self.count, self.sample, self.prediction) = (batch, count, sample, prediction)
        (self.variance, self.noise) = (variance, noise)
    }
}

/// What a step writes: x_{t-1}, which may be the input's sample, and the predicted x_0.
public struct StepOutput {
    public var sample, x0: UnsafeMutablePointer<Float>

    public init(sample: UnsafeMutablePointer<Float>, x0: UnsafeMutablePointer<Float>) {
        (self.sample, self.x0) = (sample, x0)
    }
}
