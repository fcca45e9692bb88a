import Checkpoint
import Kernels
import Networks
import Pipeline
import TestSupport
import Testing

@testable import Training

@Suite struct TrainerCheckpointTests {
    private let folder = TemporaryFolder()

    @Test func whoGoesOnHasTheSameBits() throws {
        let model = try TinyModel.open()
        let data = try dataset(10, in: folder)
        var options = TrainerOptions()
        (options.seed, options.warmupSteps, options.totalSteps) = (.max, 3, 40)
        options.dropout = [0.1, 0.7]
        let whole = try tinyTrainer(model, options)
        let source = try Source(data, bank: nil, for: whole)
        var part = try tinyTrainer(model, options)
        for step in 0..<9 {
            _ = try whole.step(4, from: source)
            let source = try Source(data, bank: nil, for: part)
            // Also between accumulating and applying.
            _ = try part.accumulate(4, from: source)
            if step % 2 == 0 { part = try again(part, model) }
            var report = Trainer.Report()
            try part.apply(&report)
            if step % 3 == 0 { part = try again(part, model) }
        }
        #expect(part.options == options && part.step == 9 && part.examples == 36)
        #expect(floats(part.parameters.values) == floats(whole.parameters.values))
        #expect(floats(part.ema!) == floats(whole.ema!))
    }

    private func again(_ trainer: Trainer, _ model: Model) throws -> Trainer {
        try trainer.save(to: folder("trainer"))
        return try Trainer(Base(model), resuming: open(folder("trainer")))
    }

    @Test func theModuleIsAFileLikeOthers() throws {
        let model = try TinyModel.open(), workspace = Workspace(threads: 1)
        let trainer = try tinyTrainer(model)
        for i in 0..<3 { _ = try trainer.step(examples(i, 4, in: workspace)) }
        try trainer.writeModule(to: folder("module"), averaged: false, dtype: .f32)
        let module = try Modulator(open(folder("module")))
        try model.check(module)
        #expect(module.parameterCount == trainer.parameters.count)
        // Going on from it begins with the same weights.
        let next = try Trainer(Base(model), from: open(folder("module")), TrainerOptions())
        let weights = Dictionary(uniqueKeysWithValues: trainer.parameters.entries.map { ($0.key, $0.range) })
        for entry in next.parameters.entries {
            #expect(
                Array(next.parameters.values.values[entry.range])
                    == Array(trainer.parameters.values.values[weights[entry.key]!]))
        }
        // Both of them modulate alike.
        let x = try examples(0, 2, in: workspace)
        let conditions = try module.conditions(x.planes, n: 2, h: 8, w: 8, in: workspace)
        let bits = try [module, trainer.modulator(averaged: false)].map {
            try $0.residual(x.x0, x.x0, timesteps: [3, 800], conditions: conditions, in: workspace).buffer
                .map(\.bitPattern)
        }
        #expect(bits[0] == bits[1] && bits[0].contains { $0 != 0 })
        try trainer.writeModule(to: folder("half"), averaged: true, dtype: .f16)
        #expect(try open(folder("half")).info("conv_in.weight")?.dtype == .f16)
    }

    @Test func filesThatAreNoneAreRefused() throws {
        let model = try TinyModel.open()
        let trainer = try tinyTrainer(model)
        try trainer.writeModule(to: folder("module"), averaged: true, dtype: .f32)
        try trainer.save(to: folder("trainer"))
        #expect(throws: MCMError.self) { try Trainer(Base(model), resuming: open(folder("module"))) }
        #expect(throws: MCMError.self) { try Trainer(Base(model), from: open(folder("trainer")), TrainerOptions()) }
        let error = #expect(throws: MCMError.self) { try trainer.save(to: folder("no/folder")) }
        #expect(error?.kind == .io)
        trainer.parameters.values.data[0] = 1e9
        #expect(throws: MCMError.self) { try trainer.writeModule(to: folder("half"), averaged: false, dtype: .f16) }
    }

    @Test func datasetsThatDoNotFitAreRefused() throws {
        func fails(_ tensors: [SafetensorsWriter.Tensor], _ part: String) throws {
            try SafetensorsWriter.write(tensors, to: folder("data"))
            let error = #expect(throws: MCMError.self) { try Dataset(open(folder("data"))) }
            #expect(error?.message.contains(part) == true, "\(error!)")
        }
        func images(_ name: String, _ shape: [Int]) -> SafetensorsWriter.Tensor {
            .init(name: name, shape: shape, values: Array(repeating: 0, count: shape.reduce(1, *)))
        }
        try fails([images("sketch", [2, 8, 8, 1])], "images")
        try fails([images("images", [2, 8, 8])], "four dimensions")
        try fails([images("images", [0, 8, 8, 1])], "0 examples")
        try fails([images("images", [2, 8, 8, 1]), images("sketch", [3, 8, 8, 1])], "expected 2")
        try fails([images("images", [2, 8, 8, 1]), images("samples", [2, 1, 8, 8])], "both")

        let model = try TinyModel.open()
        let trainer = try tinyTrainer(model)
        let bad: [(SafetensorsWriter.Tensor, MCMError.Kind)] = [
            (.init(name: "images", shape: [1, 8, 8, 1], values: Array(repeating: .nan, count: 64)), .format),
            (.init(name: "images", shape: [1, 8, 8, 3], values: Array(repeating: 0, count: 192)), .incompatible),
        ]
        for (tensor, kind) in bad {
            try SafetensorsWriter.write([tensor, images("sketch", [1, 8, 8, 1])], to: folder("data"))
            let error = #expect(throws: MCMError.self) {
                let source = try Source(Dataset(open(folder("data"))), bank: nil, for: trainer)
                _ = try trainer.step(1, from: source)
            }
            #expect(error?.kind == kind)
        }
        #expect(trainer.step == 0 && trainer.pending == 0)
    }
}
