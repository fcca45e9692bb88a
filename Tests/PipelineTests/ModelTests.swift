import Checkpoint
import Kernels
import Networks
import Pipeline
import TestSupport
import Testing

@Suite struct ModelTests {
    private let tensors: [SafetensorsWriter.Tensor]

    init() throws { tensors = try goldenTensors(TinyModel.unet) }

    private func open(_ change: (inout TinyModel) -> Void = { _ in }) throws -> Model {
        var tiny = try TinyModel(tensors: tensors)
        change(&tiny)
        return try tiny.withFolder { try Model($0, .init(threads: 1)) }
    }

    /// Opening fails, and the message holds every one of `parts`.
    private func expectFailure(
        _ kind: MCMError.Kind, _ parts: String..., change: (inout TinyModel) -> Void,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(sourceLocation: sourceLocation) {
            try open(change)
        } throws: { error in
            guard let error = error as? MCMError else { return false }
            return error.kind == kind && parts.allSatisfy { error.message.contains($0) }
        }
    }

    private func replace(_ tensors: [SafetensorsWriter.Tensor]) -> (inout TinyModel) -> Void {
        { $0.files["unet/diffusion_pytorch_model.safetensors"] = try? SafetensorsWriter.serialize(tensors) }
    }

    /// The first step's sample from seed 1.
    private func firstStep(_ model: Model) throws -> [Float] {
        let session = try Session(model)
        try session.seed([1])
        try session.advance()
        var values = [Float](repeating: 0, count: session.count)
        try session.copySample(into: &values)
        return values
    }

    @Test func opensFromMemory() throws {
        let model = try open()
        #expect(model.parameterCount == tensors.reduce(0) { $0 + $1.values.count })
        #expect(model.sampleSize == (8, 8) && model.channels == 1 && model.schedulerKind == .ddim)
        #expect(model.fingerprint.utf8.count == 16)
    }

    @Test func missingSurplusAndMisshapenTensorsAreNamed() {
        guard let i = tensors.firstIndex(where: { $0.shape.count > 1 }) else { return #expect(Bool(false)) }
        let first = tensors[i], others = Array(tensors[..<i] + tensors[(i + 1)...])
        expectFailure(.format, first.name, "missing", "\(first.shape)", change: replace(others))
        let extra = SafetensorsWriter.Tensor(name: "extra.weight", shape: [2], values: [1, 2])
        expectFailure(.format, "extra.weight", "[2]", change: replace(tensors + [extra]))
        let bent = SafetensorsWriter.Tensor(
            name: first.name, shape: [first.values.count], values: first.values)
        expectFailure(
            .format, first.name, "[\(first.values.count)]", "\(first.shape)",
            change: replace([bent] + others))
    }

    @Test func weightsThatAreNotFiniteAreRefused() {
        var values = Array(tensors[0].values)
        values[1] = .nan
        let bad = SafetensorsWriter.Tensor(name: tensors[0].name, shape: tensors[0].shape, values: values)
        expectFailure(.format, bad.name, "nan", "element 1", change: replace([bad] + tensors.dropFirst()))
    }

    @Test func optionsThatChangeTheArithmeticAreRefusedByName() {
        expectFailure(.unsupported, "use_magic") {
            $0["unet/config.json"] = TinyModel.unet.replacing(
                "{\"_class_name\"", with: "{\"use_magic\": 1, \"_class_name\"")
        }
        expectFailure(.unsupported, "solver_magic") {
            $0["scheduler/scheduler_config.json"] = #"{"_class_name": "DDIMScheduler", "solver_magic": 2}"#
        }
        expectFailure(.unsupported, "ScoreSdeVePipeline") {
            $0["model_index.json"] = $0["model_index.json"].replacing("DDIMPipeline", with: "ScoreSdeVePipeline")
        }
        expectFailure(.unsupported, "DEISMultistepScheduler", "PNDMScheduler", "UniPCMultistepScheduler") {
            $0["scheduler/scheduler_config.json"] = #"{"_class_name": "DEISMultistepScheduler"}"#
            $0["model_index.json"] = $0["model_index.json"].replacing("DDIMPipeline", with: "DDPMPipeline")
        }
        expectFailure(.unsupported, "DownBlock3D") {
            $0["unet/config.json"] = TinyModel.unet.replacing("DownBlock2D", with: "DownBlock3D")
        }
        expectFailure(.unsupported, "fixed_large_log") {
            $0["scheduler/scheduler_config.json"] =
                #"{"_class_name": "DDIMScheduler", "variance_type": "fixed_large_log"}"#
        }
    }

    @Test func configsThatMakeNoNetworkAreErrors() {
        for (from, to) in [
            ("\"block_out_channels\": [8]", "\"block_out_channels\": [0]"),
            ("\"block_out_channels\": [8]", "\"block_out_channels\": [8, 8]"),
            ("\"norm_num_groups\": 2", "\"norm_num_groups\": 3"),
            ("\"norm_num_groups\": 2", "\"norm_num_groups\": null"),
            ("\"attention_head_dim\": 4", "\"attention_head_dim\": 9"),
            ("\"layers_per_block\": 1", "\"layers_per_block\": 0"),
            ("\"layers_per_block\": 1", "\"layers_per_block\": 1e300"),
            ("\"in_channels\": 1", "\"in_channels\": -1"),
            ("\"out_channels\": 1", "\"out_channels\": 2"),
        ] {
            #expect(throws: MCMError.self, "\(to)") {
                try open { $0["unet/config.json"] = TinyModel.unet.replacing(from, with: to) }
            }
        }
    }

    @Test func oldAttentionNamesAreUnderstood() throws {
        let old = tensors.map { tensor in
            var name = tensor.name
            for (new, deprecated) in [
                ("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn"),
            ] { name = name.replacing(".\(new).", with: ".\(deprecated).") }
            return SafetensorsWriter.Tensor(name: name, shape: tensor.shape, values: tensor.values)
        }
        #expect(old.contains { $0.name.contains(".query.") })
        let model = try open(replace(old))
        #expect(try firstStep(model) == firstStep(open()))
        #expect(try model.fingerprint == open().fingerprint)
    }

    @Test func halfPrecisionComputesWithTheRoundedWeights() throws {
        let half = tensors.map {
            SafetensorsWriter.Tensor(name: $0.name, shape: $0.shape, dtype: .f16, values: $0.values)
        }
        let rounded = tensors.map {
            SafetensorsWriter.Tensor(name: $0.name, shape: $0.shape, values: $0.values.map { Float(Float16($0)) })
        }
        let model = try open(replace(half))
        #expect(try firstStep(model) == firstStep(open(replace(rounded))))
        #expect(try model.fingerprint == open().fingerprint)
    }
}
