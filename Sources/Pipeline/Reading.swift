import Glibc
import Kernels
import Networks

/// What the network of a session reads beside the sample: prompts, sizes, classes.
struct Reading {
    let guidance: Guidance
    private let model: Model
    private let passes: Session.Options.Passes
    private var classInput: [Float] = []
    private var prompts: (positive: Prompt, negative: Prompt?)?
    /// Stable Diffusion XL's, if not the default: as many for each image.
    private var timeIDs: (positive: [Float], negative: [Float])?
    private var made: Inputs?

    /// Whose prompts they are.
    enum Role: Hashable { case prompt, negative, both }

    /// What the network is told.
    struct Told {
        var inputs: UNetInputs
        let role: Role
        /// The text's, for other networks: (n, 1, tokens, channels); of no tokens where no text is read
        let states: Tensor
    }

    /// How it is told.
    indirect enum Inputs {
        /// Without guidance.
        case single(Told)
        /// Without and with the prompt, for a batch twice as large.
        case joint(Told)
        /// Each for itself.
        case pair(Told, negative: Told)
    }

    init(_ model: Model, _ options: Session.Options) throws {
        let scale = options.guidanceScale ?? model.kind.guidanceScale
        guard scale.isFinite, scale >= 0 else {
            throw MCMError(.invalidArgument, "the guidance scale is \(scale), expected a finite number >= 0")
        }
        guard (0...1).contains(options.guidanceRescale) else {
            throw MCMError(.invalidArgument, "guidance_rescale is \(options.guidanceRescale), expected 0 to 1")
        }
        guidance = Guidance(scale: scale, rescale: options.guidanceRescale)
        (self.model, passes) = (model, options.passes)
    }

    /// Whether there are two predictions. Consistency models are told the scale instead.
    private var isGuided: Bool { guidance.scale > 1 && reader != nil && reader?.config.timeCondProjDim == nil }

    private var reader: UNet2DCondition? { model.unet as? UNet2DCondition }

    // MARK: Setting

    mutating func set(classInput values: [Float], batch: Int) throws {
        let expected = batch * model.unet.classInputSize
        guard values.count == expected else {
            throw MCMError(.size, "\(values.count) class inputs, expected \(expected)")
        }
        guard values.allSatisfy({ $0.isFinite }) else {
            throw MCMError(.invalidArgument, "a class input is not finite")
        }
        try model.unet.checkClassInput(values)
        (classInput, made) = (values, nil)
    }

    /// negative: nil for what the model takes for none
    mutating func set(prompt: Prompt, negative: Prompt?, batch: Int) throws {
        try model.check(prompt, "the prompt", batch: batch)
        if let negative { try model.check(negative, "the negative prompt", batch: batch) }
        let negative = try negative ?? (isGuided ? model.noPrompt(beside: prompt) : nil)
        (prompts, made) = ((prompt, negative), nil)
    }

    /// Both: as many for each of `batch` images.
    mutating func set(timeIDs positive: [Float], negative: [Float], batch: Int) throws {
        let expected = batch * model.timeIDCount
        guard positive.count == expected, negative.count == expected else {
            throw MCMError(.size, "\(positive.count) and \(negative.count) time ids, expected \(expected) each")
        }
        (timeIDs, made) = ((positive, negative), nil)
    }

    // MARK: Using

    ///   size   of an image in pixels
    ///   store  where what is made stays
    ///   apart  whether the predictions with and without the prompt are to be made each for itself
    mutating func inputs(
        batch: Int, size: (height: Int, width: Int), apart: Bool, in store: Workspace
    ) throws -> Inputs {
        if let made {
            guard apart, case .joint = made else { return made }
        }
        let inputs = try make(batch, size, apart: apart, in: store)
        made = inputs
        return inputs
    }

    private func make(
        _ batch: Int, _ size: (height: Int, width: Int), apart: Bool, in store: Workspace
    ) throws -> Inputs {
        guard classInput.count == batch * model.unet.classInputSize else {
            throw MCMError(.state, "the model wants \(model.unet.classInputSize) class inputs per image, none are set")
        }
        var plain = UNetInputs()
        plain.conditions.classInput = classInput
        guard let reader else {
            return .single(Told(inputs: plain, role: .prompt, states: try Tensor(batch, 1, 0, 0, in: store)))
        }
        guard let (positive, negative) = prompts else {
            throw MCMError(.state, "the model reads a text, no prompt is set")
        }
        if let dimension = reader.config.timeCondProjDim {
            let embedding = Self.embedding(ofScale: guidance.scale - 1, dimension)
            plain.conditions.timestepCond = (0..<batch).flatMap { _ in embedding }
        }
        func ids(_ isNegative: Bool) -> [Float] {
            if let timeIDs { return isNegative ? timeIDs.negative : timeIDs.positive }
            let one = model.defaultTimeIDs(size, isNegative: isNegative)
            return (0..<batch).flatMap { _ in one }
        }
        /// For prompts one after the other, each for a whole batch.
        func told(_ role: Role, _ prompts: [(prompt: Prompt, isNegative: Bool)]) throws -> Told {
            var inputs = plain
            inputs.conditions.classInput = prompts.flatMap { _ in plain.conditions.classInput }
            inputs.conditions.timestepCond = prompts.flatMap { _ in plain.conditions.timestepCond }
            if model.pooledChannels > 0 {
                inputs.conditions.textEmbeds = prompts.flatMap { $0.prompt.pooled(n: batch) }
                inputs.conditions.timeIDs = prompts.flatMap { ids($0.isNegative) }
            }
            let states = try states(prompts.map(\.prompt), batch, in: store)
            inputs.text = try reader.text(states, in: store)
            return Told(inputs: inputs, role: role, states: states)
        }
        guard isGuided, let negative else { return .single(try told(.prompt, [(positive, false)])) }
        let isSmall = batch * size.height * size.width <= 512 * 512
        // Each is what it would be alone, so both ways give the same bits.
        if !apart, positive.tokens == negative.tokens, passes == .one || passes == .automatic && isSmall {
            return .joint(try told(.both, [(negative, true), (positive, false)]))
        }
        return .pair(try told(.prompt, [(positive, false)]), negative: try told(.negative, [(negative, true)]))
    }

    /// (prompts * batch, 1, tokens, channels)
    private func states(_ prompts: [Prompt], _ batch: Int, in workspace: Workspace) throws -> Tensor {
        let parts = try prompts.map { try $0.states(n: batch, in: workspace) }
        if parts.count == 1 { return parts[0] }
        let first = parts[0]
        let all = try Tensor(parts.count * batch, 1, first.w, first.c, in: workspace)
        for (i, part) in parts.enumerated() { (all.data + i * part.count).update(from: part.data, count: part.count) }
        return all
    }

    /// diffusers' get_guidance_scale_embedding: of w, as times are embedded.
    private static func embedding(ofScale w: Float, _ dimension: Int) -> [Float] {
        let half = dimension / 2
        let frequencies = (0..<half).map { Glibc.exp(Float($0) * -(Glibc.log(Float(10000)) / Float(max(half - 1, 1)))) }
        let angles = frequencies.map { w * 1000 * $0 }
        return angles.map { Glibc.sin($0) } + angles.map { Glibc.cos($0) }
            + [Float](repeating: 0, count: dimension - 2 * half)
    }
}
