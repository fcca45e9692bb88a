import ArgumentParser
import Checkpoint
import Glibc
import Images
import Kernels
import LibMCM
import Networks
import Training

struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what a file or folder is: shapes, sizes, memory, recipe.",
        discussion: """
            Knows models (folders and single files), ControlNets, modules, data sets, banks of predictions, trainers, \
            other safetensors files and PNGs. Models and ControlNets are loaded, so that what is wrong with them is \
            said.

            EXAMPLES
              mcm inspect examples/fashion/base
              mcm inspect module.mcm.safetensors --model base    # does it fit?
              mcm inspect boot.png --json
            """)

    @Argument(help: "What to look at.", completion: .file())
    var path: String
    @Option(help: "Of a module: whether it fits this model.", completion: .file())
    var model: String?
    @OptionGroup var modelArguments: ModelArguments
    @Flag(help: "As JSON.")
    var json = false

    func run() throws {
        let facts = try look()
        if json {
            try Console.print(JSONValue.object(Dictionary(facts) { $1 }).text)
        } else {
            let width = facts.map(\.name.count).max() ?? 0
            for (name, value) in facts {
                try Console.print(name + String(repeating: " ", count: width - name.count + 2) + plain(value, name))
            }
        }
    }

    typealias Facts = [(name: String, value: JSONValue)]

    private func look() throws -> Facts {
        let begin: Facts = [("path", .string(path))]
        if !isRegularFile(path) {
            guard access(path, R_OK) == 0 else { throw systemError(path) }
            if access(path + "/model_index.json", F_OK) == 0 { return begin + (try ofModel()) }
            if access(path + "/config.json", F_OK) == 0 { return begin + (try ofControlNet()) }
            throw MCMError(.format, "\(path): has neither model_index.json nor config.json, expected a model's folder")
        }
        let file = try MappedFile(path: path)
        let head = file.withBytes { Array($0.prefix(8)) }
        let bytes: Facts = [("file_bytes", .integer(file.bytes.count))]
        if head == [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a] { return begin + (try ofImage()) + bytes }
        if head == Array("MCMBANK1".utf8) { return begin + (try ofBank()) + bytes }
        if head.starts(with: Array("PK".utf8)) || head.starts(with: [0x80]) {
            try refusePickle(path)
        }
        return begin + (try ofTensors()) + bytes
    }

    // MARK: Kinds

    private func ofModel() throws -> Facts {
        let model = try Model(path: path, modelArguments.options)
        let (h, w) = (model.sampleSize.height, model.sampleSize.width)
        let r = model.reduction
        var facts: Facts = [
            ("kind", .string("model")), ("fingerprint", .string(model.fingerprint)),
            ("sample", shape([model.channels, h, w])),
            ("image", shape([model.imageChannels, h * r, w * r])),
            ("size_multiple", .integer(model.unet.config.sizeMultiple * r)),
            ("prediction_type", .string(model.schedulerConfig.predictionType.rawValue)),
            ("scheduler", .string(model.schedulerKind.rawValue)),
            ("num_train_timesteps", .integer(model.schedulerConfig.numTrainTimesteps)),
            ("parameters", .integer(model.parameterCount)), ("weights_bytes", .integer(model.memory.weights)),
        ]
        if model.isLatent { facts.append(("pixels_per_latent", .integer(r))) }
        if model.readsText {
            facts += [("text_channels", .integer(model.textChannels)), ("encodes_text", .bool(model.encodesText))]
        }
        if model.readsMask { facts.append(("inpaints", .bool(true))) }
        if model.unet.classInputSize > 0 {
            facts += [
                ("class_input", .integer(model.unet.classInputSize)), ("classes", .integer(model.unet.classCount)),
            ]
        }
        if model.predictionChannels != model.channels { facts.append(("learns_variance", .bool(true))) }
        if model.roundingError > 0 { facts.append(("rounding_error", .number(model.roundingError))) }
        return facts
    }

    private func ofControlNet() throws -> Facts {
        let net = try ControlNetModel(path: path, modelArguments.options)
        return [("kind", .string("ControlNet")), ("weights_bytes", .integer(net.bytes))]
    }

    private func ofImage() throws -> Facts {
        let header = try PNG.header(path: path)
        let facts: Facts = [
            ("kind", .string("image")), ("width", .integer(header.width)), ("height", .integer(header.height)),
            ("channels", .integer(header.channels)),
        ]
        guard let text = try PNG.text(path: path)[Recipe.keyword] else { return facts }
        let name = "\(path): recipe"
        _ = try Recipe(text: text, name: name)  // says what is wrong with it
        return facts + [("recipe", try JSONValue(parsing: text, name: name))]
    }

    private func ofBank() throws -> Facts {
        let bank = try Bank(path: path)
        return [
            ("kind", .string("bank of predictions")), ("records", .integer(bank.count)),
            ("prediction", shape([bank.shape.channels, bank.shape.height, bank.shape.width])),
            ("first_timestep", .integer(bank.timesteps.lowerBound)),
            ("end_timestep", .integer(bank.timesteps.upperBound)),
            ("model_fingerprint", .string(bank.fingerprint)), ("images_fingerprint", .string(bank.imageFingerprint)),
        ]
    }

    private func ofTensors() throws -> Facts {
        let file = try SafetensorsFile(path: path)
        switch file.metadata["format"] {
        case "mcm": return try ofModule(file)
        case "mcm-trainer": return ofTrainer(file)
        default: break
        }
        if file.info("images") != nil || file.info("samples") != nil { return try ofDataset(file) }
        if file.names.contains(where: { $0.hasPrefix("model.diffusion_model.") }) { return try ofModel() }
        let infos = file.names.compactMap { file.info($0) }
        let types = Set(infos.map(\.dtype.rawValue)).sorted()
        return [
            ("kind", .string("safetensors file")), ("tensors", .integer(infos.count)),
            ("elements", .integer(infos.reduce(0) { $0 + $1.count })),
            ("dtypes", .array(types.map(JSONValue.string))),
            ("metadata", .object(file.metadata.mapValues(JSONValue.string))),
        ]
    }

    private func ofModule(_ file: SafetensorsFile) throws -> Facts {
        let module = try Modulator(file)
        var facts: Facts = [
            ("kind", .string("module")), ("parameters", .integer(module.parameterCount)),
            (
                "dtypes",
                .array(Set(file.names.compactMap { file.info($0)?.dtype.rawValue }).sorted().map(JSONValue.string))
            ),
            ("prediction_channels", .integer(module.predictionChannels)),
            (
                "modalities",
                .array(
                    module.modalities.map {
                        .object([
                            "name": .string($0.name), "channels": .integer($0.channels),
                            "encoding": .string($0.encoding.rawValue), "resize": .string($0.resize.rawValue),
                        ])
                    })
            ),
        ]
        if let type = module.base?.predictionType { facts.append(("prediction_type", .string(type))) }
        if let fingerprint = module.base?.fingerprint { facts.append(("model_fingerprint", .string(fingerprint))) }
        if let path = model {
            let model = try Model(path: path, modelArguments.options)
            try model.check(module)
            let share = Double(module.parameterCount) / Double(max(1, model.parameterCount))
            facts += [("fits", .string(path)), ("share_of_parameters", .number((share * 1e4).rounded() / 1e4))]
        }
        return facts
    }

    private func ofTrainer(_ file: SafetensorsFile) -> Facts {
        let numbers = ["step", "examples", "pending"].map { key in
            (name: key, value: file.metadata[key].flatMap { Int($0) }.map(JSONValue.integer) ?? .null)
        }
        let options = (try? JSONValue(parsing: file.metadata["options"] ?? "", name: path)) ?? .null
        return [
            ("kind", .string("trainer")), ("parameters", .integer(file.info("parameters")?.count ?? 0)),
        ] + numbers + [("options", options)]
    }

    private func ofDataset(_ file: SafetensorsFile) throws -> Facts {
        let set = try Dataset(file)
        let isEncoded = file.info("samples") != nil
        let size = [set.channels, set.height, set.width]
        return [
            ("kind", .string("data set")), ("examples", .integer(set.count)),
            (isEncoded ? "sample" : "image", shape(size)), ("fingerprint", .string(set.fingerprint)),
            (
                "modalities",
                .array(
                    set.modalities.map {
                        .object(["name": .string($0.name), "channels": .integer($0.channels)])
                    })
            ),
            ("has_prompts", .bool(file.info("prompt_embeds") != nil)),
        ]
    }

    // MARK: Writing

    /// Channels, height, width.
    private func shape(_ sizes: [Int]) -> JSONValue { .array(sizes.map(JSONValue.integer)) }

    private func plain(_ value: JSONValue, _ name: String) -> String {
        switch value {
        case .string(let text) where !text.unicodeScalars.contains(where: Console.isControl): text
        case .integer(let bytes) where name.hasSuffix("_bytes"): size(bytes)
        case .array(let parts) where ["sample", "image", "prediction"].contains(name):
            parts.map(\.text).joined(separator: " x ")
        case .array(let parts):
            parts.map { part in
                guard case .object(let members) = part, case .string(let name) = members["name"] else {
                    return plain(part, "")
                }
                let rest = members.filter { $0.key != "name" }.sorted { $0.key < $1.key }
                return name + " (" + rest.map { "\($0.key) \(plain($0.value, ""))" }.joined(separator: ", ") + ")"
            }.joined(separator: ", ")
        default: value.text
        }
    }
}

/// What opening a pickle would do is the reason to refuse it.
func refusePickle(_ path: String) throws -> Never {
    throw MCMError(
        .unsupported,
        "\(path): is a pickle file, which can run code when opened, expected safetensors; "
            + "python3 -m mcm.convert converts it"
    )
}
