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
}
