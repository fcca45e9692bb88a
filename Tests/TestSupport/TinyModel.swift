import Checkpoint
import Kernels
import Networks

/// Golden weights, remembered as they are asked for.
public final class RecordedWeights: TensorSource {
    private let golden = GoldenWeights()
    public private(set) var tensors: [SafetensorsWriter.Tensor] = []

    public init() {}

    public func contains(_ key: String) -> Bool { true }
    public func finish() throws {}
    public func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        tensors.append(.init(name: key, shape: shape, values: golden.values(key, shape)))
        return try golden.withElements(key, shape: shape, body)
    }
}

/// The tensors of a network with golden weights.
///   config  its config.json
///   name    its class in diffusers or transformers
public func goldenTensors(
    _ config: String, of name: String = "UNet2DModel"
) throws -> [SafetensorsWriter.Tensor] {
    let recorder = RecordedWeights()
    let json = try JSONObject(parsing: config, name: "tiny"), weights = Weights(recorder)
    switch name {
    case "UNet2DModel": _ = try UNet2D(UNet2DConfig(json), weights)
    case "UNet2DConditionModel": _ = try UNet2DCondition(UNet2DConditionConfig(json), weights)
    case "AutoencoderKL": _ = try AutoencoderKL(AutoencoderConfig(json, kind: .kl), weights)
    case "VQModel": _ = try VQModel(AutoencoderConfig(json, kind: .vq), weights)
    default: _ = try CLIPText(CLIPTextConfig(json), weights, hasProjection: name.hasSuffix("WithProjection"))
    }
    return recorder.tensors
}

/// The files of a small model folder, to be changed by tests.
public struct TinyModel {
    public var files: [String: [UInt8]] = [:]

    /// One level of 8 channels, attention in the middle.
    public static let unet = """
        {"_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1,
         "block_out_channels": [8], "norm_num_groups": 2, "attention_head_dim": 4,
         "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
        """

    public init(tensors: [SafetensorsWriter.Tensor], unet: String = Self.unet) throws {
        self["model_index.json"] = """
            {"_class_name": "DDIMPipeline", "scheduler": ["diffusers", "DDIMScheduler"],
             "unet": ["diffusers", "UNet2DModel"]}
            """
        self["scheduler/scheduler_config.json"] = #"{"_class_name": "DDIMScheduler"}"#
        self["unet/config.json"] = unet
        files["unet/diffusion_pytorch_model.safetensors"] = try SafetensorsWriter.serialize(tensors)
    }

    /// All components of a folder, with golden weights.
    ///   texts  its text files, model_index.json among them
    public init(_ texts: [String: JSONValue]) throws {
        for (path, content) in texts {
            if case .string(let text) = content { self[path] = text } else { self[path] = content.text }
        }
        for (component, name) in try networks {
            try setWeights(component, goldenTensors(self["\(component)/config.json"], of: name))
        }
    }

    /// The classes of the components that have weights.
    public var networks: [String: String] {
        get throws {
            let index = try JSONObject(parsing: self["model_index.json"], name: "model_index.json")
            return index.members.compactMapValues { entry in
                guard case .array(let parts) = entry, case .string(let name) = parts.last,
                    !name.hasSuffix("Scheduler"), !name.hasSuffix("Tokenizer")
                else { return nil }
                return name
            }
        }
    }

    public mutating func setWeights(
        _ component: String, _ tensors: [SafetensorsWriter.Tensor], variant: String = ""
    ) throws {
        let base = component.hasPrefix("text_encoder") ? "model" : "diffusion_pytorch_model"
        files["\(component)/\(base)\(variant).safetensors"] = try SafetensorsWriter.serialize(tensors)
    }

    /// A text file.
    public subscript(_ name: String) -> String {
        get { String(decoding: files[name] ?? [], as: UTF8.self) }
        set { files[name] = Array(newValue.utf8) }
    }

    /// Writes the files.
    public func write(to folder: TemporaryFolder) throws {
        for (name, bytes) in files { try folder.add(name, bytes) }
    }

    /// Lends the files as a folder in memory.
    public func withFolder<R>(_ body: (Folder) throws -> R) throws -> R {
        let buffers = files.mapValues { bytes in
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
            copy.copyBytes(from: bytes)
            return copy
        }
        defer { buffers.values.forEach { $0.deallocate() } }
        return try body(.memory(buffers.mapValues { UnsafeRawBufferPointer($0) }))
    }
}
