import Checkpoint
import Glibc
import Kernels
import Networks
import Pipeline
import TestSupport

@testable import Training

extension TinyModel {
    /// A model with golden weights.
    static func open(threads: Int = 2) throws -> Model {
        try TinyModel(tensors: goldenTensors(unet)).withFolder { try Model($0, .init(threads: threads)) }
    }
}

/// A module for TinyModel, whose samples are 8 x 8 with one channel.
let tinyModule = """
    {"net": {"block_out_channels": [8, 16], "norm_num_groups": 4, "layers_per_block": 1, "attention_head_dim": 8,
             "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
             "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]},
     "prediction_channels": 1,
     "modalities": [{"name": "sketch", "channels": 1}, {"name": "labels", "channels": 4}]}
    """

func tinyTrainer(_ model: Model, _ options: TrainerOptions = TrainerOptions()) throws -> Trainer {
    try Trainer(Base(model), config: JSONValue(parsing: tinyModule, name: "config"), options)
}

/// Examples first ..< first + n of an endless set: squares whose place the sketch gives.
func examples(_ first: Int, _ n: Int, in workspace: Workspace) throws -> Batch {
    let x0 = try Tensor(n, 8, 8, 1, in: workspace), sketch = try Tensor(n, 8, 8, 1, in: workspace)
    let labels = try Tensor(n, 8, 8, 4, in: workspace)
    labels.buffer.update(repeating: 0)
    for i in 0..<n {
        let place = (first + i) * 5 % 6, image = x0.image(i), outline = sketch.image(i)
        for p in 0..<64 {
            let isInside = p / 8 >= place && p / 8 < place + 3 && p % 8 >= 5 - place && p % 8 < 8 - place
            image.data[p] = isInside ? 1 : -1
            outline.data[p] = isInside ? 1 : 0
            labels.data[(i * 64 + p) * 4 + (isInside ? 1 + place % 3 : 0)] = 1
        }
    }
    return Batch(x0: x0, planes: [sketch, labels])
}

func floats(_ buffer: FloatBuffer) -> [Float] { Array(buffer.values) }

/// A folder that goes with the object.
final class TemporaryFolder {
    let path: String

    init() {
        var template = Array("/tmp/mcm-training-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    }

    deinit {
        if let list = opendir(path) {
            while let entry = readdir(list) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                unlink("\(path)/\(name)")
            }
            closedir(list)
        }
        rmdir(path)
    }

    func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }
}

func read(_ path: String) throws -> [UInt8] { try MappedFile(path: path).withBytes { Array($0) } }

func open(_ path: String) throws -> SafetensorsFile { try SafetensorsFile(MappedFile(path: path), name: "file") }

/// The examples above as a data set: images and sketches as floats, labels as such.
func tinyDataset(_ count: Int, to path: String, seed: Int = 0) throws {
    let workspace = Workspace(threads: 1)
    let batch = try examples(seed, count, in: workspace)
    let x0 = Array(batch.x0.buffer), sketch = Array(batch.planes[0]!.buffer), labels = Array(batch.planes[1]!.buffer)
    let classes = (0..<(count * 64)).map { p in Float((0..<4).first { labels[4 * p + $0] == 1 }!) }
    try SafetensorsWriter.write(
        [
            .init(name: "images", shape: [count, 8, 8, 1], values: x0.map { ($0 + 1) / 2 }),
            .init(name: "sketch", shape: [count, 8, 8, 1], values: sketch),
            .init(name: "labels", shape: [count, 8, 8, 1], values: classes),
        ], to: path)
}

func dataset(_ count: Int, in folder: TemporaryFolder, seed: Int = 0) throws -> Dataset {
    let path = folder("data\(seed).safetensors")
    try tinyDataset(count, to: path, seed: seed)
    return try Dataset(open(path))
}
