import Checkpoint
import Glibc
import Images
import Kernels
public import Pipeline
import Networks
import Sampling

/// A recipe with its files opened: draws it for any seeds.
public final class Drawing {
    public let model: Model
    /// The recipe with absolute paths, what its files held, and the numbers that defaults stand for.
    public private(set) var recipe: Recipe
    private var modules: [Modulator] = []
    private var controlnets: [ControlNetModel] = []
    private let images: ImageFiles
    private let prompts: (positive: Prompt, negative: Prompt?)?
    private let options: Session.Options

    /// Whether the end of a prompt was left out, since it is too long and not read in chunks.
    public var isTruncated: Bool { prompts.map { $0.isTruncated || $1?.isTruncated ?? false } ?? false }

    /// Opens the model, modules and ControlNets. What the recipe says of a file (a digest, the model's fingerprint)
    /// must still hold: `.incompatible` otherwise.
    ///   threads, onDemand   see Model.Options; images do not depend on them
    public init(_ recipe: Recipe, threads: Int = 0, onDemand: Bool = false) throws {
        var recipe = try Recipe(text: recipe.text)  // which finds what no recipe can say
        var images = ImageFiles()
        model = try recipe.openModel(threads: threads, onDemand: onDemand)
        for i in recipe.modules.indices {
            try recipe.modules[i].file.settle { try digestOfFile($0) }
            modules.append(try Modulator(path: recipe.modules[i].file.path))
        }
        for i in recipe.controlnets.indices {
            recipe.controlnets[i].file.path = try absolute(recipe.controlnets[i].file.path)
            try recipe.controlnets[i].image?.settle { try images.read($0) }
            controlnets.append(
                try ControlNetModel(path: recipe.controlnets[i].file.path, recipe.modelOptions(threads, onDemand)))
        }
        for name in recipe.conditions.keys {
            guard modules.contains(where: { $0.modalities.contains { $0.name == name } }) else {
                let known = modules.flatMap { $0.modalities.map { quoted($0.name) } }.joined(separator: ", ")
                throw MCMError(
                    .incompatible,
                    "no module has a modality \(quoted(name))"
                        + (known.isEmpty ? ": none is attached" : ", they have \(known)"))
            }
            try recipe.conditions[name]?.settle { try images.read($0) }
        }
        try recipe.image?.settle { try images.read($0) }
        try recipe.mask?.settle { try images.read($0) }
        if recipe.width == 0, recipe.height == 0, let image = recipe.image {
            let pixels = try images.pixels(image)
            (recipe.width, recipe.height) = (pixels.width, pixels.height)
        }
        if (recipe.prompt ?? recipe.negative) != nil, !model.readsText {
            throw MCMError(.incompatible, "the model reads no text, a prompt is of no use to it")
        }
        prompts = model.readsText ? try recipe.prompts(model) : nil
        recipe.scheduler = recipe.scheduler ?? model.schedulerKind
        options = recipe.sessionOptions
        let probe = try Session(model, options)
        (recipe.width, recipe.height) = (probe.imageSize.width, probe.imageSize.height)
        if recipe.steps == 0, let kind = recipe.scheduler {
            recipe.steps = min(kind.defaultSteps, model.schedulerConfig.numTrainTimesteps)
        }
        recipe.version = Library.version
        (self.recipe, self.images) = (recipe, images)
    }

    /// A session that is ready for `seed`.
    public func session(batch: Int = 1) throws -> Session {
        var options = options
        options.batch = batch
        let session = try Session(model, options)
        for (module, part) in zip(modules, recipe.modules) {
            let id = try session.attach(
                module, weight: part.weight, window: Session.Window(begin: part.begin, end: part.end),
                otherBase: recipe.otherBase)
            for modality in module.modalities {
                guard let file = recipe.conditions[modality.name] else { continue }
                try named(file) {
                    let image = try images.pixels(file, as: modality.encoding == .oneHot ? .grey : .opaque)
                    try session.setCondition(id, modality.name, [image])
                }
            }
        }
        for (net, part) in zip(controlnets, recipe.controlnets) {
            guard let image = part.image else {
                throw MCMError(.invalidArgument, "\(part.file.path): a ControlNet has no image to follow")
            }
            try named(image) {
                try images.pixels(image).withView {
                    _ = try session.attach(
                        net, [$0], guessMode: recipe.guess, weight: part.weight,
                        window: Session.Window(begin: part.begin, end: part.end))
                }
            }
        }
        if let image = recipe.image { try named(image) { try session.setImage([images.pixels(image)]) } }
        if let mask = recipe.mask { try named(mask) { try session.setMask([images.pixels(mask, as: .grey)]) } }
        if let prompts { try session.setPrompt(prompts.positive, negative: prompts.negative) }
        if !recipe.classInput.isEmpty || model.unet.classInputSize > 0 {
            try session.setClassInput((0..<batch).flatMap { _ in recipe.classInput })
        }
        return session
    }

    /// Draws one image for each seed, together. Each is what it would be alone.
    ///   progress  as of Model.generate
    public func draw(_ seeds: [UInt32], progress: (Step) -> Bool = { _ in true }) throws -> [PixelImage] {
        let session = try session(batch: seeds.count)
        try session.seed(seeds.map { UInt64($0) })
        while let step = try session.next() {
            guard progress(step) else {
                throw MCMError(.cancelled, "cancelled after step \(step.number) of \(step.count)")
            }
        }
        return try session.images()
    }

    /// Errors of an image's content say which file it is.
    private func named(_ file: Recipe.File, _ body: () throws -> Void) throws {
        do {
            try body()
        } catch let error as MCMError where !error.message.hasPrefix(file.path) {
            throw MCMError(error.kind, "\(file.path): \(error.message)")
        }
    }
}

/// Images by their paths, read once: what becomes of the files later does not matter.
private struct ImageFiles {
    private var contents: [String: [UInt8]] = [:]

    /// Keeps what the file holds. Returns its digest.
    mutating func read(_ path: String) throws -> String {
        let bytes = try contents[path] ?? readFile(path, limit: PNG.fileLimit)
        contents[path] = bytes
        return bytes.withUnsafeBytes(digest)
    }

    func pixels(_ file: Recipe.File, as form: PNG.Form = .opaque) throws -> PixelImage {
        try (contents[file.path] ?? []).withUnsafeBytes { try PNG.read($0, as: form, name: file.path) }
    }
}

extension Recipe {
    func modelOptions(_ threads: Int, _ onDemand: Bool) -> Model.Options {
        var options = Model.Options(threads: threads)
        (options.variant, options.tokenizer, options.rounds) = (variant, tokenizer, int8)
        options.predictionType = predictionType.flatMap { .init(rawValue: $0) }
        options.onDemand = onDemand
        return options
    }

    fileprivate mutating func openModel(threads: Int, onDemand: Bool) throws -> Model {
        model.path = try absolute(model.path)
        if let folder = tokenizer { tokenizer = try absolute(folder) }
        let opened = try Model(path: model.path, modelOptions(threads, onDemand))
        if let expected = model.digest, expected != opened.fingerprint {
            throw MCMError(
                .incompatible,
                "\(model.path): the model's fingerprint is \(opened.fingerprint), expected the recipe's \(expected)")
        }
        model.digest = opened.fingerprint
        return opened
    }

    /// Read once for all images.
    fileprivate func prompts(_ model: Model) throws -> (Prompt, Prompt?) {
        var reading = PromptOptions()
        (reading.clipSkip, reading.hasWeights, reading.isChunked) = (clipSkip, hasWeights, isChunked)
        let positive = try model.prompt([prompt ?? ""], reading)
        reading.clipSkip = 0  // as in diffusers
        return (positive, try negative.map { try model.prompt([$0], reading) })
    }

    fileprivate var sessionOptions: Session.Options {
        var options = Session.Options()
        (options.width, options.height) = (width, height)
        (options.scheduler, options.steps, options.eta) = (scheduler, steps, eta)
        if !schedulerOptions.isEmpty { options.schedulerOptions = JSONValue.object(schedulerOptions).text }
        (options.guidanceScale, options.guidanceRescale) = (guidance, guidanceRescale)
        options.modulates = modulatesConditional ? .conditional : .guided
        options.strength = strength
        return options
    }
}

extension Recipe.File {
    /// Makes the path absolute and notes what the file holds, or throws if it holds something else than was noted.
    fileprivate mutating func settle(_ digestOfFile: (String) throws -> String) throws {
        do {
            path = try absolute(path)
        } catch let error as MCMError where digest != nil {
            throw MCMError(error.kind, "\(error.message), which the recipe names; give it from where it is now")
        }
        let found = try digestOfFile(path)
        if let digest, digest != found {
            throw MCMError(.incompatible, "\(path): has changed, expected the recipe's with digest \(quoted(digest))")
        }
        digest = found
    }
}

private func absolute(_ path: String) throws -> String {
    guard let resolved = realpath(path, nil) else { throw systemError(path) }
    defer { free(resolved) }
    return String(validatingCString: resolved) ?? path  // below a folder whose name is not UTF-8
}

private func digestOfFile(_ path: String) throws -> String {
    let file = try MappedFile(path: path)
    return try file.withBytes { bytes in
        try file.check()
        return digest(bytes)
    }
}

private func digest(_ bytes: UnsafeRawBufferPointer) -> String {
    var digest = Digest()
    digest.add(UInt64(bytes.count))
    digest.add(words: bytes)
    for byte in bytes.suffix(bytes.count % 8) { digest.add(byte) }
    return digest.text
}
