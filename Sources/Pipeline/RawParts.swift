import Images
import Kernels
import Networks

/// The parts of a step for a loop of the caller's own. Samples and predictions are (batch, channels, height, width) as
/// the caller has them; the arithmetic is the session's.
extension Model {
    /// What a prediction depends on beside the sample and its time.
    public struct PredictionInputs {
        public var classInput: [Float] = []
        public var prompt: Prompt?
        /// nil: those of a whole image.
        public var timeIDs: [Float]?
        /// Empty: zeros.
        public var timestepCond: [Float] = []

        public init() {}
    }

    ///   sample      (batch, inChannels of the network, height, width)
    ///   prediction  (batch, predictionChannels, height, width)
    public func predict(
        _ sample: UnsafePointer<Float>, batch: Int, height: Int, width: Int, timesteps: [Float],
        _ given: PredictionInputs = PredictionInputs(), into prediction: UnsafeMutablePointer<Float>
    ) throws {
        try unet.checkClassInput(given.classInput)
        try idle.withWorkspace(threads: threads) { workspace in
            let x = try Tensor(batch, height, width, unet.config.inChannels, in: workspace)
            fromNCHW(sample, into: x)
            let inputs = try inputs(given, batch: batch, height: height, width: width, in: workspace)
            toNCHW(try unet(x, timesteps: timesteps, inputs, in: workspace), into: prediction)
        }
    }

    /// What the network is told of a batch of samples beside their times.
    public func inputs(
        _ given: PredictionInputs, batch: Int, height: Int, width: Int, in workspace: Workspace
    ) throws -> UNetInputs {
        var inputs = UNetInputs()
        inputs.conditions.classInput = given.classInput
        inputs.conditions.timestepCond = given.timestepCond
        if let prompt = given.prompt { try check(prompt, "the prompt", batch: batch) }
        guard let reader = unet as? UNet2DCondition else { return inputs }
        guard let prompt = given.prompt else { throw MCMError(.state, "the model reads a text, no prompt is given") }
        inputs.text = try reader.text(prompt.states(n: batch, in: workspace), in: workspace)
        if pooledChannels > 0 {
            inputs.conditions.textEmbeds = prompt.pooled(n: batch)
            let ids = defaultTimeIDs((height * reduction, width * reduction), isNegative: false)
            inputs.conditions.timeIDs = given.timeIDs ?? (0..<batch).flatMap { _ in ids }
        }
        return inputs
    }

    /// e + weight * (M(x, e, t, y) - e).
    ///   conditions   (modality, one image or one per sample); what is not named is absent
    public func modulate(
        by modulator: Modulator, _ sample: UnsafePointer<Float>, _ prediction: UnsafePointer<Float>, batch: Int,
        height: Int, width: Int, timesteps: [Float], conditions: [(modality: String, images: [ImageView])],
        weight: Float, into out: UnsafeMutablePointer<Float>
    ) throws {
        try check(modulator, otherBase: true)
        try Session.check(weight: weight)
        try idle.withWorkspace(threads: threads) { workspace in
            let x = try Tensor(batch, height, width, channels, in: workspace)
            let e = try Tensor(batch, height, width, channels, in: workspace)
            fromNCHW(sample, into: x)
            fromNCHW(prediction, into: e)
            var given = Conditions(modulator, n: batch, h: height, w: width)
            for (i, (modality, images)) in conditions.enumerated() {
                if conditions[..<i].contains(where: { $0.modality == modality }) {
                    throw MCMError(.invalidArgument, "modality \"\(modality)\" is given twice")
                }
                try given.set(modality, images, in: workspace)
            }
            let module = Modulation(modulator: modulator, conditions: try given.tensor(in: workspace), weight: weight)
            let denoiser = modulated({ _, _ in e }, by: weight == 0 ? [] : [module], in: workspace)
            toNCHW(try denoiser(x, timesteps), into: out)
        }
    }

    /// Images of one size to samples: (images, channels, height, width).
    public func encode(_ images: [ImageView], into samples: UnsafeMutablePointer<Float>) throws {
        toNCHW(try encode(images, in: Workspace(threads: threads)), into: samples)
    }

    /// The bytes of one sample (channels, height, width): of an image reduction times as high and wide, channels
    /// interleaved.
    public func decode(
        _ sample: UnsafePointer<Float>, height: Int, width: Int, into pixels: UnsafeMutablePointer<UInt8>
    ) throws {
        let workspace = Workspace(threads: threads)
        let x = try Tensor(1, height, width, channels, in: workspace)
        fromNCHW(sample, into: x)
        try decode(x, tiling: .automatic, into: pixels)
    }
}
