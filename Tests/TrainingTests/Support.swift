import Checkpoint
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
    try Trainer(model, config: JSONValue(parsing: tinyModule, name: "config"), options)
}

/// Examples first ..< first + n of an endless set: squares whose place the sketch gives.
func examples(_ first: Int, _ n: Int, in workspace: Workspace) throws -> Trainer.Batch {
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
    return Trainer.Batch(x0: x0, planes: [sketch, labels])
}

func floats(_ buffer: FloatBuffer) -> [Float] { Array(buffer.values) }
