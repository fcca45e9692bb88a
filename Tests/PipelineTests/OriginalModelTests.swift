import Kernels
import Sampling
import TestSupport
import Testing

@testable import Checkpoint
@testable import Pipeline
@testable import Text

/// A model in one file of the original layout is the same model as in a diffusers folder.
@Suite struct OriginalModelTests {
    /// Small models of the families, which are told apart by the width of their text, in the shape of
    /// original.safetensors, from which the original names are.
    private static let models: [String: [String: JSONValue]] = {
        func json(_ text: String) -> JSONValue { (try? JSONValue(parsing: text, name: "config")) ?? .null }
        func sd(_ scheduler: String) -> String {
            #""scheduler": ["diffusers", "\#(scheduler)Scheduler"], "unet": ["diffusers", "UNet2DConditionModel"], "#
                + #""vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"]"#
        }
        let cross =
            #""down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "#
            + #""up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]"#
        let betas =
            #""beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "#
            + #""clip_sample": false, "steps_offset": 1, "set_alpha_to_one": false"#
        func vae(_ scale: String) -> JSONValue {
            json(
                #"{"block_out_channels": [32, 64], "layers_per_block": 2, "scaling_factor": \#(scale), "#
                    + #""down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"], "#
                    + #""up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}"#)
        }
        func text(_ width: Int, _ act: String) -> JSONValue {
            json(
                #"{"hidden_size": \#(width), "num_attention_heads": \#(width / 64), "intermediate_size": 64, "#
                    + #""num_hidden_layers": 2, "hidden_act": "\#(act)", "vocab_size": 531, "projection_dim": 32, "#
                    + #""eos_token_id": 530}"#)
        }
        return [
            "sd1": [
                "model_index.json": json(
                    #"{"_class_name": "StableDiffusionPipeline", \#(sd("PNDM"))}"#),
                "unet/config.json": json(
                    #"{"block_out_channels": [32, 64], "attention_head_dim": 8, "cross_attention_dim": 768, \#(cross)}"#
                ),
                "vae/config.json": vae("0.18215"), "text_encoder/config.json": text(768, "quick_gelu"),
                "scheduler/scheduler_config.json": json(
                    #"{"_class_name": "PNDMScheduler", "skip_prk_steps": true, \#(betas)}"#),
            ],
            "sd2": [
                "model_index.json": json(
                    #"{"_class_name": "StableDiffusionPipeline", \#(sd("DDIM"))}"#),
                "unet/config.json": json(
                    #"{"block_out_channels": [64, 128], "attention_head_dim": [1, 2], "cross_attention_dim": 1024, "#
                        + #""use_linear_projection": true, \#(cross)}"#),
                "vae/config.json": vae("0.18215"), "text_encoder/config.json": text(1024, "gelu"),
                "scheduler/scheduler_config.json": json(
                    #"{"_class_name": "DDIMScheduler", "prediction_type": "v_prediction", \#(betas)}"#),
            ],
            "sdxl": [
                "model_index.json": json(
                    #"{"_class_name": "StableDiffusionXLPipeline", \#(sd("EulerDiscrete")), "#
                        + #""text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}"#),
                "unet/config.json": json(
                    #"{"block_out_channels": [64, 128], "attention_head_dim": [1, 2], "cross_attention_dim": 2048, "#
                        + #""use_linear_projection": true, "transformer_layers_per_block": [1, 2], "#
                        + #""addition_embed_type": "text_time", "addition_time_embed_dim": 256, "#
                        + #""projection_class_embeddings_input_dim": 1568, "#
                        + #""down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "#
                        + #""up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]}"#),
                "vae/config.json": vae("0.13025"), "text_encoder/config.json": text(768, "quick_gelu"),
                "text_encoder_2/config.json": text(1280, "gelu"),
                "scheduler/scheduler_config.json": json(
                    #"{"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading", \#(betas)}"#),
            ],
            "ldm": [
                "model_index.json": json(
                    #"{"_class_name": "LDMPipeline", "scheduler": ["diffusers", "DDIMScheduler"], "#
                        + #""unet": ["diffusers", "UNet2DModel"], "vqvae": ["diffusers", "VQModel"]}"#),
                "unet/config.json": json(
                    #"{"block_out_channels": [32, 64], "attention_head_dim": 32, "layers_per_block": 1, "#
                        + #""down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "#
                        + #""up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}"#),
                "vqvae/config.json": json(
                    #"{"block_out_channels": [32, 64], "layers_per_block": 1, "scaling_factor": 1, "#
                        + #""num_vq_embeddings": 40, "#
                        + #""down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"], "#
                        + #""up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"]}"#),
                "scheduler/scheduler_config.json": json(
                    #"{"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.0015, "#
                        + #""beta_end": 0.0195, "clip_sample": false}"#),
            ],
        ]
    }()

    /// A component's tensors in the original layout, some with shapes of their own.
    private struct Original {
        let family: String
        private let golden: SafetensorsFile
        private(set) var tensors: [SafetensorsWriter.Tensor] = []

        init(_ family: String) throws {
            self.family = family
            golden = try SafetensorsFile(MappedFile(path: fixturesFolder + "original.safetensors"), name: "original")
            // What is beside the networks.
            tensors = golden.names.filter { $0.hasPrefix("\(family)/original/") }
                .map { String($0.dropFirst("\(family)/original/".count)) }
                .filter { !$0.hasPrefix("model.") && !$0.hasPrefix("cond") && !$0.hasPrefix("first") }
                .map { .init(name: $0, shape: [1], dtype: .f16, values: [1]) }
        }

        mutating func add(_ part: [SafetensorsWriter.Tensor], _ prefix: String, dropsLastLayer: Bool = false) throws {
            let start = "\(family)/original/\(prefix)"
            let names = golden.names.filter { $0.hasPrefix(start) }.map { String($0.dropFirst(start.count)) }
            let byKey = Dictionary(uniqueKeysWithValues: part.map { ($0.name, $0) })
            let unet = OriginalUNetNames(names), vae = OriginalAutoencoderNames(names)
            let text = OpenCLIPNames(names, dropsLastLayer: dropsLastLayer)
            for name in names {
                let renamed =
                    switch prefix {
                    case "model.diffusion_model.": try unet.rename(name, "original")
                    case "first_stage_model.": try vae.rename(name, "original")
                    case let prefix where prefix.hasSuffix("transformer."): [Renamed(key: name)]
                    default: try text.rename(name, "original")
                    }
                let parts = renamed.compactMap { byKey[$0.key] }
                guard !renamed.isEmpty, parts.count == renamed.count else {
                    try #require(renamed.isEmpty, "\(name)")
                    tensors.append(.init(name: prefix + name, shape: [1], dtype: .f16, values: [0]))
                    continue
                }
                let rank = golden.info(start + name)?.shape.count ?? 0
                tensors.append(Self.joined(prefix + name, rank, parts, renamed.map(\.part)))
            }
        }

        /// The tensor of which these are parts.
        private static func joined(
            _ name: String, _ rank: Int, _ parts: [SafetensorsWriter.Tensor], _ kinds: [TensorPart]
        ) -> SafetensorsWriter.Tensor {
            let first = parts[0], values = parts.map { Array($0.values) }
            var shape = first.shape
            switch kinds[0] {
            case .whole, .squeezed:
                shape += [Int](repeating: 1, count: rank - shape.count)
                return .init(name: name, shape: shape, dtype: .f16, values: values[0])
            case .transposed:
                let (rows, columns) = (shape[0], shape[1])
                let turned = (0..<rows * columns).map { values[0][$0 % rows * columns + $0 / rows] }
                return .init(name: name, shape: [columns, rows], dtype: .f16, values: turned)
            case .slice(_, let n, let rows):
                let width = values[0].count / shape[0], group = (rows ?? shape[0]) * width
                var all = [Float](repeating: 0, count: n * values[0].count)
                for (kind, part) in zip(kinds, values) {
                    guard case .slice(let k, _, _) = kind else { continue }
                    for i in part.indices { all[(i / group * n + k) * group + i % group] = part[i] }
                }
                shape[0] *= n
                shape += [Int](repeating: 1, count: rank - shape.count)
                return .init(name: name, shape: shape, dtype: .f16, values: all)
            }
        }
    }

    private static let prefixes: [String: [String: String]] = [
        "sd1": ["text_encoder": "cond_stage_model.transformer."], "sd2": ["text_encoder": "cond_stage_model.model."],
        "sdxl": [
            "text_encoder": "conditioner.embedders.0.transformer.", "text_encoder_2": "conditioner.embedders.1.model.",
        ],
        "ldm": [:],
    ]

    /// The same networks in both layouts.
    private func files(_ family: String) throws -> (folder: TinyModel, file: [UInt8]) {
        var folder = try TinyModel(["model_index.json": .object([:])])
        for (path, content) in try #require(Self.models[family]) { folder[path] = content.text }
        var original = try Original(family)
        for (component, name) in try folder.networks.sorted(by: { $0.key < $1.key }) {
            let tensors = try goldenTensors(folder["\(component)/config.json"], of: name).map {
                SafetensorsWriter.Tensor(name: $0.name, shape: $0.shape, dtype: .f16, values: $0.values)
            }
            try folder.setWeights(component, tensors)
            switch component {
            case "unet": try original.add(tensors, "model.diffusion_model.")
            case "vae", "vqvae": try original.add(tensors, "first_stage_model.")
            default:
                let prefix = try #require(Self.prefixes[family]?[component])
                try original.add(tensors, prefix, dropsLastLayer: family == "sd2")
            }
        }
        return (folder, try SafetensorsWriter.serialize(original.tensors))
    }

    private func run(_ model: Model, _ scheduler: SchedulerKind? = nil) throws -> Session {
        var options = Session.Options()
        options.scheduler = scheduler
        (options.batch, options.height, options.width, options.steps, options.strength) = (2, 16, 16, 4, 0.75)
        let session = try Session(model, options)
        if model.readsText {
            try session.setPrompt(model.prompt(["a photo of the red cat", "!"]), negative: model.prompt(["bad"]))
        }
        try session.setPictures(1, seed: 1)
        try session.seed([1, 2])
        try session.finish()
        return session
    }

    @Test(arguments: ["sd1", "sd2", "sdxl", "ldm"]) func isTheModelInAFolder(family: String) throws {
        var (folder, file) = try files(family)
        let temporary = try TemporaryFolder()
        // A tokenizer of few ids, so that the files stay small.
        for (path, content) in try #require(latentModels()["sd1"]) where path.hasPrefix("tokenizer/") {
            guard case .string(let text) = content else { continue }
            try temporary.add(String(path.dropFirst("tokenizer/".count)), text)
            for tokenizer in ["tokenizer", "tokenizer_2"] {
                folder[path.replacing("tokenizer/", with: "\(tokenizer)/")] = text
            }
        }
        try temporary.add("model.safetensors", file)
        var options = Model.Options(threads: 1)
        let expected = try folder.withFolder { try Model($0, options) }
        options.tokenizer = temporary.path
        let (samples, pictures) = try { ($0.0, $0.1) }(try { (try $0.sampleValues, try $0.pictures) }(run(expected)))
        for onDemand in [false, true] {
            options.onDemand = onDemand
            let model = try Model(path: "\(temporary.path)/model.safetensors", options)
            #expect(model.kind.pipeline == expected.kind.pipeline && model.schedulerKind == expected.schedulerKind)
            #expect(model.fingerprint == expected.fingerprint && model.parameterCount == expected.parameterCount)
            let session = try run(model)
            #expect(try sameBits(session.sampleValues, samples) && session.pictures == pictures)
        }
        // Another scheduler reads the same options.
        let model = try Model(path: "\(temporary.path)/model.safetensors", options)
        for kind in [SchedulerKind.euler, .dpmSolverMultistep] {
            #expect(try sameBits(run(model, kind).sampleValues, run(expected, kind).sampleValues), "\(kind)")
        }
        // The version of Stable Diffusion 2 that predicts noise has the same file.
        if family == "sd2" {
            options.predictionType = .epsilon
            let other = try Model(path: "\(temporary.path)/model.safetensors", options)
            #expect(try other.schedulerConfig.predictionType == .epsilon && run(other).sampleValues != samples)
        }
        options = Model.Options(threads: 1)
        options.tokenizer = temporary.path
        let memory = try file.withUnsafeBytes { try Model(.memory(["m.safetensors": $0]), options) }
        #expect(try sameBits(run(memory).sampleValues, samples))
    }

    /// Without a tokenizer it has CLIP's, padded as the family pads.
    @Test(arguments: ["sd1", "sd2"]) func hasTheTokenizerOfCLIP(family: String) throws {
        var (_, file) = try files(family)
        let key =
            family == "sd1"
            ? "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
            : "cond_stage_model.model.token_embedding.weight"
        let width = family == "sd1" ? 768 : 1024
        // With too few rows it does not fit.
        #expect(throws: MCMError.self) {
            try file.withUnsafeBytes { try Model(.memory(["m.safetensors": $0]), .init(threads: 1)) }
        }
        let tensors = try file.withUnsafeBytes { bytes in
            let small = try SafetensorsFile(MemoryFile(borrowing: bytes), name: "small")
            return try small.names.map { name -> SafetensorsWriter.Tensor in
                if name == key {
                    return .init(
                        name: name, shape: [49408, width], dtype: .f16,
                        values: repeatElement(Float(0.5), count: 49408 * width))
                }
                let values = try small.withElements(name) { elements in (0..<elements.count).map { elements[$0] } }
                return .init(name: name, shape: small.info(name)?.shape ?? [], dtype: .f16, values: values)
            }
        }
        file = try SafetensorsWriter.serialize(tensors)
        let model = try file.withUnsafeBytes { try Model(.memory(["m.safetensors": $0]), .init(threads: 1)) }
        let tokenizer = try #require(model.textEncoders?.encoders.first?.tokenizer)
        #expect(tokenizer.paddingID == (family == "sd1" ? 49407 : 0) && tokenizer.idCount == 49408)
        #expect(try model.prompt(["a cat"]).tokens == 77)
    }
}
