public import Checkpoint
import Images
import Kernels
public import Sampling

/// Everything that an image follows from, as it lies in the image's file: who has the same files draws it again, bit
/// for bit. Paths are absolute where this library writes them.
public struct Recipe: Sendable, Equatable {
    /// A file that was read, and a digest of what was in it.
    public struct File: Sendable, Equatable {
        public var path: String
        /// nil: not compared.
        public var digest: String?

        public init(path: String, digest: String? = nil) { (self.path, self.digest) = (path, digest) }
    }

    /// A module or a ControlNet.
    public struct Attachment: Sendable, Equatable {
        /// Of a ControlNet: its folder, without digest.
        public var file: File
        /// What a ControlNet follows.
        public var image: File?
        public var weight: Float = 1
        /// Shares of the run, 0 <= begin <= end <= 1.
        public var begin: Float = 0
        public var end: Float = 1

        public init(file: File, image: File? = nil, weight: Float = 1, begin: Float = 0, end: Float = 1) {
            (self.file, self.image, self.weight, self.begin, self.end) = (file, image, weight, begin, end)
        }
    }

    /// Of the library that drew the image.
    public var version = Library.version
    /// Folder or file of the model, and its fingerprint; "" and nil: none.
    public var model = File(path: "")
    public var variant, tokenizer, predictionType: String?
    public var int8 = false

    public var prompt, negative: String?
    public var clipSkip = 0
    public var hasWeights = false
    public var isChunked = false
    public var classInput: [Float] = []

    public var modules: [Attachment] = []
    public var otherBase = false
    /// By the names of modalities. Each module follows those that it knows.
    public var conditions: [String: File] = [:]
    public var controlnets: [Attachment] = []
    public var guess = false
    /// Whether modules act before guidance.
    public var modulatesConditional = false

    public var image, mask: File?
    public var strength = 1.0

    public var scheduler: SchedulerKind?
    public var schedulerOptions: [String: JSONValue] = [:]
    public var steps = 0
    public var eta: Float = 0
    public var guidance: Float?
    public var guidanceRescale: Float = 0
    public var width = 0
    public var height = 0
    public var seed: UInt32 = 0

    public init() {}
}

// MARK: In a PNG

extension Recipe {
    /// The keyword of its text entry.
    public static let keyword = "libmcm"

    /// The recipe of an image. Errors: `.io`, `.format`: also for an image without one; `.unsupported` for one of a
    /// later version.
    public init(png path: String) throws {
        guard let text = try PNG.text(path: path)[Self.keyword] else {
            throw MCMError(.format, "\(path): has no recipe, expected a PNG that mcm has drawn")
        }
        try self.init(text: text, name: "\(path): recipe")
    }

    /// JSON on one line, the same for the same recipe.
    public var text: String { json.text }

    ///   name  in messages
    public init(text: String, name: String = "recipe") throws {
        try self.init(JSONObject(parsing: text, name: name))
    }
}

// MARK: As JSON

extension Recipe {
    /// Only what is not at its default, beside the version.
    var json: JSONValue {
        var members: [String: JSONValue] = ["recipe": .integer(1), "libmcm": .string(version)]
        func put(_ key: String, _ value: JSONValue?, unless isDefault: Bool = false) {
            if let value, !isDefault { members[key] = value }
        }
        put("model", model.json, unless: model.path.isEmpty)
        put("variant", variant.map(JSONValue.string))
        put("tokenizer", tokenizer.map(JSONValue.string))
        put("prediction_type", predictionType.map(JSONValue.string))
        put("int8", .bool(int8), unless: !int8)
        put("prompt", prompt.map(JSONValue.string))
        put("negative", negative.map(JSONValue.string))
        put("clip_skip", .integer(clipSkip), unless: clipSkip == 0)
        put("prompt_weights", .bool(hasWeights), unless: !hasWeights)
        put("prompt_chunks", .bool(isChunked), unless: !isChunked)
        put("class_input", .array(classInput.map(number)), unless: classInput.isEmpty)
        put("modules", .array(modules.map(\.json)), unless: modules.isEmpty)
        put("other_base", .bool(otherBase), unless: !otherBase)
        put("conditions", .object(conditions.mapValues(\.json)), unless: conditions.isEmpty)
        put("controlnets", .array(controlnets.map(\.json)), unless: controlnets.isEmpty)
        put("guess", .bool(guess), unless: !guess)
        put("modulate", .string("conditional"), unless: !modulatesConditional)
        put("image", image?.json)
        put("mask", mask?.json)
        put("strength", .number(strength), unless: strength == 1)
        put("scheduler", scheduler.map { .string($0.rawValue) })
        put("scheduler_options", .object(schedulerOptions), unless: schedulerOptions.isEmpty)
        put("steps", .integer(steps), unless: steps == 0)
        put("eta", number(eta), unless: eta == 0)
        put("guidance", guidance.map(number))
        put("guidance_rescale", number(guidanceRescale), unless: guidanceRescale == 0)
        put("width", .integer(width), unless: width == 0)
        put("height", .integer(height), unless: height == 0)
        put("seed", .integer(Int(seed)))
        return .object(members)
    }

    init(_ json: JSONObject) throws {
        guard try json.int("recipe") == 1 else { throw json.error("recipe", expected: "1", kind: .unsupported) }
        version = try json.string("libmcm")
        model = try json.optionalObject("model").map(File.init) ?? model
        variant = try json.optionalString("variant")
        tokenizer = try json.optionalString("tokenizer")
        predictionType = try json.optionalString(
            "prediction_type", oneOf: SchedulerConfig.PredictionType.allCases.map(\.rawValue))
        int8 = try json.bool("int8", default: false)
        prompt = try json.optionalString("prompt")
        negative = try json.optionalString("negative")
        clipSkip = try json.int("clip_skip", default: 0, in: 0...256)
        hasWeights = try json.bool("prompt_weights", default: false)
        isChunked = try json.bool("prompt_chunks", default: false)
        classInput = try json.doubles("class_input", default: []).map { Float($0) }
        if json.has("modules") { modules = try json.objects("modules", count: 0...1024).map(Attachment.init) }
        _ = json.value("modules")
        otherBase = try json.bool("other_base", default: false)
        if let object = try json.optionalObject("conditions") {
            for name in object.members.keys { conditions[name] = try File(object.object(name)) }
        }
        if json.has("controlnets") {
            controlnets = try json.objects("controlnets", count: 0...1024).map(Attachment.init)
        }
        _ = json.value("controlnets")
        guess = try json.bool("guess", default: false)
        modulatesConditional =
            try json.string("modulate", default: "guided", oneOf: ["guided", "conditional"]) != "guided"
        image = try json.optionalObject("image").map(File.init)
        mask = try json.optionalObject("mask").map(File.init)
        strength = try json.double("strength", default: 1, in: 0...1)
        scheduler = json.has("scheduler") ? try json.choice("scheduler", default: SchedulerKind.ddim) : nil
        schedulerOptions = try json.optionalObject("scheduler_options")?.members ?? [:]
        steps = try json.int("steps", default: 0, in: 0...(1 << 20))
        eta = Float(try json.double("eta", default: 0))
        guidance = try json.optionalDouble("guidance").map { Float($0) }
        guidanceRescale = Float(try json.double("guidance_rescale", default: 0))
        width = try json.int("width", default: 0, in: 0...65536)
        height = try json.int("height", default: 0, in: 0...65536)
        seed = UInt32(try json.int("seed", in: 0...Int(UInt32.max)))
        try json.rejectUnknown()
    }
}

private func number(_ value: Float) -> JSONValue { .number(Double(value)) }

extension Recipe.File {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = ["path": .string(path)]
        if let digest { members["digest"] = .string(digest) }
        return .object(members)
    }

    fileprivate init(_ json: JSONObject) throws {
        (path, digest) = (try json.string("path"), try json.optionalString("digest"))
        try json.rejectUnknown()
    }
}

extension Recipe.Attachment {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = ["file": file.json, "weight": number(weight)]
        if let image { members["image"] = image.json }
        if (begin, end) != (0, 1) { members["window"] = .array([number(begin), number(end)]) }
        return .object(members)
    }

    fileprivate init(_ json: JSONObject) throws {
        file = try Recipe.File(json.object("file"))
        image = try json.optionalObject("image").map(Recipe.File.init)
        weight = Float(try json.double("weight", default: 1))
        let window = try json.doubles("window", default: [0, 1], count: 2...2).map { Float($0) }
        (begin, end) = (window[0], window[1])
        try json.rejectUnknown()
    }
}
