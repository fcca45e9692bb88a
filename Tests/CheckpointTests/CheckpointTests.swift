import TestSupport
import Testing

@testable import Checkpoint
@testable import Kernels

struct CheckpointTests {
    static func file(_ tensors: [(String, [Int])]) throws -> [UInt8] {
        try SafetensorsWriter.serialize(
            tensors.map { name, shape in
                .init(name: name, shape: shape, values: (0..<shape.reduce(1, *)).map { Float($0) })
            })
    }

    func withCheckpoint<R>(_ tensors: [(String, [Int])], _ body: (CheckpointSource) throws -> R) throws -> R {
        try withFile(Self.file(tensors)) { try body(CheckpointSource($0)) }
    }

    @Test func scopes() throws {
        try withCheckpoint([("down_blocks.0.resnets.1.bias", [2]), ("conv_in.bias", [1])]) { source in
            let weights = Weights(source)
            let resnet = weights["down_blocks.0"]["resnets.1"]
            #expect(resnet.key("bias") == "down_blocks.0.resnets.1.bias")
            #expect(resnet.contains("bias") && !resnet.contains("weight"))
            try #expect(floats(resnet.read("bias", [2])) == [0, 1])
            try #expect(floats(weights.read("conv_in.bias", [1])) == [0])
            try source.finish()
        }
    }

    @Test func messages() throws {
        try withCheckpoint([("conv_in.weight", [4, 3, 3, 3]), ("b", [2]), ("c", [])]) { source in
            let weights = Weights(source)
            expectFailure(.format, #"file: tensor "conv_in.weight" has shape [4, 3, 3, 3], expected [4, 1, 3, 3]"#) {
                try weights.read("conv_in.weight", [4, 1, 3, 3])
            }
            expectFailure(.format, #"file: tensor "x.y" is missing, expected shape [7]"#) {
                try weights["x"].read("y", [7])
            }
            expectFailure(.format, "impossible") { try weights.read("b", [.max, 2]) }
            expectFailure(.format, "impossible") { try weights.read("b", [-2]) }
            expectFailure(.format, #"tensor "b" of shape [2] is surplus, expected no such tensor, and so are 2 more"#) {
                try source.finish()
            }
            _ = try weights.read("b", [2])
            _ = try weights.read("c", [])
            expectFailure(
                .format, #"tensor "conv_in.weight" of shape [4, 3, 3, 3] is surplus, expected no such tensor"#
            ) {
                try source.finish()
            }
        }
    }

    /// Infinities and NaNs are named by tensor and element; so is what a layer says of its elements.
    @Test func numbersThatAreNotFinite() throws {
        for (bad, text) in [(Float.infinity, "inf"), (-.infinity, "-inf"), (.nan, "nan")] {
            for dtype in [DType.f32, .f16] {
                let bytes = try SafetensorsWriter.serialize([
                    .init(name: "a.b", shape: [2, 2], dtype: dtype, values: [1, 2, bad, bad])
                ])
                try withFile(bytes) { file in
                    let weights = Weights(try CheckpointSource(file), threads: 2)["a"]
                    #expect(weights.threads == 2)
                    let message = "tensor \"a.b\" holds \(text) at element 2, expected finite numbers"
                    expectFailure(.format, message) { try weights.read("b", [2, 2]) }
                    expectFailure(.format, message) {
                        try weights.withElements("b", [2, 2]) { try PackedMatrix($0, n: 2, inputs: 2, threads: 1) }
                    }
                    // Other errors pass unchanged.
                    expectFailure(.state, "asleep") {
                        try weights.withElements("b", [2, 2]) { _ in throw MCMError(.state, "asleep") }
                    }
                }
            }
        }
    }

    @Test func deprecatedAttentionNames() throws {
        let old = ["query", "key", "value", "proj_attn"].flatMap { name in
            [("mid.attentions.0.\(name).weight", [4, 2]), ("mid.attentions.0.\(name).bias", [4])]
        }
        try withCheckpoint(old) { source in
            let weights = Weights(source)["mid.attentions.0"]
            for name in ["to_q", "to_k", "to_v", "to_out.0"] {
                _ = try weights.read("\(name).weight", [4, 2])
                _ = try weights.read("\(name).bias", [4])
            }
            try source.finish()
            expectFailure(.format, #"tensor "mid.attentions.0.query.weight" has shape"#) {
                try weights.read("to_q.weight", [1])
            }
        }
        #expect(CheckpointSource.currentKey("a.query.weight.b") == "a.query.weight.b")
        #expect(CheckpointSource.currentKey("query.weight") == "query.weight")
        expectFailure(.format, #"the key "a.to_q.bias" is taken"#) {
            try withCheckpoint([("a.query.bias", [1]), ("a.to_q.bias", [1])]) { _ in }
        }
    }

    // MARK: Opening

    static let index = "unet/diffusion_pytorch_model.safetensors.index.json"

    func index(_ map: [String: String]) -> String {
        let entries = map.map { jsonLiteral($0) + ":" + jsonLiteral($1) }.joined(separator: ",")
        return "{\"metadata\":{\"total_size\":8},\"weight_map\":{\(entries)}}"
    }

    @Test func oneFile() throws {
        let folder = try TemporaryFolder()
        try folder.add("unet/diffusion_pytorch_model.safetensors", Self.file([("a", [1])]))
        try folder.add("model.safetensors", Self.file([("b", [1])]))
        let disk = Folder.disk(folder.path)
        try #expect(CheckpointSource.open(disk, component: "unet").keys == ["a"])
        try #expect(CheckpointSource.open(disk, component: "", base: "model").keys == ["b"])
        try folder.add("unet/diffusion_pytorch_model.fp16.safetensors", Self.file([("half", [1])]))
        try folder.add("vae/diffusion_pytorch_model.fp16.safetensors", Self.file([("only", [1])]))
        try #expect(CheckpointSource.open(disk, component: "unet").keys == ["a"])
        try #expect(CheckpointSource.open(disk, component: "unet", variant: "fp16").keys == ["half"])
        try #expect(CheckpointSource.open(disk, component: "vae").keys == ["only"])
        expectFailure(.io, "vae/diffusion_pytorch_model.bf16.safetensors: is missing") {
            try CheckpointSource.open(disk, component: "vae", variant: "bf16")
        }
        for (component, index) in [("x", "fp16.safetensors.index"), ("y", "safetensors.index.fp16")] {
            try folder.add(
                "\(component)/diffusion_pytorch_model.\(index).json", #"{"weight_map":{"s":"s.safetensors"}}"#)
            try folder.add("\(component)/s.safetensors", Self.file([("s", [1])]))
            try #expect(CheckpointSource.open(disk, component: component, variant: "fp16").keys == ["s"])
        }
        expectFailure(.io, "unet/model.safetensors: is missing") {
            try CheckpointSource.open(disk, component: "unet", base: "model")
        }
    }

    @Test func shards() throws {
        let folder = try TemporaryFolder()
        try folder.add("unet/1.safetensors", Self.file([("a", [1]), ("c", [2])]))
        try folder.add("unet/2.safetensors", Self.file([("b", [3])]))
        try folder.add(Self.index, index(["a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"]))
        let source = try CheckpointSource.open(.disk(folder.path), component: "unet")
        #expect(source.keys == ["a", "b", "c"])
        try #expect(floats(Weights(source).read("b", [3])) == [0, 1, 2])
        let whole = try withFile(Self.file([("c", [2]), ("b", [3]), ("a", [1])])) {
            try CheckpointSource($0).fingerprint()
        }
        try #expect(source.fingerprint() == whole)
        expectFailure(.format, #"1.safetensors: tensor "a" of shape [1] is surplus"#) { try source.finish() }
    }

    @Test func badIndexes() throws {
        func open(_ map: [String: String]) throws -> CheckpointSource {
            let folder = try TemporaryFolder()
            try folder.add("unet/1.safetensors", Self.file([("a", [1]), ("c", [2])]))
            try folder.add("evil.safetensors", Self.file([("b", [1])]))
            try folder.add(Self.index, index(map))
            return try CheckpointSource.open(.disk(folder.path), component: "unet")
        }
        let good = ["a": "1.safetensors", "c": "1.safetensors"]
        try #expect(open(good).keys == ["a", "c"])
        for evil in ["../evil.safetensors", "/etc/passwd", "..", "", "a\\b.safetensors", "x/../1.safetensors", "1.bin"]
        {
            expectFailure(.format, "inside the folder of the index") {
                try open(good.merging(["b": evil]) { $1 })
            }
        }
        expectFailure(.format, #"1.safetensors: tensor "b" is missing, expected by"#) {
            try open(good.merging(["b": "1.safetensors"]) { $1 })
        }
        expectFailure(.format, #"does not list tensor "c""#) { try open(["a": "1.safetensors"]) }
        expectFailure(.io, "unet/3.safetensors: No such file") { try open(["a": "3.safetensors"]) }

        for text in ["{}", "[]", #"{"weight_map":[]}"#, #"{"weight_map":{"a":1}}"#, "{"] {
            let folder = try TemporaryFolder()
            try folder.add(Self.index, text)
            expectFailure(.format, Self.index) { try CheckpointSource.open(.disk(folder.path), component: "unet") }
        }
    }

    @Test func inMemory() throws {
        try Self.file([("a", [1])]).withUnsafeBytes { bytes in
            let folder = Folder.memory(["unet/diffusion_pytorch_model.safetensors": bytes])
            let source = try CheckpointSource.open(folder, component: "unet")
            #expect(source.name == "unet/diffusion_pytorch_model.safetensors")
            try #expect(floats(Weights(source).read("a", [1])) == [0])
        }
    }

    @Test func pickleIsRefused() throws {
        for name in ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.ckpt", "diffusion_pytorch_model.pt"] {
            let folder = try TemporaryFolder()
            try folder.add("unet/" + name, "x")
            expectFailure(.unsupported, "\(name): is a pickle file") {
                try CheckpointSource.open(.disk(folder.path), component: "unet")
            }
        }
    }

    // MARK: Fingerprint

    @Test func fingerprintOfNothing() throws {
        try withCheckpoint([]) { try #expect($0.fingerprint() == "cbf29ce484222325") }  // FNV-1a's own start value
    }

    /// Computed with examples/fashion/mcm.py.
    @Test func fingerprintKnown() throws {
        let tensors: [(String, [Int])] = [("b.weight", [5, 7]), ("a", []), ("é", [16]), ("B", [3]), ("z", [0, 2])]
        try withCheckpoint(tensors) { try #expect($0.fingerprint() == "278f0ecaa84215d1") }
    }

    @Test func fingerprintIgnoresFloatTypeAndOldNames() throws {
        let values: [Float] = (0..<40).map { Float($0) / 8 - 2 }
        let prints = try [("a.query.weight", DType.f32), ("a.to_q.weight", .f32), ("a.to_q.weight", .f16)].map {
            name, dtype in
            let bytes = try SafetensorsWriter.serialize([
                .init(name: name, shape: [8, 5], dtype: dtype, values: values)
            ])
            return try withFile(bytes) { try CheckpointSource($0).fingerprint() }
        }
        #expect(Set(prints).count == 1)
    }
}
