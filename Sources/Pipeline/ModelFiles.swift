import Checkpoint
import Kernels
import Text

/// What a model is made of, as its files say. Components have the names of diffusers' folders.
protocol ModelFiles {
    /// model_index.json: of each component, its library and its class.
    var index: JSONObject { get }
    func config(_ component: String) throws -> JSONObject
    /// What opens the checkpoint of a network.
    func weights(_ component: String) -> @Sendable () throws -> CheckpointSource
    func tokenizer(_ component: String) throws -> CLIPTokenizer
}

extension ModelFiles {
    /// A component's class, "" if the index does not say.
    func className(_ component: String) -> String {
        guard case .array(let entry) = index.members[component], case .string(let name) = entry.last else { return "" }
        return name
    }
}

/// A diffusers folder.
struct ModelFolder: ModelFiles {
    private let folder: Folder
    /// Of the weights' file names, e.g. "fp16".
    private let variant: String?
    let index: JSONObject

    init(_ folder: Folder, variant: String?) throws {
        (self.folder, self.variant) = (folder, variant)
        do {
            index = try JSONObject(folder, "model_index.json")
        } catch let error as MCMError where error.kind == .io {
            guard case .disk = folder else { throw error }
            throw MCMError(.io, "\(error.message), expected a model folder, or a .safetensors file")
        }
    }

    func config(_ component: String) throws -> JSONObject {
        let file = component == "scheduler" ? "scheduler_config.json" : "config.json"
        return try JSONObject(folder, "\(component)/\(file)", infinities: component == "scheduler")
    }

    func weights(_ component: String) -> @Sendable () throws -> CheckpointSource {
        let base = component.hasPrefix("text_encoder") ? "model" : "diffusion_pytorch_model"
        // Files in memory are borrowed, and read while the model is opened.
        nonisolated(unsafe) let folder = folder
        return { [variant] in
            try CheckpointSource.open(folder, component: component, base: base, variant: variant)
        }
    }

    func tokenizer(_ component: String) throws -> CLIPTokenizer { try CLIPTokenizer(folder, component: component) }
}

/// One file in the layout of the original programs. How text is cut into tokens it does not say.
struct OriginalModelFile: ModelFiles {
    private let open: @Sendable () throws -> SafetensorsFile
    private let tokenizerFolder: String?
    private let configs: [String: JSONValue]
    let index: JSONObject

    init(_ path: String, tokenizer: String?) throws {
        try self.init(tokenizer: tokenizer) { try SafetensorsFile(MappedFile(path: path), name: path) }
    }

    init(tokenizer: String?, _ open: @escaping @Sendable () throws -> SafetensorsFile) throws {
        self.open = open
        tokenizerFolder = tokenizer
        let file = try open()
        let checkpoint = try OriginalCheckpoint(file)
        configs = checkpoint.configs
        var members = checkpoint.indexOptions
        members["_class_name"] = .string(checkpoint.pipeline)
        for (component, config) in configs {
            guard case .object(let config) = config, let name = config["_class_name"] else { continue }
            members[component] = .array([.string(component.hasPrefix("text") ? "transformers" : "diffusers"), name])
        }
        index = try JSONObject(.object(members), name: file.name)
    }

    func config(_ component: String) throws -> JSONObject {
        try JSONObject(configs[component] ?? .null, name: "\(index.name): \(component)")
    }

    func weights(_ component: String) -> @Sendable () throws -> CheckpointSource {
        { [open] in try OriginalCheckpoint(open()).component(component) }
    }

    func tokenizer(_ component: String) throws -> CLIPTokenizer {
        if let tokenizerFolder { return try CLIPTokenizer(.disk(tokenizerFolder), component: "") }
        // OpenAI's text encoder was trained with its end token as padding, OpenCLIP's larger ones with "!", whose id is 0.
        let width = try config(component.replacingPrefix("tokenizer", by: "text_encoder")).int("hidden_size")
        return try CLIPTokenizer.standard(padding: width == 768 ? "<|endoftext|>" : "!")
    }
}

extension JSONObject {
    /// A component's config may name its class. Throws for another one.
    func checkClass(is name: String) throws {
        if has("_class_name"), try string("_class_name") != name {
            throw error("_class_name", expected: "\"\(name)\"", kind: .unsupported)
        }
    }
}
