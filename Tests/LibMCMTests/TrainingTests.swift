import LibMCM
import TestSupport
import Testing

/// The example of docs/swift.md on a few examples.
@Suite struct TrainingTests {
    private let config = """
        {"prediction_channels": 1, "modalities": [{"name": "sketch", "channels": 1}],
         "net": {"sample_size": 28, "block_out_channels": [4, 8], "layers_per_block": 1, "norm_num_groups": 4,
                 "down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "UpBlock2D"]}}
        """

    @Test func trains() throws {
        let folder = try TemporaryFolder()
        try folder.add("data.safetensors", dataset)
        let data = try Dataset(path: folder.path + "/data.safetensors")
        let model = try Model(path: repository + "examples/fashion/base")

        var options = TrainerOptions()
        (options.totalSteps, options.warmupSteps) = (3, 1)
        let trainer = try Trainer(Base(model), config: config, options)
        var loop = Trainer.LoopOptions()
        (loop.batch, loop.untilStep, loop.savePath) = (2, 2, folder.path + "/run.trainer")
        var losses: [Float] = []
        try trainer.train(trainer.source(data, nil), loop) { report in
            losses.append(report.loss)
            return true
        }
        #expect(losses.count == 2 && losses.allSatisfy { $0 > 0 })

        let resumed = try Trainer(Base(model), resuming: folder.path + "/run.trainer")
        #expect(resumed.step == 2)
        loop.untilStep = 0
        for one in [trainer, resumed] { try one.train(one.source(data, nil), loop) { _ in true } }
        try trainer.writeModule(to: folder.path + "/a.safetensors")
        try resumed.writeModule(to: folder.path + "/b.safetensors", half: true)
        #expect(try trainer.modulator(averaged: true).parameterCount == resumed.parameters.count)
        let module = try Modulator(path: folder.path + "/b.safetensors")
        try model.check(module)
        #expect(module.modalities.map(\.name) == ["sketch"])

        expectFailure(.format, "config") { try Trainer(Base(model), config: "{", options) }
        expectFailure(.io, "nowhere") { try Trainer(Base(model), resuming: "/nowhere") }
        expectFailure(.io, "nowhere") { try Dataset(path: "/nowhere") }
        expectFailure(.io, "nowhere") { try Bank(path: "/nowhere") }
        for name in ["run.trainer", "a.safetensors", "b.safetensors"] { folder.remove(name) }
    }

    /// Four images and sketches of 28 x 28.
    private var dataset: [UInt8] {
        let size = 4 * 28 * 28
        let tensors = ["images", "sketch"].enumerated().map { i, name in
            "\"\(name)\":{\"dtype\":\"U8\",\"shape\":[4,28,28,1],\"data_offsets\":[\(i * size),\((i + 1) * size)]}"
        }
        let header = Array("{\(tensors.joined(separator: ","))}".utf8)
        let length = withUnsafeBytes(of: UInt64(header.count).littleEndian, Array.init)
        return length + header + (0..<(2 * size)).map { UInt8(truncatingIfNeeded: $0 * 7 / 3) }
    }
}
