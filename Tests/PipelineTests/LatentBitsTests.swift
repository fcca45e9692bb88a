import Kernels
import Pipeline
import Sampling
import TestSupport
import Testing

/// What may not change a bit: how predictions are made together, batches, threads, and when parts are there.
@Suite struct LatentBitsTests {
    private struct Kind: CustomTestStringConvertible {
        let model: String
        var scheduler: SchedulerKind?
        var strength: Double?
        var isInpainting = false
        var testDescription: String { "\(model) \(scheduler?.rawValue ?? "") \(strength ?? 0) \(isInpainting)" }
    }

    private static let kinds = [
        Kind(model: "sd1"), Kind(model: "sd1", scheduler: .eulerAncestral, strength: 0.7),
        Kind(model: "sd1", scheduler: .ddpm, strength: 0.7, isInpainting: true), Kind(model: "xl"),
        Kind(model: "inpainting", scheduler: .lcm, strength: 0.7, isInpainting: true),
        Kind(model: "refiner", strength: 0.5), Kind(model: "lcm", strength: 0.8), Kind(model: "ldm", scheduler: .ddpm),
    ]
    private static let prompts = ["a photo of the red cat", "painting (of) the sea"]

    private func session(
        _ model: Model, _ kind: Kind, _ passes: Session.Options.Passes = .automatic, only: Int? = nil
    ) throws -> Session {
        var options = Session.Options()
        (options.batch, options.height, options.width, options.steps) = (only == nil ? 2 : 1, 16, 20, 3)
        (options.scheduler, options.strength, options.passes) = (kind.scheduler, kind.strength ?? 1, passes)
        options.guidanceRescale = 0.3
        let session = try Session(model, options)
        let range = only.map { $0..<($0 + 1) } ?? 0..<2
        if model.readsText {
            try session.setPrompt(model.prompt(Array(Self.prompts[range])), negative: model.prompt(["bad"]))
        }
        if kind.strength != nil { try session.setPictures(2, seed: 3, range) }
        if kind.isInpainting { try session.setMasks(2, seed: 4, range) }
        try session.seed(range.map { 7 + UInt64($0) })
        try session.finish()
        return session
    }

    @Test(arguments: kinds) private func guidanceIsTheSameInOnePassAndInTwo(kind: Kind) throws {
        let model = try latentModel(kind.model)
        let expected = try session(model, kind, .two).sampleValues
        for passes in [Session.Options.Passes.one, .automatic] {
            #expect(try sameBits(session(model, kind, passes).sampleValues, expected))
        }
    }

    @Test(arguments: kinds) private func anImageIsInABatchWhatItIsAlone(kind: Kind) throws {
        let model = try latentModel(kind.model)
        let both = try session(model, kind)
        let samples = try both.sampleValues, pictures = try both.pictures
        for i in 0..<2 {
            let alone = try session(model, kind, only: i)
            #expect(try sameBits(alone.sampleValues, Array(samples[(i * alone.count)..<((i + 1) * alone.count)])))
            #expect(try alone.pictures == Array(pictures[(i * alone.imageBytes)..<((i + 1) * alone.imageBytes)]))
        }
    }

    @Test(arguments: kinds) private func threadsChangeNothing(kind: Kind) throws {
        let one = try session(latentModel(kind.model), kind)
        for threads in [2, 3] {
            let more = try session(latentModel(kind.model, .init(threads: threads, cacheBytes: 1 << 20)), kind)
            #expect(try sameBits(more.sampleValues, one.sampleValues) && more.pictures == one.pictures)
        }
    }

    /// And what was made is let go.
    @Test(arguments: kinds) private func partsMadeWhenNeededAreThose(kind: Kind) throws {
        let folder = try TemporaryFolder()
        try latentFiles(kind.model).write(to: folder)
        var options = Model.Options(threads: 1)
        let kept = try Model(path: folder.path, options)
        options.onDemand = true
        let model = try Model(path: folder.path, options)
        let memory = model.memory
        #expect(memory.weights > 0 && memory.weights < kept.memory.weights)
        let (a, b) = (try session(kept, kind), try session(model, kind))
        #expect(model.memory == memory)
        #expect(try sameBits(a.sampleValues, b.sampleValues) && a.pictures == b.pictures)
        #expect(model.memory == memory)
        #expect(model.fingerprint == kept.fingerprint && model.parameterCount == kept.parameterCount)
    }

    @Test(arguments: kinds) private func aRunCanBeRepeated(kind: Kind) throws {
        let session = try session(latentModel(kind.model), kind)
        let (samples, bytes) = (try session.sampleValues, session.bytes)
        for _ in 0..<2 {
            try session.seed([7, 8])
            try session.finish()
            #expect(try sameBits(session.sampleValues, samples))
        }
        #expect(session.bytes == bytes)
    }
}
