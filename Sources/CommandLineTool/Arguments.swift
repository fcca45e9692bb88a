import ArgumentParser
import Checkpoint
import Glibc
import LibMCM

// What options are made of.

struct ModelArguments: ParsableArguments {
    @Option(help: "Threads. 0: as many as the process may use CPUs.")
    var threads = 0
    @Option(help: "Variant of the weights' file names, e.g. fp16.")
    var variant: String?
    @Option(help: "Folder of a tokenizer, for a model in one file.", completion: .directory)
    var tokenizer: String?
    @Option(
        help: "What the model predicts, whatever its files say: epsilon, sample or v_prediction.",
        completion: .list(["epsilon", "sample", "v_prediction"]))
    var prediction: String?
    @Flag(inversion: .prefixedNo, help: "Round large matrices to 8-bit integers: half the memory, other images.")
    var int8: Bool?
    @Flag(help: "Load text encoders and autoencoder only while they are needed.")
    var onDemand = false

    func validate() throws {
        guard (0...256).contains(threads) else {
            throw ValidationError("--threads is \(threads), expected 0 to 256")
        }
        if let prediction, !["epsilon", "sample", "v_prediction"].contains(prediction) {
            throw ValidationError("--prediction is \"\(prediction)\", expected epsilon, sample or v_prediction")
        }
    }

    var options: Model.Options {
        var options = Model.Options(threads: threads)
        (options.variant, options.tokenizer) = (variant, tokenizer)
        options.predictionType = prediction.flatMap { .init(rawValue: $0) }
        (options.rounds, options.onDemand) = (int8 ?? false, onDemand)
        return options
    }

    /// What says how the model is read goes into a recipe.
    func apply(to recipe: inout Recipe) {
        recipe.variant = variant ?? recipe.variant
        recipe.tokenizer = tokenizer ?? recipe.tokenizer
        recipe.predictionType = prediction ?? recipe.predictionType
        recipe.int8 = int8 ?? recipe.int8
    }
}

/// NAME=FILE; the file may be empty.
struct NamedFile: ExpressibleByArgument {
    let name, path: String

    init?(argument: String) {
        let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty else { return nil }
        (name, path) = (String(parts[0]), String(parts[1]))
    }
}

/// FILE[:WEIGHT[:BEGIN-END]]; what does not read as numbers belongs to the file, if there is one. Empty: none.
struct Weighted: ExpressibleByArgument {
    let path: String
    var weight: Float = 1
    var window: ClosedRange<Float> = 0...1

    init?(argument: String) {
        var parts = argument.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        if parts.count > 2, let window = Self.window(parts[parts.count - 1]),
            let weight = Self.number(parts[parts.count - 2])
        {
            (self.window, self.weight) = (window, weight)
            parts.removeLast(2)
        } else if parts.count > 1, let weight = Self.number(parts[parts.count - 1]) {
            self.weight = weight
            parts.removeLast()
        }
        path = parts.joined(separator: ":")
        // A file that is there, behind it what is neither a weight nor a window.
        if parts.count > 1, access(path, F_OK) != 0, access(parts[0], F_OK) == 0 { return nil }
        if path.isEmpty, !argument.isEmpty { return nil }
    }

    private static func number(_ text: String) -> Float? {
        Float(text).flatMap { $0.isFinite ? $0 : nil }
    }

    private static func window(_ text: String) -> ClosedRange<Float>? {
        let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { number(String($0)) }
        guard ends.count == 2, let begin = ends[0], let end = ends[1], begin >= 0, begin <= end, end <= 1 else {
            return nil
        }
        return begin...end
    }

    func attachment(image: String? = nil) -> Recipe.Attachment {
        Recipe.Attachment(
            file: .init(path: path), image: image.map { .init(path: $0) }, weight: weight, begin: window.lowerBound,
            end: window.upperBound)
    }
}

/// FOLDER=IMAGE[:WEIGHT[:BEGIN-END]]. Empty: none.
struct ControlArgument: ExpressibleByArgument {
    let attachment: Recipe.Attachment?

    init?(argument: String) {
        if argument.isEmpty {
            attachment = nil
            return
        }
        guard let pair = NamedFile(argument: argument), let image = Weighted(argument: pair.path),
            !image.path.isEmpty
        else { return nil }
        var attachment = image.attachment(image: image.path)
        attachment.file.path = pair.name
        self.attachment = attachment
    }
}

/// WIDTHxHEIGHT.
struct ImageSize: ExpressibleByArgument {
    let width, height: Int

    init?(argument: String) {
        let sides = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
        guard sides.count == 2, let width = sides[0], let height = sides[1], (1...65536).contains(width),
            (1...65536).contains(height)
        else { return nil }
        (self.width, self.height) = (width, height)
    }
}

/// KEY=VALUE, where VALUE is JSON or, if it is none, a string.
struct SchedulerOption: ExpressibleByArgument {
    let key: String
    let value: JSONValue

    init?(argument: String) {
        guard let pair = NamedFile(argument: argument) else { return nil }
        key = pair.name
        value = (try? JSONValue(parsing: pair.path, name: key)) ?? .string(pair.path)
    }
}

/// BEGIN-END of timesteps, END not included.
struct TimestepRange: ExpressibleByArgument {
    let range: Range<Int>

    init?(argument: String) {
        let ends = argument.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        guard ends.count == 2, let begin = ends[0], let end = ends[1], begin >= 0, begin < end else { return nil }
        range = begin..<end
    }
}

/// A scheduler by its short name.
enum SchedulerName: String, CaseIterable, ExpressibleByArgument {
    case ddpm, ddim, pndm, lms, euler
    case eulerAncestral = "euler_ancestral"
    case heun
    case dpmSolverMultistep = "dpm_solver_multistep"
    case uniPC = "unipc"
    case lcm

    var kind: SchedulerKind {
        switch self {
        case .ddpm: .ddpm
        case .ddim: .ddim
        case .pndm: .pndm
        case .lms: .lms
        case .euler: .euler
        case .eulerAncestral: .eulerAncestral
        case .heun: .heun
        case .dpmSolverMultistep: .dpmSolverMultistep
        case .uniPC: .uniPC
        case .lcm: .lcm
        }
    }
}
