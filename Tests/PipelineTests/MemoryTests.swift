import Checkpoint
import Images
import Kernels
import Networks
import Networks
import Pipeline
import TestSupport
import Testing

/// What models and sessions hold, and that results do not depend on it.
@Suite struct MemoryTests {
    /// Two levels of 16 and 32 channels, wide enough for Winograd's convolutions.
    private static let unet = """
        {"_class_name": "UNet2DModel", "sample_size": 16, "in_channels": 1, "out_channels": 1, "layers_per_block": 1,
         "block_out_channels": [16, 32], "norm_num_groups": 4, "attention_head_dim": 8,
         "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
        """
    private let tensors: [SafetensorsWriter.Tensor]

    init() throws { tensors = try goldenTensors(Self.unet) }

    private func open(_ tensors: [SafetensorsWriter.Tensor]? = nil, threads: Int = 1, cache: Int = 0) throws -> Model {
        try TinyModel(tensors: tensors ?? self.tensors, unet: Self.unet).withFolder {
            try Model($0, .init(threads: threads, cacheBytes: cache))
        }
    }

    private func predict(_ model: Model, height: Int = 16, batch: Int = 2) throws -> [Float] {
        let x = randn(batch * height * 16, seed: 1)
        var e = [Float](repeating: .nan, count: x.count)
        try model.predict(
            x, batch: batch, height: height, width: 16, timesteps: (0..<batch).map { Float(10 + 500 * $0) },
            into: &e)
        return e
    }

    /// Weights that are stored in 16 bits stay so, but for biases and normalisations.
    @Test func halfPrecisionTakesHalfAndPredictsTheSame() throws {
        let half = try open(tensors.map { .init(name: $0.name, shape: $0.shape, dtype: .f16, values: $0.values) })
        let full = try open(
            tensors.map { .init(name: $0.name, shape: $0.shape, values: rounded(Array($0.values), to: .f16)) })
        #expect(try sameBits(predict(half), predict(full)))

        let vectors = tensors.filter { $0.shape.count == 1 }.reduce(0) { $0 + 4 * $1.values.count }
        #expect(2 * (half.memory.weights - vectors) == full.memory.weights - vectors && half.memory.weights > vectors)
        #expect(full.memory.weights >= 4 * full.parameterCount)
        #expect(half.parameterCount == full.parameterCount && half.fingerprint == full.fingerprint)

        // Kept, filters are floats in any case.
        let halfKept = try open(
            tensors.map { .init(name: $0.name, shape: $0.shape, dtype: .f16, values: $0.values) }, cache: 1 << 30)
        #expect(try sameBits(predict(halfKept), predict(full)))
        #expect(
            try halfKept.memory.cache == open(cache: 1 << 30).memory.cache
                && halfKept.memory.weights == half.memory.weights)
    }

    /// Three steps on any number of threads.
    private func images(_ model: Model) throws -> [Float] {
        var options = Session.Options()
        (options.batch, options.steps, options.scheduler, options.height) = (2, 3, .ddpm, 18)
        let session = try Session(model, options)
        try session.seed([1, 2])
        try session.run { _, _ in true }
        return try session.sampleValues
    }

    @Test func theCacheKeepsToItsBudgetAndChangesNothing() throws {
        let plain = try open()
        #expect(plain.memory.cache == 0)
        let expected = try images(plain)
        let all = try open(cache: .max).memory.cache
        #expect(all > 3 * plain.memory.weights)
        var last = 0, sizes: Set<Int> = []
        for budget in [1, 50_000, 100_000, all / 3, all / 2, all - 1, all, 2 * all] {
            for threads in [1, 3] {
                let model = try open(threads: threads, cache: budget)
                #expect(model.memory.cache <= budget && model.memory.cache >= last)
                #expect(model.memory.weights == plain.memory.weights)
                #expect(try sameBits(images(model), expected), "\(budget) bytes, \(threads) threads")
                last = model.memory.cache
                sizes.insert(last)
            }
        }
        #expect(last == all && sizes.contains(0) && sizes.count >= 5)
    }

    private func module() throws -> Modulator {
        let text = """
            {"net": {"block_out_channels": [16], "layers_per_block": 1, "norm_num_groups": 2, "add_attention": false,
                     "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]},
             "prediction_channels": 1, "modalities": [{"name": "sketch", "channels": 1}]}
            """
        return try Modulator(JSONObject(JSONValue(parsing: text, name: "module"), name: "module"), GoldenWeights())
    }

    /// All that a session's steps need, it has after the first one.
    @Test(arguments: [1, 3]) func aSessionGrowsInItsFirstStepAlone(threads: Int) throws {
        var options = Session.Options()
        (options.batch, options.steps, options.scheduler) = (2, 6, .ddpm)
        let session = try Session(open(threads: threads), options)
        let id = try session.attach(module(), weight: 0.5, window: .init(begin: 0, end: 1), otherBase: false)
        let pixels = [UInt8](repeating: 100, count: 64)
        try pixels.withUnsafeBytes {
            let view = try ImageView(
                data: $0.baseAddress!, dtype: .u8, width: 8, height: 8, channels: 1, name: "sketch")
            try session.setCondition(id, "sketch", [view])
        }
        try session.seed([1])
        let before = session.bytes
        try session.advance()
        let bytes = session.bytes
        #expect(bytes > before && before >= 4 * 4 * session.count)
        for _ in 0..<2 {
            while session.step < session.steps {
                try session.advance()
                #expect(session.bytes == bytes)
            }
            let sample = try session.sampleValues
            try session.setSample(sample)
            try session.seed([1, 2])
            #expect(session.bytes == bytes)
        }
    }

    /// A module whose window begins later adds what it needs when it begins, and once.
    @Test func aModuleThatBeginsLaterIsPaidForThen() throws {
        var options = Session.Options()
        options.steps = 4
        let session = try Session(open(), options)
        _ = try session.attach(module(), weight: 1, window: .init(begin: 0.5, end: 1), otherBase: false)
        try session.seed([1])
        var sizes: [Int] = []
        while session.step < session.steps {
            try session.advance()
            sizes.append(session.bytes)
        }
        #expect(sizes[0] == sizes[1] && sizes[1] <= sizes[2] && sizes[2] == sizes[3])
    }

    /// Steps without a session keep one workspace, which grows when they need more than those before, and once.
    @Test func aModelKeepsWhatItsPredictionsNeed() throws {
        let model = try open(threads: 2)
        #expect(model.idle.bytes == 0)
        let first = try predict(model)
        let bytes = model.idle.bytes
        #expect(bytes > 0)
        for _ in 0..<3 {
            #expect(try sameBits(predict(model), first))
            #expect(model.idle.bytes == bytes)
        }
        _ = try predict(model, height: 32)
        let larger = model.idle.bytes
        #expect(larger > bytes)
        for _ in 0..<2 {
            #expect(try sameBits(predict(model), first))
            _ = try predict(model, height: 32)
            #expect(model.idle.bytes == larger)
        }
    }

    /// In a batch, an image's prediction is what it is alone.
    @Test func predictionsDependOnNeitherBatchNorThreads() throws {
        let model = try open()
        let both = try predict(model)
        let size = both.count / 2
        #expect(try sameBits(predict(model, batch: 1), Array(both[..<size])))
        #expect(try sameBits(predict(open(threads: 3)), both))
    }
}
