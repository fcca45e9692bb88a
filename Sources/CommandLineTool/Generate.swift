import ArgumentParser
import Checkpoint
import Glibc
import LibMCM

struct Generate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Draw images.",
        discussion: """
            Every image keeps its recipe: with --from it is made again, bit for bit, or changed by the options given \
            beside. A file that has changed since is an error unless it is given again.

            EXAMPLES
              mcm generate base -m module.mcm.safetensors -c sketch=sketch.png \\
                  --seed 7 -o boot.png
              mcm generate base -m module.mcm.safetensors:0.8:0-0.6 \\
                  -c sketch=sketch.png -n 4 -o boot-{seed}.png
              mcm generate sd15 -p "a lighthouse at dusk" --negative blurry \\
                  --scheduler unipc --steps 20
              mcm generate sd15 -p "a red door" --image house.png \\
                  --mask door.png --strength 0.8
              mcm generate sd15 -p "a cabin" --controlnet canny=edges.png:0.7
              mcm generate --from boot.png -o again.png
              mcm generate --from boot.png --steps 50 -n 8 --batch 8 \\
                  -o more-{seed}.png
            """)

    @Argument(help: "Folder of a diffusers model, or a .safetensors file.", completion: .file())
    var model: String?
    @Option(help: "Begin with the recipe of this image.", completion: .file(extensions: ["png"]))
    var from: String?

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Where images are written. {seed} and {index} stand for an image's numbers.", valueName: "file"),
        completion: .file(extensions: ["png"]))
    var out = "mcm-{seed}.png"
    @Flag(name: .shortAndLong, help: "Overwrite files.")
    var force = false

    @Option(name: .shortAndLong, parsing: .unconditional, help: "What to draw, for models that read texts.")
    var prompt: String?
    @Option(parsing: .unconditional, help: "What to avoid, for models that are guided.")
    var negative: String?
    @Option(help: "Layers of the text encoder to leave out at its end.")
    var clipSkip: Int?
    @Flag(inversion: .prefixedNo, help: "Brackets give parts of a prompt weights: (a:1.3), [b].")
    var promptWeights: Bool?
    @Flag(inversion: .prefixedNo, help: "Read all of a long prompt, in chunks.")
    var promptChunks: Bool?

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "A conditioning module; what several correct is added.",
            valueName: "file[:weight[:begin-end]]"), completion: .file())
    var module: [Weighted] = []
    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "What modules follow: a PNG for one of their modalities.", valueName: "name=file"), completion: .file())
    var condition: [NamedFile] = []
    @Flag(help: "Take modules that were trained on other weights.")
    var otherBase = false
    @Option(
        help: ArgumentHelp(
            "A ControlNet and the image that it follows.", valueName: "folder=file[:weight[:begin-end]]"),
        completion: .file())
    var controlnet: [ControlArgument] = []
    @Flag(inversion: .prefixedNo, help: "diffusers' guess mode, for ControlNets.")
    var guess: Bool?
    @Flag(inversion: .prefixedNo, help: "Modules act on the prediction with the prompt, before guidance.")
    var beforeGuidance: Bool?

    @Option(help: "A PNG to begin from.", completion: .file(extensions: ["png"]))
    var image: String?
    @Option(help: "How much of it is drawn anew, 0 to 1.")
    var strength: Double?
    @Option(help: "A grey PNG: what is white is painted, what is black stays.", completion: .file(extensions: ["png"]))
    var mask: String?

    @Option(help: "The model's own by default.")
    var scheduler: SchedulerName?
    @Option(help: ArgumentHelp("An option by diffusers' name, e.g. use_karras_sigmas=true.", valueName: "key=value"))
    var schedulerOption: [SchedulerOption] = []
    @Option(help: "Steps; by default those of diffusers' pipelines.")
    var steps: Int?
    @Option(help: "DDIM's share of noise, 0 to 1.")
    var eta: Float?
    @Option(help: "Guidance scale; 1: none.")
    var guidance: Float?
    @Option(help: "Share of the prediction's standard deviation that guidance gives back, 0 to 1.")
    var guidanceRescale: Float?
    @Option(help: ArgumentHelp("Of images; the model's own, or that of --image, by default.", valueName: "WxH"))
    var size: ImageSize?
    @Option(
        name: .customLong("class"),
        help: ArgumentHelp(
            "Class input of a model that takes one.", valueName: "number,..."))
    var classInput: String?

    @Option(name: .shortAndLong, help: "Of the first image; others count on from it. By default one at random.")
    var seed: UInt32?
    @Option(name: [.customShort("n"), .long], help: "How many images.")
    var count = 1
    @Option(help: "How many are drawn together: faster for small models. Images do not depend on it.")
    var batch = 1

    @OptionGroup var modelArguments: ModelArguments
    @Flag(name: .shortAndLong, help: "No progress.")
    var quiet = false
    @Flag(help: "Say what was written as JSON.")
    var json = false

    func validate() throws {
        guard model != nil || from != nil else { throw ValidationError("Missing a model, or an image with --from") }
        guard model != "", from != "" else { throw ValidationError("The path of the model or image is empty") }
        guard !out.isEmpty else { throw ValidationError("--out is empty, expected a file") }
        guard (1...1_000_000).contains(count), (1...65536).contains(batch) else {
            throw ValidationError("--count \(count) in batches of \(batch), expected at least 1 of each")
        }
        guard count == 1 || out.contains("{seed}") || out.contains("{index}") else {
            throw ValidationError("--out is \"\(out)\" for \(count) images, expected {seed} or {index} in it")
        }
        if let steps, !(1...(1 << 20)).contains(steps) {
            throw ValidationError("--steps is \(steps), expected at least 1")
        }
        if let strength, !(0...1).contains(strength) {
            throw ValidationError("--strength is \(strength), expected 0 to 1")
        }
        if let clipSkip, !(0...256).contains(clipSkip) {
            throw ValidationError("--clip-skip is \(clipSkip), expected 0 to 256")
        }
        for (name, value) in [("eta", eta), ("guidance", guidance), ("guidance-rescale", guidanceRescale)] {
            if let value, !value.isFinite { throw ValidationError("--\(name) is \(value), expected a finite number") }
        }
        if classInput != nil, classNumbers == nil {
            throw ValidationError("--class is \"\(classInput ?? "")\", expected numbers")
        }
    }

    private var classNumbers: [Float]? {
        let parts = classInput?.split(separator: ",", omittingEmptySubsequences: false).map { Float($0) } ?? []
        return parts.allSatisfy { $0?.isFinite ?? false } ? parts.compactMap { $0 } : nil
    }

    // MARK: The recipe

    /// The one that is begun with, changed by what is given.
    private func recipe(_ original: Recipe?) throws -> Recipe {
        var recipe = original ?? Recipe()
        if recipe.version != Library.version {
            Console.say(
                "note: the recipe is of libmcm \(recipe.version), this is \(Library.version): images may differ")
        }
        if let model { recipe.model = .init(path: model) }
        guard !recipe.model.path.isEmpty else { throw MCMError(.format, "\(from ?? ""): its recipe names no model") }
        modelArguments.apply(to: &recipe)
        recipe.prompt = prompt ?? recipe.prompt
        recipe.negative = negative ?? recipe.negative
        recipe.clipSkip = clipSkip ?? recipe.clipSkip
        recipe.hasWeights = promptWeights ?? recipe.hasWeights
        recipe.isChunked = promptChunks ?? recipe.isChunked
        recipe.classInput = classInput == nil ? recipe.classInput : classNumbers ?? []
        if !module.isEmpty { recipe.modules = module.filter { !$0.path.isEmpty }.map { $0.attachment() } }
        for one in condition { recipe.conditions[one.name] = Self.file(one.path) }
        recipe.otherBase = otherBase || recipe.otherBase
        if !controlnet.isEmpty { recipe.controlnets = controlnet.compactMap(\.attachment) }
        recipe.guess = guess ?? recipe.guess
        recipe.modulatesConditional = beforeGuidance ?? recipe.modulatesConditional
        if let image {
            recipe.image = Self.file(image)
            if image.isEmpty {
                (recipe.mask, recipe.strength) = (nil, 1)  // mean nothing without it
            } else {
                (recipe.width, recipe.height) = (0, 0)  // as the image has it
            }
        }
        if let mask { recipe.mask = Self.file(mask) }
        recipe.strength = strength ?? recipe.strength
        if let scheduler {
            // Options belong to a scheduler: those of another mean nothing to it.
            if scheduler.kind != recipe.scheduler { recipe.schedulerOptions = [:] }
            recipe.scheduler = scheduler.kind
        }
        for one in schedulerOption { recipe.schedulerOptions[one.key] = one.value }
        recipe.steps = steps ?? recipe.steps
        recipe.eta = eta ?? recipe.eta
        recipe.guidance = guidance ?? recipe.guidance
        recipe.guidanceRescale = guidanceRescale ?? recipe.guidanceRescale
        if let size { (recipe.width, recipe.height) = (size.width, size.height) }
        recipe.seed = seed ?? (from == nil ? UInt32.random(in: 0 ... .max) : recipe.seed)
        return recipe
    }

    /// An empty path takes a recipe's file away.
    private static func file(_ path: String) -> Recipe.File? { path.isEmpty ? nil : .init(path: path) }

    // MARK: Drawing

    func run() throws {
        let original = try from.map { try Recipe(png: $0) }
        let recipe = try recipe(original)
        // Read now, since it may be overwritten.
        let expected = recipe == original ? from.flatMap { try? PixelImage.png($0) } : nil
        let seeds = (0..<count).map { recipe.seed &+ UInt32($0) }
        let paths = seeds.enumerated().map { index, seed in
            out.replacing("{seed}", with: "\(seed)").replacing("{index}", with: "\(index)")
        }
        for path in paths { try checkWritable(path, force: force) }
        let drawing: Drawing
        do {
            drawing = try Drawing(recipe, threads: modelArguments.threads, onDemand: modelArguments.onDemand)
        } catch let error as MCMError where error.kind == .invalidArgument && recipe == original {
            throw MCMError(.format, "\(from ?? ""): recipe: \(error.message)")  // and not the command line
        }
        if drawing.isTruncated {
            Console.say("note: the end of a prompt is left out, --prompt-chunks reads all of it")
        }
        Interrupt.watch()
        var written: [JSONValue] = []
        let drawn = Result { try drawAll(drawing, seeds, paths, &written) }
        if json { try Console.print(JSONValue.array(written).text) }  // of what there is, whatever came after it
        let first = try drawn.get()
        if recipe == original, let from { try compare(first, paths[0], with: expected, from) }
    }

    /// Draws in batches and writes. Returns the first image.
    ///   written  what is said of each file, as JSON
    private func drawAll(
        _ drawing: Drawing, _ seeds: [UInt32], _ paths: [String], _ written: inout [JSONValue]
    ) throws -> PixelImage? {
        var first: PixelImage?
        let clock = ContinuousClock()
        for begin in stride(from: 0, to: count, by: batch) {
            let range = begin..<min(begin + batch, count)
            var images: [PixelImage] = []
            let time = try clock.measure { images = try draw(drawing, seeds, range) }
            try Interrupt.check("before \(paths[begin]) was written")
            for (i, image) in zip(range, images) {
                var own = drawing.recipe
                own.seed = seeds[i]
                try image.write(to: paths[i], text: [Recipe.keyword: own.text])
                first = first ?? image
                if json {
                    written.append(
                        .object([
                            "file": .string(paths[i]), "seed": .integer(Int(seeds[i])),
                            "width": .integer(image.width), "height": .integer(image.height),
                            "channels": .integer(image.channels),
                            "seconds": .number(seconds(time) / Double(range.count)),
                        ]))
                } else {
                    try Console.print("\(paths[i]): \(image.width) x \(image.height), seed \(seeds[i])")
                }
            }
        }
        return first
    }

    /// Files of the model that its fingerprint does not cover, or another libmcm, show in the image at last.
    ///   expected  the pixels of `original`; nil if they cannot be read
    private func compare(_ image: PixelImage?, _ path: String, with expected: PixelImage?, _ original: String) throws {
        guard let image, let expected, Self.shape(image) == Self.shape(expected) else {
            return Console.say("note: \(original) was changed by another program, so that it was not compared with")
        }
        guard image != expected else { return }
        throw MCMError(
            .incompatible,
            "\(path): is not the image of \(original): that was changed, or what the recipe does not cover, such as other "
                + "files of the model or libmcm")
    }

    private static func shape(_ image: PixelImage) -> [Int] { [image.width, image.height, image.channels] }

    private func draw(_ drawing: Drawing, _ seeds: [UInt32], _ range: Range<Int>) throws -> [PixelImage] {
        let title =
            count == 1
            ? ""
            : range.count == 1
                ? "image \(range.lowerBound + 1) of \(count), "
                : "images \(range.lowerBound + 1) to \(range.upperBound) of \(count), "
        var progress: Progress?
        defer { progress?.end() }
        return try drawing.draw(Array(seeds[range])) { step in
            if progress == nil { progress = Progress("\(title)step", of: step.count, isQuiet: quiet) }
            progress?.update(step.number)
            return !Interrupt.isPending
        }
    }
}
