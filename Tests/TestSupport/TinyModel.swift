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
///   unet  its config
public func goldenTensors(_ unet: String) throws -> [SafetensorsWriter.Tensor] {
    let recorder = RecordedWeights()
    let json = try JSONObject(JSONValue(parsing: unet, name: "tiny"), name: "tiny")
    _ = try UNet2D(UNet2DConfig(json), Weights(recorder))
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

    /// A text file.
    public subscript(_ name: String) -> String {
        get { String(decoding: files[name] ?? [], as: UTF8.self) }
        set { files[name] = Array(newValue.utf8) }
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
