import Glibc
import Kernels
import TestSupport
import Testing

@testable import Checkpoint

/// Checkpoints in the layout of the original programs against diffusers' own conversion (make_original.py).
struct OriginalTests {
    private let file: SafetensorsFile

    init() throws {
        let path = fixturesFolder + "original.safetensors"
        file = try SafetensorsFile(MappedFile(path: path), name: "original")
    }

    /// Tensors of the fixture whose names begin so, without that.
    private func tensors(_ prefix: String) throws -> [SafetensorsWriter.Tensor] {
        try file.names.filter { $0.hasPrefix(prefix) }.map { name in
            .init(
                name: String(name.dropFirst(prefix.count)), shape: file.info(name)!.shape, dtype: .f16,
                values: try values(file, name))
        }
    }

    private func original(_ name: String, _ change: (inout [SafetensorsWriter.Tensor]) -> Void = { _ in }) throws
        -> [UInt8]
    {
        var all = try tensors("\(name)/original/")
        change(&all)
        return try SafetensorsWriter.serialize(all)
    }

    @Test(arguments: ["sd1", "sd2", "sdxl", "ldm"]) func hasDiffusersKeys(_ name: String) throws {
        try withFile(original(name)) { file in
            #expect(OriginalCheckpoint.isOne(file))
            let checkpoint = try OriginalCheckpoint(file)
            #expect(checkpoint.textEncoders.count == ["sd1": 1, "sd2": 1, "sdxl": 2, "ldm": 0][name])
            let parts =
                [("unet", checkpoint.unet), ("vae", checkpoint.vae)]
                + checkpoint.textEncoders.enumerated().map { ("text\($0)", $1) }
            for (part, source) in parts {
                let expected = try tensors("\(name)/\(part)/")
                #expect(source.keys == expected.map(\.name).sorted(), "\(part)")
                for tensor in expected {
                    try source.withElements(tensor.name, shape: tensor.shape) { elements in
                        #expect((0..<elements.count).map { elements[$0] } == Array(tensor.values), "\(tensor.name)")
                    }
                }
                try source.finish()
                // As of the same network in a diffusers folder.
                try withFile(SafetensorsWriter.serialize(expected)) { folder in
                    try #expect(source.fingerprint() == CheckpointSource(folder).fingerprint())
                }
            }
        }
    }

    /// Names that do not belong there, and tensors that cannot be cut as they should be.
    @Test func refuses() throws {
        func fails(_ part: String, _ change: (inout [SafetensorsWriter.Tensor]) -> Void) throws {
            for name in ["sd2", "ldm"] {
                try withFile(original(name, change)) { file in
                    expectFailure(.format, part) { try OriginalCheckpoint(file) }
                }
            }
        }
        let strange = [
            "model.diffusion_model.x",
            "model.diffusion_model.input_blocks.a.0.weight", "model.diffusion_model.input_blocks",
            "model.diffusion_model.middle_block.3.in_layers.0.weight", "model.diffusion_model.output_blocks.0.0.x",
            "model.diffusion_model.input_blocks.99999999999999999999.0.weight", "first_stage_model.decoder.x.y",
            "first_stage_model.encoder.down.x", "first_stage_model.z", "first_stage_model.decoder.up.0.norm.weight",
        ]
        for name in strange {
            try fails("is surplus") { $0.append(.init(name: name, shape: [1], values: [0])) }
        }
        try fails("no tensor \"model.diffusion_model.input_blocks.0.0.weight\"") {
            $0.removeAll { $0.name == "model.diffusion_model.input_blocks.0.0.weight" }
        }
        try withFile(
            original("sd2") { tensors in
                tensors.removeAll { $0.name.hasSuffix("0.attn.in_proj_bias") }
                tensors.append(
                    .init(
                        name: "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_bias", shape: [4],
                        values: [1, 2, 3, 4]))
            }
        ) { file in expectFailure(.format, "has shape [4], expected one") { try OriginalCheckpoint(file) } }
    }

    /// Playground 2.5 has Stable Diffusion XL's tensors, but latents and a scheduler of its own.
    @Test func refusesPlayground() throws {
        let file = try original("sdxl") { $0.append(.init(name: "edm_mean", shape: [4], values: [0, 0, 0, 0])) }
        try withFile(file) { file in expectFailure(.unsupported, "\"edm_mean\"") { try OriginalCheckpoint(file) } }
    }

    /// Of 24 layers Stable Diffusion 2 uses 23, which is what a file has that was made of a diffusers folder.
    @Test(arguments: [23, 24]) func textEncoderHas23Layers(_ count: Int) throws {
        let names = (0..<count).map { "transformer.resblocks.\($0).ln_1.weight" }
        let kept = OpenCLIPNames(names, dropsLastLayer: true)
        #expect(try names.flatMap { try kept.rename($0, "file") }.count == 23)
        let all = OpenCLIPNames(names, dropsLastLayer: false)
        #expect(try names.flatMap { try all.rename($0, "file") }.count == count)
    }
}

/// Configs of the real models, whose files are all holes here.
struct OriginalConfigTests {
    @Test func areThoseOfDiffusers() throws {
        let folder = try TemporaryFolder()
        let path = fixturesFolder + "original.json"
        let json = try MappedFile(path: path).withBytes { try JSONValue(parsing: $0, name: path) }
        guard case .array(let cases) = json else { throw MCMError(.format, "\(path): no cases") }
        for value in cases {
            let model = try JSONObject(value, name: path)
            let name = try model.string("name")
            let file = try Self.hollow(model.object("shapes"), in: folder, name)
            let checkpoint = try OriginalCheckpoint(file)
            #expect(name.hasPrefix(checkpoint.family.rawValue))
            try Self.expect(checkpoint.unetConfig, has: model.object("unet"), "\(name) unet")
            try Self.expect(checkpoint.vaeConfig, has: model.object("vae"), "\(name) vae")
            let texts = try model.objects("texts")
            #expect(checkpoint.textConfigs.count == texts.count)
            for (config, text) in zip(checkpoint.textConfigs, texts) {
                try Self.expect(config, has: text, "\(name) text")
            }
        }
        #expect(cases.count == 6)
    }

    /// diffusers' pipelines for inpainting, and what those of Stable Diffusion 2 predict: it was made of the version that
    /// predicts noise.
    @Test func inpaintingIsToldByItsChannels() throws {
        let folder = try TemporaryFolder()
        let path = fixturesFolder + "original.json"
        let json = try MappedFile(path: path).withBytes { try JSONValue(parsing: $0, name: path) }
        guard case .array(let cases) = json else { throw MCMError(.format, "\(path): no cases") }
        let key = "model.diffusion_model.input_blocks.0.0.weight"
        let pipelines = [
            "sd1": "StableDiffusion", "sd2": "StableDiffusion", "sdxl": "StableDiffusionXL",
        ]
        for value in cases {
            let model = try JSONObject(value, name: path), name = try model.string("name")
            guard let pipeline = pipelines[name] else { continue }
            for (channels, kind) in [(4, ""), (9, "Inpaint")] {
                var shapes = try model.object("shapes").members
                let width = try model.object("unet").ints("block_out_channels")[0]
                shapes[key] = .array([width, channels, 3, 3].map { .integer($0) })
                let file = try Self.hollow(JSONObject(.object(shapes), name: path), in: folder, "\(name)\(kind)")
                let checkpoint = try OriginalCheckpoint(file)
                #expect(checkpoint.pipeline == "\(pipeline)\(kind)Pipeline")
                let scheduler = try JSONObject(checkpoint.schedulerConfig, name: name)
                let type = try scheduler.string("prediction_type", default: "epsilon")
                #expect(type == (name == "sd2" && channels == 4 ? "v_prediction" : "epsilon"), "\(name)\(kind)")
                let size = try JSONObject(checkpoint.unetConfig, name: name).int("sample_size")
                #expect(size == (name == "sdxl" ? 128 : name == "sd2" && channels == 4 ? 96 : 64), "\(name)\(kind)")
            }
        }
    }

    private static func expect(_ config: JSONValue, has expected: JSONObject, _ what: String) throws {
        guard case .object(let members) = config else { throw MCMError(.format, "\(what): no object") }
        for (key, value) in expected.members {
            switch (members[key], value) {
            case (.number(let a), .integer(let b)): #expect(a == Double(b), "\(what): \(key)")
            default: #expect(members[key] == value, "\(what): \(key)")
            }
        }
    }

    private static func hollow(_ shapes: JSONObject, in folder: TemporaryFolder, _ name: String) throws
        -> SafetensorsFile
    {
        var header = "{", end = 0
        for key in shapes.members.keys.sorted() {
            let shape = try shapes.ints(key)
            let begin = end
            end += 2 * shape.reduce(1, *)
            let dimensions = shape.map(String.init).joined(separator: ",")
            header += header.utf8.count > 1 ? "," : ""
            header += #""\#(key)":{"dtype":"F16","shape":[\#(dimensions)],"data_offsets":[\#(begin),\#(end)]}"#
        }
        let bytes = safetensors(Array((header + "}").utf8), data: [])
        try folder.add(name, bytes)
        guard truncate("\(folder.path)/\(name)", bytes.count + end) == 0 else { throw systemError(name) }
        return try SafetensorsFile(MappedFile(path: "\(folder.path)/\(name)"), name: name)
    }
}
