import Checkpoint
import Kernels
import Pipeline
import TestSupport
import Testing

/// Folders of several components: what opens, and what is refused.
@Suite struct LatentModelTests {
    /// One step, if the model opens.
    private func samples(_ model: Model) throws -> [Float] {
        var options = Session.Options()
        (options.height, options.width, options.steps) = (16, 16, 2)
        let session = try Session(model, options)
        if model.readsText { try session.setPrompt(model.prompt(["a cat"])) }
        if model.readsMask {
            try session.setPictures(1, seed: 1)
            try session.setMasks(1, seed: 2)
        }
        try session.seed([1])
        try session.advance()
        _ = try session.pictures
        return try session.sampleValues
    }

    /// Opening fails with one line that holds all parts.
    private func expectFailure(
        _ name: String, _ kind: MCMError.Kind, _ parts: String..., sourceLocation: SourceLocation = #_sourceLocation,
        change: (inout TinyModel) throws -> Void
    ) {
        do {
            _ = try latentModel(name, change: change)
            Issue.record("the model opened", sourceLocation: sourceLocation)
        } catch let error as MCMError {
            #expect(
                error.kind == kind && parts.allSatisfy { error.message.contains($0) }
                    && !error.message.contains("\n"), "\(error.kind): \(error.message)", sourceLocation: sourceLocation)
        } catch {
            Issue.record(error, sourceLocation: sourceLocation)
        }
    }

    /// Changes members of a JSON file; nil takes one away.
    private func set(_ path: String, _ members: [String: JSONValue?]) -> (inout TinyModel) throws -> Void {
        { tiny in
            var all = try JSONObject(parsing: tiny[path], name: path).members
            for (key, value) in members { all[key] = value }
            tiny[path] = JSONValue.object(all).text
        }
    }

    private func entry(_ library: String, _ name: String) -> JSONValue { .array([.string(library), .string(name)]) }

    @Test func classesThatAreNotKnownAreRefused() {
        let index = "model_index.json"
        expectFailure(
            "sd1", .unsupported, index, "\"_class_name\"", "\"FluxPipeline\"", "\"LDMPipeline\"",
            change: set(index, ["_class_name": .string("FluxPipeline")]))
        expectFailure(
            "sd1", .unsupported, index, "\"unet\"", "UNet2DConditionModel",
            change: set(index, ["unet": entry("diffusers", "UNet2DModel")]))
        expectFailure(
            "sd1", .unsupported, index, "\"vae\"", "AutoencoderKL",
            change: set(index, ["vae": entry("diffusers", "AutoencoderTiny")]))
        expectFailure(
            "ldm", .unsupported, index, "\"vqvae\"", "VQModel",
            change: set(index, ["vqvae": entry("diffusers", "AutoencoderKL")]))
        expectFailure(
            "sd1", .unsupported, index, "\"text_encoder\"", "T5EncoderModel", "CLIPTextModel",
            change: set(index, ["text_encoder": entry("transformers", "T5EncoderModel")]))
        expectFailure(
            "xl", .unsupported, index, "\"text_encoder_2\"", "CLIPTextModelWithProjection",
            change: set(index, ["text_encoder_2": entry("transformers", "CLIPTextModel")]))
        expectFailure(
            "sd1", .unsupported, index, "\"scheduler\"", "EDMEulerScheduler",
            change: set(index, ["scheduler": entry("diffusers", "EDMEulerScheduler")]))
        expectFailure(
            "sd1", .unsupported, "unet/config.json", "\"_class_name\"",
            change: set("unet/config.json", ["_class_name": .string("UNet3DConditionModel")]))
        expectFailure(
            "sd1", .unsupported, "vae/config.json", "\"_class_name\"",
            change: set("vae/config.json", ["_class_name": .string("VQModel")]))
        expectFailure("sd1", .unsupported, index, "\"prior\"", change: set(index, ["prior": entry("diffusers", "X")]))
        expectFailure("xl", .unsupported, index, "is_cosxl_edit", change: set(index, ["is_cosxl_edit": .bool(true)]))
        expectFailure("sd1", .format, index, "\"vae\"", change: set(index, ["vae": nil]))
        expectFailure("sd1", .format, index, "\"unet\"", change: set(index, ["unet": .array([.null, .null])]))
        expectFailure("sd1", .format, index, "\"text_encoder\"", change: set(index, ["text_encoder": .integer(3)]))
    }

    @Test(arguments: ["ldm", "sd1", "xl"]) func missingFilesAreNamed(name: String) throws {
        let files = try latentFiles(name)
        for path in files.files.keys where !path.hasSuffix("tokenizer_config.json") {
            expectFailure(name, .io, path) { $0.files[path] = nil }
        }
    }

    @Test func partsThatDoNotFitAreRefused() throws {
        expectFailure("sd1", .format, "cross_attention_dim", "32", "40") {
            // The other encoder's width.
            $0["text_encoder/config.json"] =
                #"{"hidden_size": 40, "num_attention_heads": 5, "vocab_size": 531, "#
                + #""intermediate_size": 64, "num_hidden_layers": 1}"#
            try $0.setWeights("text_encoder", goldenTensors($0["text_encoder/config.json"], of: "CLIPTextModel"))
        }
        for (channels, key) in [(3, "in_channels"), (5, "in_channels"), (8, "in_channels")] {
            expectFailure("sd1", .unsupported, key, "\(channels)", "4, or 9 for inpainting") {
                try set("unet/config.json", ["in_channels": .integer(channels)])(&$0)
                try $0.setWeights("unet", goldenTensors($0["unet/config.json"], of: "UNet2DConditionModel"))
            }
        }
        expectFailure("sd1", .format, "out_channels", "8", "4") {
            try set("unet/config.json", ["out_channels": .integer(8)])(&$0)
            try $0.setWeights("unet", goldenTensors($0["unet/config.json"], of: "UNet2DConditionModel"))
        }
        expectFailure("sd1", .format, "out_channels", "4", "3: as many as the autoencoder's") {
            try set("vae/config.json", ["latent_channels": .integer(3)])(&$0)
            try $0.setWeights("vae", goldenTensors($0["vae/config.json"], of: "AutoencoderKL"))
        }
        expectFailure("sd1", .format, "text_encoder/config.json", "vocab_size", "at least") {
            try set("text_encoder/config.json", ["vocab_size": .integer(300)])(&$0)
            try $0.setWeights("text_encoder", goldenTensors($0["text_encoder/config.json"], of: "CLIPTextModel"))
        }
        expectFailure(
            "xl", .format, "projection_class_embeddings_input_dim", "72", "24 numbers beside 5",
            change: set("model_index.json", ["requires_aesthetics_score": .bool(true)]))
        expectFailure(
            "xl", .format, "cross_attention_dim", "72", "40",
            change: set("model_index.json", ["text_encoder": .array([.null, .null])]))
        expectFailure("sd1", .format, "text_encoder/config.json", "max_position_embeddings") {
            try set("text_encoder/config.json", ["max_position_embeddings": .integer(2)])(&$0)
            try $0.setWeights("text_encoder", goldenTensors($0["text_encoder/config.json"], of: "CLIPTextModel"))
        }
        // Early files say a size that is too small.
        for (version, size) in [("0.8.1", 64), ("0.9.0", 16), ("0.42.1", 16), ("none", 16)] {
            let members: [String: JSONValue] = ["sample_size": .integer(16), "_diffusers_version": .string(version)]
            let old = try latentModel("sd1", change: set("unet/config.json", members))
            #expect(old.sampleSize == (size, size), "\(version)")
        }
        // Fewer positions than the tokenizer has tokens make prompts shorter.
        let short = try latentModel("sd1") {
            try set("text_encoder/config.json", ["max_position_embeddings": .integer(5)])(&$0)
            try $0.setWeights("text_encoder", goldenTensors($0["text_encoder/config.json"], of: "CLIPTextModel"))
        }
        #expect(try short.prompt(["a photo of the red cat"]).tokens == 5)
    }

    @Test func textEncodersMayBeMissing() throws {
        let none = JSONValue.array([.null, .null])
        for (name, forces) in [("sd1", false), ("xl", true), ("xl", false)] {
            let whole = try latentModel(name)
            let model = try latentModel(name) {
                try set(
                    "model_index.json",
                    ["text_encoder": none, "text_encoder_2": none, "tokenizer": none, "tokenizer_2": none]
                        .merging(name == "xl" ? ["force_zeros_for_empty_prompt": .bool(forces)] : [:]) { $1 })(&$0)
                for path in $0.files.keys where path.hasPrefix("text") || path.hasPrefix("token") {
                    $0.files[path] = nil
                }
            }
            #expect(throws: MCMError.self) { try model.prompt(["a"]) }
            func session(_ model: Model) throws -> Session {
                var options = Session.Options()
                (options.height, options.width, options.steps) = (16, 16, 2)
                return try Session(model, options)
            }
            let encoded = try whole.prompt(["a cat"]), empty = try whole.prompt([""])
            var states = [Float](repeating: 0, count: encoded.stateCount)
            var pooled = [Float](repeating: 0, count: encoded.pooledCount)
            encoded.copyStates(into: &states)
            encoded.copyPooled(into: &pooled)
            let prompt = try Prompt(
                states: states, count: 1, tokens: encoded.tokens, channels: encoded.channels, pooled: pooled,
                pooledChannels: pooled.count)
            let (a, b) = (try session(whole), try session(model))
            if forces {
                try a.setPrompt(encoded)
                try b.setPrompt(prompt)
            } else {
                #expect(throws: MCMError.self) { try b.setPrompt(prompt) }
                try a.setPrompt(encoded, negative: empty)
                try b.setPrompt(prompt, negative: empty)
            }
            for run in [a, b] {
                try run.seed([1])
                try run.finish()
            }
            #expect(try sameBits(a.sampleValues, b.sampleValues))
        }
    }

    @Test(arguments: ["sd1", "xl"]) func variantsOpen(name: String) throws {
        var half = try latentFiles(name), rounded = half
        for (component, kind) in try half.networks {
            let tensors = try goldenTensors(half["\(component)/config.json"], of: kind)
            let base = component.hasPrefix("text_encoder") ? "model" : "diffusion_pytorch_model"
            half.files["\(component)/\(base).safetensors"] = nil
            try half.setWeights(
                component, tensors.map { .init(name: $0.name, shape: $0.shape, dtype: .f16, values: $0.values) },
                variant: ".fp16")
            try rounded.setWeights(
                component,
                tensors.map {
                    .init(name: $0.name, shape: $0.shape, values: TestSupport.rounded(Array($0.values), to: .f16))
                })
        }
        let expected = try samples(rounded.withFolder { try Model($0, .init(threads: 1)) })
        var options = Model.Options(threads: 1)
        let plain = try half.withFolder { try Model($0, options) }
        #expect(try sameBits(samples(plain), expected))
        options.variant = "fp16"
        let named = try half.withFolder { try Model($0, options) }
        #expect(try sameBits(samples(named), expected) && named.memory.weights < plain.memory.weights + 1)
        options.variant = "bf16"
        #expect(throws: MCMError.self) { try half.withFolder { try Model($0, options) } }
        options.variant = "../fp16"
        #expect(throws: MCMError.self) { try half.withFolder { try Model($0, options) } }
    }

    @Test(arguments: ["ldm", "sd1", "xl"]) func weightsRoundedToBytesRun(name: String) throws {
        var options = Model.Options(threads: 1)
        let exact = try latentModel(name, options)
        options.rounds = true
        let rounded = try latentModel(name, options)
        #expect(exact.roundingError == 0 && rounded.roundingError > 1e-4 && rounded.roundingError < 0.02)
        #expect(rounded.memory.weights < exact.memory.weights)
        let error = try relativeError(samples(rounded), samples(exact))
        #expect(error > 0 && error < 0.1)
        options.threads = 3
        #expect(try sameBits(samples(latentModel(name, options)), samples(rounded)))
    }

    /// Nothing that a config says may do worse than fail.
    @Test(arguments: ["ldm", "sd1", "xl"]) func configsThatAreDamagedAreErrors(name: String) throws {
        let files = try latentFiles(name)
        let values: [JSONValue] = [
            .null, .integer(-1), .integer(0), .integer(3), .integer(1 << 40), .number(1e300), .string("x"),
            .array([.integer(7), .integer(2)]),
        ]
        var opened = 0
        for path in files.files.keys.sorted() where path.hasSuffix(".json") && !path.hasSuffix("vocab.json") {
            for key in try JSONObject(parsing: files[path], name: path).members.keys.sorted() {
                for value in values {
                    do {
                        _ = try samples(self.opened(files, set(path, [key: value])))
                        opened += 1
                    } catch let error as MCMError {
                        #expect(!error.message.isEmpty && !error.message.contains("\n"), "\(path): \(key): \(value)")
                    }
                }
            }
        }
        #expect(opened > 10)
    }

    private func opened(_ files: TinyModel, _ change: (inout TinyModel) throws -> Void) throws -> Model {
        var files = files
        try change(&files)
        return try files.withFolder { try Model($0, .init(threads: 1)) }
    }
}
