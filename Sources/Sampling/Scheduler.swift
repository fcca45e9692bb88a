import Kernels

/// The arithmetic of one run of sampling: from x_t and a prediction to x_{t-1}. Knows no network. Immutable; where a
/// step draws noise, the caller draws it, in order.
public protocol Scheduler: Sendable {
    var schedule: NoiseSchedule { get }
    /// One per step, descending.
    var timesteps: [Int] { get }

    /// Whether step `index` wants noise.
    func needsNoise(_ index: Int) -> Bool

    /// One step on every element of `batch` images.
    func step(_ index: Int, _ input: StepInput, into output: StepOutput)
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
