import Checkpoint
import Kernels
import Pipeline
import Sampling
import TestSupport
import Testing

/// Whole runs of latent and text models against diffusers' own pipelines (make_latent.py).
@Suite struct LatentTests {
    /// An evaluation is 1e-6 from diffusers', and a prediction guided by 7.5 is the difference of two; the steps add
    /// up.
    private static let bound = 1e-5
    /// Where x_0 is clipped, the samples become a tenth as large on their way, their errors do not.
    private static let clippedBound = 1e-4
    private static let clipped = ["sd1_ddim_clipped", "inpainting_old_ddim", "xl_old_ddim"]

    @Test(arguments: ["ldm", "sd1", "sd2", "inpainting", "xl", "xl-inpainting", "refiner", "lcm"])
    func samplesAndImagesEqualDiffusers(name: String) throws {
        let fixture = try Fixture("latent")
        let plain = try latentModel(name)
        let cases = try fixture.cases.filter { try $0.string("model") == name }
        #expect(!cases.isEmpty)
        for c in cases {
            let name = try c.string("name"), changes = try c.object("files").members
            let model =
                changes.isEmpty
                ? plain
                : try latentModel(c.string("model")) { for (path, content) in changes { $0[path] = content.text } }
            let (error, worst) = try Self.errors(model, c, fixture)
            #expect(error <= (Self.clipped.contains(name) ? Self.clippedBound : Self.bound), "\(name)")
            #expect(worst <= 1, "\(name): \(worst) of 255")
        }
    }

    /// Of the samples, relative, and of the worst pixel, in levels.
    private static func errors(_ model: Model, _ c: JSONObject, _ fixture: Fixture) throws -> (Double, Float) {
        let name = try c.string("name"), session = try session(model, c)
        try session.finish()
        let pixels = try session.pictures.map { Float($0) }, expected = try fixture.tensor("\(name).images")
        let worst = pixels.count == expected.count ? zip(pixels, expected).map { abs($0 - $1) }.max() : nil
        return (try relativeError(session.sampleValues, fixture.tensor(name)), worst ?? .infinity)
    }

    private static func session(_ model: Model, _ c: JSONObject) throws -> Session {
        var options = Session.Options()
        (options.batch, options.height, options.width) = (try c.int("batch"), try c.int("height"), try c.int("width"))
        options.scheduler = try c.optionalString("scheduler").flatMap(SchedulerKind.init)
        options.schedulerOptions = try JSONValue.object(c.object("options").members).text
        (options.steps, options.eta) = (try c.int("steps"), Float(try c.double("eta")))
        options.strength = try c.double("strength")
        options.guidanceScale = try c.optionalDouble("guidance").map { Float($0) }
        options.guidanceRescale = Float(try c.double("rescale"))
        let session = try Session(model, options)
        if model.readsText { try setPrompt(session, c) }
        let images = try c.int("images")
        if let seed = try c.optionalInt("image") { try session.setPictures(images, seed: seed) }
        if let seed = try c.optionalInt("mask") { try session.setMasks(images, seed: seed) }
        if c.has("time_ids") {
            let ids = try ["time_ids", "negative_time_ids"].map { key in
                try (0..<session.batch).flatMap { _ in try c.doubles(key).map { Float($0) } }
            }
            try session.setTimeIDs(ids[0], negative: ids[1])
        }
        try session.seed(c.ints("seeds").map { UInt64($0) })
        return session
    }

    private static func setPrompt(_ session: Session, _ c: JSONObject) throws {
        if let seed = try c.optionalInt("embeds") {
            let shape = try c.ints("embeds_shape"), pooledChannels = try c.int("pooled_channels")
            let prompts = try (0..<2).map { i in
                try Prompt(
                    states: randn(shape[0] * shape[1], seed: UInt64(seed + i)), count: 1, tokens: shape[0],
                    channels: shape[1], pooled: randn(pooledChannels, seed: UInt64(seed + 2 + i)),
                    pooledChannels: pooledChannels)
            }
            return try session.setPrompt(prompts[0], negative: prompts[1])
        }
        var options = PromptOptions()
        options.clipSkip = try c.int("clip_skip")
        let negative = c.has("negatives") ? try session.model.prompt(c.strings("negatives")) : nil
        try session.setPrompt(session.model.prompt(c.strings("prompts"), options), negative: negative)
    }
}
