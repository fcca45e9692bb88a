import Checkpoint
import Kernels
import Networks
import Pipeline
import TestSupport
import Testing

/// What the README's table of models says: each family in each form of its files, and in each use.
@Suite struct FamilyTests {
    private static let families = [
        "ddpm", "ldm", "sd1", "sd2", "xl", "refiner", "inpainting", "xl-inpainting", "lcm",
    ]

    private func files(_ family: String) throws -> TinyModel {
        guard family == "ddpm" else { return try latentFiles(family) }
        let unet = TinyModel.unet.replacing("\"in_channels\": 1, \"out_channels\": 1", with: "\"in_channels\": 3")
            .replacing("[8]", with: "[64]")  // wide enough for 8-bit weights
        return try TinyModel(tensors: goldenTensors(unet), unet: unet)
    }

    private func open(_ files: TinyModel, _ options: Model.Options = .init(threads: 1)) throws -> Model {
        try files.withFolder { try Model($0, options) }
    }

    private enum Use { case drawing, image, inpainting }

    /// Three steps of one image, and the image.
    private func run(
        _ model: Model, _ use: Use = .drawing, attaching: (Session) throws -> Void = { _ in }
    ) throws -> [Float] {
        var options = Session.Options()
        (options.height, options.width, options.steps) = (16, 16, 3)
        if use == .image { options.strength = 0.7 }
        let session = try Session(model, options)
        if model.readsText { try session.setPrompt(model.prompt(["a cat"])) }
        if use != .drawing || model.readsMask { try session.setPictures(1, seed: 1) }
        if use == .inpainting || model.readsMask { try session.setMasks(1, seed: 2) }
        try attaching(session)
        try session.seed([1])
        try session.finish()
        return try session.sampleValues + session.pictures.map { Float($0) }
    }

    /// Each component's tensors written again.
    private func stored(
        _ files: TinyModel, _ write: (inout TinyModel, String, [SafetensorsWriter.Tensor]) throws -> Void
    ) throws -> TinyModel {
        var out = files
        for (component, kind) in try files.networks {
            let base = component.hasPrefix("text_encoder") ? "model" : "diffusion_pytorch_model"
            out.files["\(component)/\(base).safetensors"] = nil
            try write(&out, component, goldenTensors(files["\(component)/config.json"], of: kind))
        }
        return out
    }

    @Test(arguments: families) func shardsAreOneFile(family: String) throws {
        let whole = try files(family)
        let shards = try stored(whole) { out, component, tensors in
            let base = component.hasPrefix("text_encoder") ? "model" : "diffusion_pytorch_model"
            var map: [String: JSONValue] = [:]
            for shard in 1...2 {
                let name = "\(base)-0000\(shard)-of-00002.safetensors"
                let part = tensors.enumerated().filter { $0.offset % 2 == shard - 1 }.map(\.element)
                for tensor in part { map[tensor.name] = .string(name) }
                out.files["\(component)/\(name)"] = try SafetensorsWriter.serialize(part)
            }
            out["\(component)/\(base).safetensors.index.json"] = JSONValue.object(["weight_map": .object(map)]).text
        }
        #expect(try sameBits(run(open(shards)), run(open(whole))))
    }

    /// In a variant's files, which need not be named, or in the plain ones.
    @Test(arguments: families) func halfPrecisionIsTheRoundedModel(family: String) throws {
        let files = try files(family)
        let rounded = try stored(files) { out, component, tensors in
            try out.setWeights(
                component,
                tensors.map {
                    .init(name: $0.name, shape: $0.shape, values: TestSupport.rounded(Array($0.values), to: .f16))
                })
        }
        let expected = try run(open(rounded))
        for variant in ["", ".fp16"] {
            let half = try stored(files) { out, component, tensors in
                try out.setWeights(
                    component,
                    tensors.map { .init(name: $0.name, shape: $0.shape, dtype: .f16, values: $0.values) },
                    variant: variant)
            }
            #expect(try sameBits(run(open(half)), expected))
            guard !variant.isEmpty else { continue }
            var options = Model.Options(threads: 1)
            options.variant = "fp16"
            #expect(try sameBits(run(open(half, options)), expected))
        }
    }

    @Test(arguments: families) func weightsOfEightBitsAreClose(family: String) throws {
        let files = try files(family)
        var options = Model.Options(threads: 1)
        options.rounds = true
        let exact = try open(files), rounded = try open(files, options)
        #expect(rounded.roundingError > 1e-4 && rounded.roundingError < 0.02)
        let error = try relativeError(run(rounded), run(exact))
        #expect(error > 0 && error < 0.1)
    }

    /// With a mask each paints the image's part; one for inpainting reads it.
    @Test(arguments: families) func imagesAndMasksAreFollowed(family: String) throws {
        let model = try open(files(family))
        let all = try [Use.drawing, .image, .inpainting].map { try run(model, $0) }
        #expect(all[0] != all[1] && all[1] != all[2] && (model.readsMask || all[0] != all[2]))
    }

    @Test(arguments: families) func modulesAreFollowed(family: String) throws {
        let model = try open(files(family))
        let config = """
            {"net": {"block_out_channels": [8], "layers_per_block": 1, "norm_num_groups": 2, "attention_head_dim": 4,
                     "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]},
             "prediction_channels": \(model.channels), "modalities": [{"name": "sketch", "channels": 1}]}
            """
        let module = try Modulator(JSONObject(parsing: config, name: "module"), GoldenWeights())
        func following(_ seed: Int?) throws -> [Float] {
            try run(model) { session in
                let id = try session.attach(module, weight: 1, window: .init(begin: 0, end: 1), otherBase: false)
                guard let seed else { return }
                try withPictures(1, channels: 1, height: 16, width: 16, seed: seed) {
                    try session.setCondition(id, "sketch", $0)
                }
            }
        }
        let all = try [run(model), following(nil), following(1), following(2)]
        for (i, one) in all.enumerated() { #expect(!all[..<i].contains(one)) }
    }

    @Test(arguments: families) func controlNetsAreFollowed(family: String) throws {
        let model = try open(files(family))
        guard model.readsText else {
            let other = try controlNet("sd1")
            #expect(throws: MCMError.self) { try run(model) { try attach(other, to: $0, 1) } }
            return
        }
        let controlNet = try controlNet(family)
        let all = try [run(model)] + [1, 2].map { seed in try run(model) { try attach(controlNet, to: $0, seed) } }
        for (i, one) in all.enumerated() { #expect(!all[..<i].contains(one)) }
    }

    private func attach(_ controlNet: ControlNetModel, to session: Session, _ seed: Int) throws {
        try withPictures(1, channels: 3, height: 16, width: 16, seed: seed) {
            _ = try session.attach(
                controlNet, $0, guessMode: false, weight: 1, window: .init(begin: 0, end: 1))
        }
    }

    /// One made for the family's network, as diffusers' ControlNetModel.from_unet makes it.
    private func controlNet(_ family: String) throws -> ControlNetModel {
        var members = try JSONObject(parsing: latentFiles(family)["unet/config.json"], name: "unet").members
        for key in ["sample_size", "out_channels", "up_block_types", "time_cond_proj_dim"] { members[key] = nil }
        members["_class_name"] = .string("ControlNetModel")
        members["in_channels"] = .integer(4)
        members["conditioning_embedding_out_channels"] = .array([.integer(8), .integer(16)])
        let json = JSONValue.object(members), recorder = RecordedWeights()
        _ = try ControlNet(ControlNetConfig(JSONObject(json, name: "controlnet")), Weights(recorder))
        let folder = try TemporaryFolder()
        try folder.add("config.json", json.text)
        try folder.add("diffusion_pytorch_model.safetensors", SafetensorsWriter.serialize(recorder.tensors))
        return try ControlNetModel(.disk(folder.path), .init(threads: 1))
    }
}
