import Checkpoint
import Kernels
import Pipeline
import TestSupport
import Testing

@testable import Training

@Suite struct BankTests {
    private let folder = TemporaryFolder()
    private let model: Model
    private let data: Dataset

    init() throws {
        model = try TinyModel.open()
        data = try dataset(12, in: folder)
    }

    private func options(_ count: Int, batch: Int = 4, seed: UInt64 = 3) -> Bank.RecordingOptions {
        var options = Bank.RecordingOptions()
        (options.count, options.batch, options.seed) = (count, batch, seed)
        return options
    }

    private func record(_ count: Int, as name: String = "bank") throws -> Bank {
        try Bank.record(model, data, to: folder(name), options(count)) { _, _ in true }
        return try Bank(MappedFile(path: folder(name)), name: name)
    }

    @Test func holdsWhatTheModelPredicts() throws {
        let bank = try record(30)
        #expect(bank.count == 30 && bank.shape == (1, 8, 8) && bank.fingerprint == model.fingerprint)
        let workspace = Workspace(threads: 2)
        var seen: [Int: Int] = [:]
        for i in 0..<30 {
            let e = try Tensor(1, 8, 8, 1, in: workspace)
            let (image, timestep, seed) = try bank.record(i, into: e)
            seen[image, default: 0] += 1
            let x0 = try Tensor(1, 8, 8, 1, in: workspace), x = try Tensor(1, 8, 8, 1, in: workspace)
            try data.samples([image], channels: 1, into: x0.data)
            model.schedule.addNoise(x0.data, randn(64, seed: seed), timestep: timestep, count: 64, into: x.data)
            let expected = try model.unet(x, timesteps: [Float(timestep)], in: workspace)
            #expect(Array(e.buffer) == expected.buffer.map { Float(Float16($0)) }, "\(i)")
        }
        #expect(seen.count == 12 && seen.values.allSatisfy { (2...3).contains($0) })
    }

    /// Stopped by a callback, or in the middle of a record: the same bytes in the end, whatever the batch.
    @Test func recordingGoesOnWhereItStopped() throws {
        _ = try record(20, as: "whole")
        let path = folder("bank")
        let error = #expect(throws: MCMError.self) {
            try Bank.record(model, data, to: path, options(20)) { done, _ in done < 8 }
        }
        #expect(error?.kind == .cancelled)
        let part = try read(path + ".part")
        // A record and a half are lost.
        try writeAtomically(to: path + ".part") { write in try part.dropLast(240).withUnsafeBytes(write) }
        #expect(throws: MCMError.self) {
            try Bank.record(model, data, to: path, options(20, seed: 4)) { _, _ in true }
        }
        var first = 0
        try Bank.record(model, data, to: path, options(20, batch: 7)) { done, _ in
            if first == 0 { first = done }
            return true
        }
        #expect(first == 6 + 7)
        #expect(try read(path) == read(folder("whole")))
        #expect(throws: MCMError.self) { try MappedFile(path: path + ".part") }
    }

    @Test func damagedBanksAreRefused() throws {
        _ = try record(5)
        let bytes = try read(folder("bank"))
        func fails(_ bytes: [UInt8], _ part: String) throws {
            bytes.withUnsafeBytes { bytes in
                let error = #expect(throws: MCMError.self) {
                    try Bank(MemoryFile(borrowing: bytes), name: "bank")
                }
                #expect(error?.kind == .format && error?.message.contains(part) == true, "\(error!)")
            }
        }
        try fails(Array(bytes.dropLast()), "expected 5")
        try fails(Array(bytes.dropLast(500)), "expected 5")
        try fails(bytes + [0], "expected 5")
        try fails([], "MCMBANK1")
        try fails(Array(bytes.prefix(100)), "header")
        for place in [bytes.count - 1, bytes.count - 30, bytes.count - 700] {
            var damaged = bytes
            damaged[place] ^= 1
            try fails(damaged, "is damaged")
        }
        var random = SystemRandomNumberGenerator()
        for _ in 0..<300 {  // nothing traps
            var damaged = bytes
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                damaged[Int.random(in: 0..<400, using: &random)] = .random(in: 0 ... .max, using: &random)
            }
            damaged.withUnsafeBytes { bytes in
                _ = try? Bank(MemoryFile(borrowing: bytes), name: "bank")
            }
        }
    }

    @Test func aBankTrainsWithoutTheModel() throws {
        let bank = try record(48)
        var options = TrainerOptions()
        options.warmupSteps = 10
        let config = try JSONValue(parsing: tinyModule, name: "config")
        let alone = try Trainer(Base(bank, threads: 2), config: config, options)
        let beside = try Trainer(Base(model), config: config, options)
        for trainer in [alone, beside] {
            let source = try Source(data, bank: bank, for: trainer)
            var losses: [Float] = []
            for _ in 0..<100 { losses.append(try trainer.step(6, from: source).weightedLoss) }
            #expect(losses[80...].reduce(0, +) < 0.75 * losses[..<20].reduce(0, +))
        }
        #expect(floats(alone.parameters.values) == floats(beside.parameters.values))
        #expect(throws: MCMError.self) { try Source(data, bank: nil, for: alone) }
        // The module that comes out fits the model.
        try model.check(alone.modulator(averaged: true))
    }

    @Test func banksOfOtherThingsAreRefused() throws {
        let bank = try record(5)
        let other = try dataset(12, in: folder, seed: 1)
        let trainer = try tinyTrainer(model)
        #expect(throws: MCMError.self) { try Source(other, bank: bank, for: trainer) }
        _ = try Source(data, bank: bank, for: trainer)
        let tensors = try goldenTensors(TinyModel.unet).map { tensor in
            SafetensorsWriter.Tensor(name: tensor.name, shape: tensor.shape, values: tensor.values.map { 2 * $0 })
        }
        let changed = try TinyModel(tensors: tensors).withFolder { try Model($0) }
        let error = #expect(throws: MCMError.self) { try Source(data, bank: bank, for: tinyTrainer(changed)) }
        #expect(error?.kind == .incompatible && error?.message.contains(model.fingerprint) == true)
    }
}
