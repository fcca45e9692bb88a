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
        public var height = 0, width = 0  // 0: the model's own
        public var scheduler: SchedulerKind?
        public var steps = 0  // 0: the default
        public var eta: Float = 0
        public var schedulerOptions: String?  // JSON, see Model.scheduler

        public init() {}
    }

    public let model: Model
    public let batch, height, width: Int
    public let scheduler: any Scheduler
    private let workspace: Workspace  // of one step
    private let store: Workspace  // of what stays from step to step

    /// Steps done.
    public private(set) var step = 0
    private var generators: [Generator] = []  // one for the batch, or one per image; empty before seeding
    private var sample: Tensor  // x_t, (batch, height, width, channels)
    private var original: Tensor  // the predicted x_0 of the last step, same shape
    private var hasOriginal = false
    private var spare: (sample: Tensor, original: Tensor)  // what the next step writes into
    private let history: [Tensor]  // the scheduler's, like the sample
    private var classInput: [Float]
    private var attachments: [Attachment] = []
    private var lastID: UInt32 = 0
    private var isRunning = false

    private struct Attachment {
        let id: UInt32
        var conditions: Conditions
        var weight: Float
        var window: Window
    }

    /// Of the steps i of n, those with begin <= i / n < end. In Float on both sides, so that a bound computed as i / n
    /// meets its step.
    public struct Window {
        let begin, end: Float

        public init(begin: Float, end: Float) throws {
            guard begin >= 0, begin <= end, end <= 1 else {
                throw MCMError(
                    .invalidArgument, "the window is \(begin) to \(end), expected 0 <= begin <= end <= 1")
            }
            (self.begin, self.end) = (begin, end)
        }

        func contains(_ step: Int, of steps: Int) -> Bool {
            let share = Float(step) / Float(steps)
            return begin <= share && share < end
        }
    }

    public init(_ model: Model, _ options: Options = Options()) throws {
        self.model = model
        batch = options.batch
        height = options.height > 0 ? options.height : model.sampleSize.height
        width = options.width > 0 ? options.width : model.sampleSize.width
        _ = try model.sampleCount(batch: batch, height: height, width: width, channels: model.predictionChannels)
        scheduler = try model.scheduler(
            options.scheduler, steps: options.steps, eta: options.eta, options: options.schedulerOptions)
        workspace = Workspace(threads: model.threads)
        let store = Workspace(threads: model.threads)
        let tensors = try (0..<(4 + scheduler.historyCount)).map { [batch, height, width] _ in
            try Tensor(batch, height, width, model.channels, in: store)
        }
        (sample, original, spare) = (tensors[0], tensors[1], (tensors[2], tensors[3]))
        history = Array(tensors[4...])
        self.store = store
        sample.data.update(repeating: 0, count: sample.count)
        classInput = []
    }

    /// Memory that it holds for activations, samples and conditions.
    public var bytes: Int { workspace.bytes + store.bytes }
    public var steps: Int { scheduler.timesteps.count }
    public var isSeeded: Bool { !generators.isEmpty }
    /// Floats of a batch of samples.
    public var count: Int { sample.count }
    /// Of the next step; nil when done.
    public var timestep: Int? { step < steps ? scheduler.timesteps[step] : nil }

    // MARK: What the run starts with

    /// Draws x_T and goes to the first step. One seed: one generator for the batch; else one per image.
    public func seed(_ seeds: [UInt64]) throws {
        try checkIdle()
        guard seeds.count == 1 || seeds.count == batch else {
            throw MCMError(.size, "\(seeds.count) seeds, expected 1 or the batch size \(batch)")
        }
        var fresh = seeds.map { Generator(seed: $0) }
        try draw(&fresh, into: spare.sample)
        scale(spare.sample, by: scheduler.initNoiseSigma, into: spare.sample)
        swap(&sample, &spare.sample)
        (hasOriginal, generators, step) = (false, fresh, 0)
    }

    private func scale(_ x: Tensor, by factor: Float, into out: Tensor) {
        if factor != 1 { for i in 0..<x.count { out.data[i] = x.data[i] * factor } }
    }

    /// A normal draw of the sample's shape, in the order in which diffusers' randn_tensor draws (n, c, h, w).
    private func draw(_ generators: inout [Generator], into noise: Tensor) throws {
        let order = try Tensor(batch, height, width, model.channels, in: workspace)
        let share = order.count / generators.count
        for i in generators.indices { generators[i].normal(into: order.data + i * share, count: share) }
        fromNCHW(order.data, into: noise)
    }

    /// batch * classInputSize numbers.
    public func setClassInput(_ values: [Float]) throws {
        let expected = batch * model.unet.classInputSize
        guard values.count == expected else {
            throw MCMError(.size, "\(values.count) class inputs, expected \(expected)")
        }
        guard values.allSatisfy({ $0.isFinite }) else {
            throw MCMError(.invalidArgument, "a class input is not finite")
        }
        try model.unet.checkClassInput(values)
        classInput = values
    }

    // MARK: Modules

    /// Returns a number that names the attachment.
    public func attach(_ modulator: Modulator, weight: Float, window: Window, otherBase: Bool) throws -> UInt32 {
        try model.check(modulator, otherBase: otherBase)
        try modulator.net.checkSize(height: height, width: width)
        try Self.check(weight: weight)
        let (id, overflow) = lastID.addingReportingOverflow(1)
        if overflow { throw MCMError(.state, "the session has used up its attachment numbers") }
        lastID = id
        attachments.append(
            Attachment(
                id: id, conditions: Conditions(modulator, n: batch, h: height, w: width), weight: weight,
                window: window))
        return id
    }

    public func detach(_ id: UInt32) throws {
        attachments.remove(at: try index(id))
    }

    public func setWeight(_ id: UInt32, _ weight: Float) throws {
        let i = try index(id)
        try Self.check(weight: weight)
        attachments[i].weight = weight
    }

    public func setWindow(_ id: UInt32, _ window: Window) throws {
        attachments[try index(id)].window = window
    }

    public func setCondition(_ id: UInt32, _ modality: String, _ images: [ImageView]) throws {
        try attachments[index(id)].conditions.set(modality, images, in: store)
    }

    /// The same for all images from a PNG file.
    public func setCondition(_ id: UInt32, _ modality: String, png path: String) throws {
        let conditions = attachments[try index(id)].conditions
        let image = try PNG.read(path: path, as: conditions.modality(modality).encoding == .rgb ? .rgb : .grey)
        do {
            try image.withView { try setCondition(id, modality, [$0]) }
        } catch let error as MCMError {
            throw MCMError(error.kind, "\(path): \(error.message)")
        }
    }

    /// nil: all modalities.
    public func clearCondition(_ id: UInt32, _ modality: String?) throws {
        let i = try index(id)
        if let modality { try attachments[i].conditions.clear(modality) } else { attachments[i].conditions.clearAll() }
    }

    private func index(_ id: UInt32) throws -> Int {
        guard let i = attachments.firstIndex(where: { $0.id == id }) else {
            throw MCMError(.invalidArgument, "the session has no attachment \(id)")
        }
        return i
    }

    static func check(weight: Float) throws {
        guard weight.isFinite else {
            throw MCMError(.invalidArgument, "the weight is \(weight), expected a finite number")
        }
    }

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
        guard classInput.count == batch * model.unet.classInputSize else {
            throw MCMError(.state, "the model wants \(model.unet.classInputSize) class inputs per image, none are set")
        }
        var modules: [Modulation] = []
        for i in attachments.indices
        where attachments[i].weight != 0 && attachments[i].window.contains(step, of: steps) {
            modules.append(
                Modulation(
                    modulator: attachments[i].conditions.modulator,
                    conditions: try attachments[i].conditions.tensor(in: store), weight: attachments[i].weight))
        }
        let denoiser = modulated(
            unmodulated(model, classInput: classInput, in: workspace), by: modules, in: workspace)
        var input = sample
        let inputScale = scheduler.inputScale(step)
        if inputScale != 1 {
            input = try Tensor(batch, height, width, model.channels, in: workspace)
            scale(sample, by: inputScale, into: input)
        }
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
        if let bad = spare.sample.buffer.first(where: { !$0.isFinite }) {
            throw MCMError(
                .invalidArgument,
                "step \(step) gives \(bad): the sample, a condition or a weight is too large")
        }
        swap(&sample, &spare.sample)
        swap(&original, &spare.original)
        (hasOriginal, generators, step) = (true, next, step + 1)
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

    private func checkIdle() throws {
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
        guard (0..<batch).contains(index) else {
            throw MCMError(.invalidArgument, "image \(index), expected 0 to \(batch - 1)")
        }
        guard isSeeded else { throw MCMError(.state, "the session is not seeded") }
        let x = original ? try predictedOriginal() : sample
        model.decode(x.data + index * x.stride, count: x.stride, into: pixels)
    }

    private func predictedOriginal() throws -> Tensor {
        guard hasOriginal else { throw MCMError(.state, "no step has been taken since the session was seeded") }
        return original
    }
}
