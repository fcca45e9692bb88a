import Kernels
public import Images
public import Networks
public import Pipeline
public import Sampling

/// One step of a run, as `Session.next` gives it. It looks into the session: once that has gone on, `.state` is thrown.
public struct Step {
    /// Steps done with this one, and of the whole run.
    public let number, count: Int
    /// The timestep from which this step was taken, as the network was told, rounded.
    public let timestep: Int
    let session: Session

    /// x_{t-1}, what the step made: (batch, channels, height, width) of samples.
    public var x: [Float] { get throws { try current.x } }
    /// The x_0 that the step predicted, of the same shape.
    public var x0: [Float] { get throws { try current.x0 } }
    /// The predicted x_0 of one image at once: of a latent model a small picture without the autoencoder's work.
    public func preview(_ index: Int = 0) throws -> PixelImage { try current.preview(index) }
    /// The predicted x_0 of one image, decoded.
    public func image(_ index: Int = 0) throws -> PixelImage { try current.image(index, predicted: true) }

    private var current: Session {
        get throws {
            guard session.step == number else {
                throw MCMError(.state, "step \(number) has passed, \(session.step) are done")
            }
            return session
        }
    }
}

extension Session {
    /// A session with the options that are asked for most; `Options` has all of them.
    ///   width, height  of an image; nil: the model's own
    public convenience init(
        _ model: Model, scheduler: SchedulerKind? = nil, steps: Int = 0, batch: Int = 1, width: Int? = nil,
        height: Int? = nil, guidance: Float? = nil
    ) throws {
        var options = Options()
        (options.scheduler, options.steps, options.batch) = (scheduler, steps, batch)
        (options.width, options.height) = (width ?? 0, height ?? 0)
        options.guidanceScale = guidance
        try self.init(model, options)
    }

    /// Starts a run, or starts over. One generator draws for the whole batch.
    public func seed(_ seed: UInt64) throws { try self.seed([seed]) }

    /// What a model that reads a text is told, and with guidance what it is led away from.
    ///   negative  nil: an empty text, or what the model takes for none
    public func setPrompt(_ text: String, negative: String? = nil, _ options: PromptOptions = PromptOptions()) throws {
        let prompt = try model.prompt([text], options)
        var plain = options
        plain.clipSkip = 0  // as in diffusers
        try setPrompt(prompt, negative: negative.map { try model.prompt([$0], plain) })
    }

    // MARK: What it follows. Images are one for the batch or one per image.

    /// Attaches a module with its conditions by the names of their modalities, and returns a number that names the
    /// attachment.
    ///   weight     w in e' = e + sum_i w_i (M_i(x, e, t, y_i) - e)
    ///   window     of the run's share of steps in which it works
    ///   otherBase  attach even if it was trained on a base with another fingerprint
    @discardableResult
    public func attach(
        _ module: Modulator, _ conditions: [String: PixelImage] = [:], weight: Float = 1,
        window: ClosedRange<Float> = 0...1, otherBase: Bool = false
    ) throws -> UInt32 {
        let id = try attach(
            module, weight: weight, window: Window(begin: window.lowerBound, end: window.upperBound),
            otherBase: otherBase)
        do {
            for (modality, image) in conditions { try setCondition(id, modality, [image]) }
        } catch {
            try detach(id)
            throw error
        }
        return id
    }

    /// Attaches a ControlNet.
    ///   images  RGB or grey, of the session's image size
    @discardableResult
    public func attach(
        _ controlnet: ControlNetModel, _ images: [PixelImage], weight: Float = 1, window: ClosedRange<Float> = 0...1,
        guess: Bool = false
    ) throws -> UInt32 {
        try withViews(images) {
            try attach(
                controlnet, $0, guessMode: guess, weight: weight,
                window: Window(begin: window.lowerBound, end: window.upperBound))
        }
    }

    /// Sets or replaces the condition of one modality; images of any size.
    public func setCondition(_ id: UInt32, _ modality: String, _ images: [PixelImage]) throws {
        try withViews(images) { try setCondition(id, modality, $0) }
    }

    /// Images to begin from, of the session's size, for the next `seed`. None: noise alone.
    @_disfavoredOverload  // for [], where it means what the core's does
    public func setImage(_ images: [PixelImage]) throws { try withViews(images) { try setImage($0) } }

    /// What is to be painted in them (from 128 on; below, the image stays), for the next `seed`.
    @_disfavoredOverload
    public func setMask(_ masks: [PixelImage]) throws { try withViews(masks) { try setMask($0) } }

    // MARK: Looking in

    /// x_t: (batch, channels, height, width) of samples.
    public var x: [Float] {
        get throws { try floats { try copySample(into: $0) } }
    }

    /// The x_0 that the last step predicted, of the same shape.
    public var x0: [Float] {
        get throws { try floats { try copyOriginal(into: $0) } }
    }

    /// Replaces x_t by as many finite numbers.
    public func setX(_ values: [Float]) throws {
        guard values.count == count else {
            throw MCMError(.size, "\(values.count) numbers for a sample, expected \(count)")
        }
        try values.withUnsafeBufferPointer { if let base = $0.baseAddress { try setSample(base) } }
    }

    /// Image `index` of x_t, the result when the run is done, or of the predicted x_0.
    public func image(_ index: Int = 0, predicted: Bool = false) throws -> PixelImage {
        try picture(imageSize) { try decode(original: predicted, index: index, into: $0) }
    }

    /// The predicted x_0 of one image at once: of a latent model a linear map of its latents, of the sample's size.
    public func preview(_ index: Int = 0) throws -> PixelImage {
        try picture((height, width)) { try preview(index, into: $0) }
    }

    /// All images.
    public func images() throws -> [PixelImage] { try (0..<batch).map { try image($0) } }

    private func floats(_ fill: (UnsafeMutablePointer<Float>) throws -> Void) throws -> [Float] {
        let n = count
        try checkMemory(n * MemoryLayout<Float>.stride, "a sample")
        return try [Float](unsafeUninitializedCapacity: n) { buffer, filled in
            guard let base = buffer.baseAddress else { return }
            try fill(base)
            filled = n
        }
    }

    private func picture(
        _ size: (height: Int, width: Int), _ fill: (UnsafeMutablePointer<UInt8>) throws -> Void
    ) throws -> PixelImage {
        let bytes = size.height * size.width * model.imageChannels
        try checkMemory(bytes, "an image")
        let pixels = try [UInt8](unsafeUninitializedCapacity: bytes) { buffer, filled in
            guard let base = buffer.baseAddress else { return }
            try fill(base)
            filled = bytes
        }
        return try PixelImage(width: size.width, height: size.height, channels: model.imageChannels, pixels: pixels)
    }
}

// MARK: Steps

extension Session {
    /// Takes the next step; nil when the run is done.
    public func next() throws -> Step? {
        guard let timestep else { return nil }
        try advance()
        return Step(number: step, count: steps, timestep: timestep, session: self)
    }
}

/// `for try await step in session` takes the steps that are left, and ends with `.cancelled` when its task is. A step
/// runs on the task's own thread; it does not suspend.
extension Session: AsyncSequence {
    public struct AsyncIterator: AsyncIteratorProtocol {
        let session: Session

        public mutating func next() async throws -> Step? {
            if Task.isCancelled {
                throw MCMError(.cancelled, "cancelled after step \(session.step) of \(session.steps)")
            }
            return try session.next()
        }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(session: self) }
}

// MARK: One call

extension Model {
    /// Draws a batch of images in one call.
    ///   seeds     one for the batch, or one per image
    ///   prepare   attaches modules, sets prompts, conditions and an image to begin from, before the run is seeded
    ///   progress  is called after each step and returns whether to go on; if not, `.cancelled` is thrown
    public func generate(
        _ options: Session.Options = Session.Options(), seeds: [UInt64] = [0],
        prepare: (Session) throws -> Void = { _ in }, progress: (Step) -> Bool = { _ in true }
    ) throws -> [PixelImage] {
        let session = try Session(self, options)
        try prepare(session)
        try session.seed(seeds)
        while let step = try session.next() {
            guard progress(step) else {
                throw MCMError(.cancelled, "cancelled after step \(step.number) of \(step.count)")
            }
        }
        return try session.images()
    }
}
