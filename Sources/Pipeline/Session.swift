import Images
import Kernels
import Networks
import Sampling

/// One run of sampling over a batch: the only sampling loop of the library. One thread at a time.
///
/// If a call throws, the session is as it was before it.
public final class Session {
    public struct Options {
        public var batch = 1
        /// Of the images, in pixels; 0: the model's own.
        public var height = 0, width = 0
        public var scheduler: SchedulerKind?
        public var steps = 0  // 0: the default
        public var eta: Float = 0
        public var schedulerOptions: String?  // JSON, see Model.scheduler
        /// Share of the steps that are taken, for a run that begins from an image.
        public var strength = 1.0
        /// nil: the default of diffusers' pipeline. 1 or less: none.
        public var guidanceScale: Float?
        public var guidanceRescale: Float = 0
        /// Where modules act.
        public var modulates = Place.guided
        /// How the predictions with and without the prompt are made.
        public var passes = Passes.automatic
        public var tiling = Tiling.automatic

        public init() {}

        public enum Place: Sendable {
            /// On the guided prediction.
            case guided
            /// On the prediction with the prompt, before guidance.
            case conditional
        }

        public enum Passes: Sendable {
            /// One for small samples, two for large ones, which need half the memory.
            case automatic
            case one, two
        }
    }

    public let model: Model
    let options: Options
    public let batch: Int
    /// Of a sample.
    public let height, width: Int
    public let scheduler: any Scheduler
    let workspace: Workspace  // of one step
    let store: Workspace  // of what stays from step to step

    /// Steps done.
    public internal(set) var step = 0
    var generators: [Generator] = []  // one for the batch, or one per image; empty before seeding
    var sample: Tensor  // x_t, (batch, height, width, channels)
    private var original: Tensor  // the predicted x_0 of the last step, same shape
    var hasOriginal = false
    var spare: (sample: Tensor, original: Tensor)  // what the next step writes into
    private let history: [Tensor]  // the scheduler's, like the sample
    var start = Start()
    var reading: Reading
    var attachments: [Attachment] = []
    var lastID: UInt32 = 0
    private var previewMap: LatentPreview?
    private var isRunning = false

    public init(_ model: Model, _ options: Options = Options()) throws {
        self.model = model
        self.options = options
        batch = options.batch
        let reduction = model.reduction
        guard min(options.height, options.width) >= 0, options.height % reduction == 0, options.width % reduction == 0
        else {
            throw MCMError(
                .size, "an image of \(options.width) x \(options.height), expected multiples of \(reduction)")
        }
        height = options.height > 0 ? options.height / reduction : model.sampleSize.height
        width = options.width > 0 ? options.width / reduction : model.sampleSize.width
        _ = try model.sampleCount(batch: batch, height: height, width: width, channels: model.predictionChannels)
        let isLCM = model.kind.isConsistencyModel && options.scheduler ?? model.schedulerKind == .lcm
        scheduler = try model.scheduler(
            options.scheduler, steps: options.steps, eta: options.eta,
            from: isLCM ? .distilledStrength(options.strength) : .strength(options.strength),
            options: options.schedulerOptions)
        workspace = Workspace(threads: model.threads)
        let store = Workspace(threads: model.threads)
        let tensors = try (0..<(4 + scheduler.historyCount)).map { [batch, height, width] _ in
            try Tensor(batch, height, width, model.channels, in: store)
        }
        (sample, original, spare) = (tensors[0], tensors[1], (tensors[2], tensors[3]))
        history = Array(tensors[4...])
        self.store = store
        sample.data.update(repeating: 0, count: sample.count)
        reading = try Reading(model, options)
    }

    /// Memory that it holds for activations, samples and conditions.
    public var bytes: Int { workspace.bytes + store.bytes }
    public var steps: Int { scheduler.timesteps.count }
    public var isSeeded: Bool { !generators.isEmpty }
    /// Floats of a batch of samples.
    public var count: Int { sample.count }
    /// Of one image in pixels.
    public var imageSize: (height: Int, width: Int) { (height * model.reduction, width * model.reduction) }
    /// Bytes of one image.
    public var imageBytes: Int { imageSize.height * imageSize.width * model.imageChannels }
    /// Of the next step; nil when done.
    public var timestep: Int? { step < steps ? scheduler.timesteps[step] : nil }

    // MARK: Steps

    /// Predict, modulate, scheduler step.
    public func advance() throws {
        try checkIdle()
        try advanceOnce()
    }

    /// Steps to the end. `progress` is called after each step and returns whether to go on; if not, `.cancelled` is
    /// thrown and the run can go on from there.
    public func run(_ progress: (_ step: Int, _ steps: Int) -> Bool) throws {
        try checkIdle()
        isRunning = true
        defer { isRunning = false }
        if !isSeeded { try advanceOnce() }  // says what is wrong
        while step < steps {
            try advanceOnce()
            if !progress(step, steps) { throw MCMError(.cancelled, "cancelled after step \(step) of \(steps)") }
        }
    }

    private func advanceOnce() throws {
        guard isSeeded else { throw MCMError(.state, "the session is not seeded") }
        guard step < steps else { throw MCMError(.state, "the session is done: all \(steps) steps are taken") }
        let denoiser = try denoiser()
        var input = sample
        let inputScale = scheduler.inputScale(step)
        if inputScale != 1 { input = try map(sample, in: workspace) { $0 * inputScale } }
        let prediction = try denoiser(input, [Float](repeating: scheduler.modelTimesteps[step], count: batch))
        let (e, variance) = try split(prediction)

        var next = generators
        var noise: Tensor?
        if scheduler.needsNoise(step) {
            let drawn = try Tensor(batch, height, width, model.channels, in: workspace)
            try draw(&next, into: drawn)
            noise = drawn
        }
        scheduler.step(
            step,
            StepInput(
                batch: batch, count: sample.count, sample: sample.data, prediction: e.data, variance: variance?.data,
                noise: noise?.data),
            history: history.map(\.data), into: StepOutput(sample: spare.sample.data, x0: spare.original.data))
        start.keep(spare.sample, scheduler.noiseScales(step + 1))
        if let bad = spare.sample.buffer.first(where: { !$0.isFinite }) {
            throw MCMError(
                .invalidArgument,
                "step \(step) gives \(bad): the sample, a condition or a weight is too large")
        }
        swap(&sample, &spare.sample)
        swap(&original, &spare.original)
        (hasOriginal, generators, step) = (true, next, step + 1)
    }

    /// The network's prediction, guided and modulated.
    private func denoiser() throws -> Denoiser {
        let modules = try modulations()
        func network(_ told: Reading.Told, copies: Int = 1) throws -> Denoiser {
            unmodulated(
                model.unet, told.inputs, context: try start.context(copies: copies, in: workspace),
                controls: try controls(for: told), in: workspace)
        }
        let both: DenoiserPair
        switch try reading.inputs(batch: batch, size: imageSize, apart: hasConditionalControl, in: store) {
        case .single(let told):
            return modulated(try network(told), by: modules, in: workspace)
        case .joint(let told):
            both = halves(of: try network(told, copies: 2), in: workspace)
        case .pair(let told, let negative):
            let (conditional, unconditional) = (try network(told), try network(negative))
            both = { x, t in (try conditional(x, t), try unconditional(x, t)) }
        }
        switch options.modulates {
        case .guided:
            return modulated(guided(both, by: reading.guidance, in: workspace), by: modules, in: workspace)
        case .conditional:
            return guided(modulated(both, by: modules, in: workspace), by: reading.guidance, in: workspace)
        }
    }

    /// Prediction and learned variance, if the network's output has both.
    private func split(_ prediction: Tensor) throws -> (Tensor, Tensor?) {
        let c = model.channels
        if prediction.c == c { return (prediction, nil) }
        let e = try Tensor(batch, height, width, c, in: workspace)
        let variance = try Tensor(batch, height, width, c, in: workspace)
        for pixel in 0..<(batch * e.pixels) {
            (e.data + pixel * c).update(from: prediction.data + 2 * pixel * c, count: c)
            (variance.data + pixel * c).update(from: prediction.data + (2 * pixel + 1) * c, count: c)
        }
        return (e, variance)
    }

    func checkIdle() throws {
        if isRunning { throw MCMError(.state, "the session is running: not allowed inside its progress callback") }
    }

    // MARK: Looking in, and changing

    /// x_t as (batch, channels, height, width).
    public func copySample(into values: UnsafeMutablePointer<Float>) throws {
        guard isSeeded else { throw MCMError(.state, "the session is not seeded") }
        toNCHW(sample, into: values)
    }

    public func setSample(_ values: UnsafePointer<Float>) throws {
        guard isSeeded else { throw MCMError(.state, "the session is not seeded") }
        if let bad = (0..<sample.count).first(where: { !values[$0].isFinite }) {
            throw MCMError(
                .invalidArgument, "the sample holds \(values[bad]) at element \(bad), expected finite numbers")
        }
        fromNCHW(values, into: sample)
    }

    /// The predicted x_0 as (batch, channels, height, width).
    public func copyOriginal(into values: UnsafeMutablePointer<Float>) throws {
        toNCHW(try predictedOriginal(), into: values)
    }

    /// Image `index` of x_t or of the predicted x_0, as interleaved bytes.
    public func decode(original: Bool, index: Int, into pixels: UnsafeMutablePointer<UInt8>) throws {
        let sample = try image(original: original, index)
        // An autoencoder needs memory that the steps do not need meanwhile.
        if model.latents != nil { workspace.trim() }
        try model.decode(sample, tiling: options.tiling, into: pixels)
    }

    /// The predicted x_0 of image `index` at once, (height, width, imageChannels) interleaved bytes: itself, or a linear map
    /// of its latents.
    public func preview(_ index: Int, into pixels: UnsafeMutablePointer<UInt8>) throws {
        let sample = try image(original: true, index)
        guard let latents = model.latents else { return try model.decode(sample, tiling: .off, into: pixels) }
        let map = try previewMap ?? LatentPreview(latents, in: Workspace(threads: model.threads))
        previewMap = map
        map(sample, into: pixels)
    }

    private func image(original: Bool, _ index: Int) throws -> Tensor {
        guard (0..<batch).contains(index) else {
            throw MCMError(.invalidArgument, "image \(index), expected 0 to \(batch - 1)")
        }
        guard isSeeded else { throw MCMError(.state, "the session is not seeded") }
        return (original ? try predictedOriginal() : sample).image(index)
    }

    private func predictedOriginal() throws -> Tensor {
        guard hasOriginal else { throw MCMError(.state, "no step has been taken since the session was seeded") }
        return original
    }
}
