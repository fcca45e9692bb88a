import LibMCM
import TestSupport
import Testing

private let fashion = repository + "examples/fashion/"

/// The API as a program outside of this package sees it: nothing but LibMCM is imported.
@Suite struct SessionTests {
    private func session(batch: Int = 1, steps: Int = 4) throws -> Session {
        let session = try Session(Model(path: fashion + "base"), scheduler: .ddim, steps: steps, batch: batch)
        try session.attach(
            Modulator(path: fashion + "module.mcm.safetensors"),
            ["sketch": .png(fashion + "conditions/00_sketch.png")])
        return session
    }

    @Test func loopsAgree() async throws {
        let session = try session()
        try session.seed(7)
        var timesteps: [Int] = []
        while let step = try session.next() {
            timesteps.append(step.timestep)
            #expect(step.number == timesteps.count && step.count == 4)
            #expect(try step.x.count == 28 * 28 && step.x0.count == 28 * 28)
            #expect(try step.preview() == step.image())
        }
        #expect(timesteps.count == 4 && timesteps == timesteps.sorted(by: >))
        let first = try session.image()
        #expect((first.width, first.height, first.channels) == (28, 28, 1))

        try session.seed(7)
        for try await _ in session {}
        #expect(try session.image() == first)

        let model = session.model
        var options = Session.Options()
        (options.scheduler, options.steps) = (.ddim, 4)
        let images = try model.generate(options, seeds: [7]) { session in
            try session.attach(
                Modulator(path: fashion + "module.mcm.safetensors"),
                ["sketch": .png(fashion + "conditions/00_sketch.png")])
        }
        #expect(images == [first])
    }

    @Test func imagesDoNotDependOnTheirBatch() throws {
        let (alone, together) = (try session(), try session(batch: 2))
        try alone.seed(3)
        try together.seed([2, 3])
        while try alone.next() != nil {}
        while try together.next() != nil {}
        #expect(try together.images()[1] == alone.image())
        #expect(try together.x.suffix(28 * 28) == alone.x[...])
    }

    @Test func aConditionForEachImage() throws {
        let sketches = try ["00", "01"].map { try PixelImage.png(fashion + "conditions/\($0)_sketch.png") }
        let both = try session(batch: 2)
        let id = try both.attach(Modulator(path: fashion + "module.mcm.safetensors"), weight: 0.5)
        try both.setCondition(id, "sketch", sketches)
        try both.seed([1, 1])
        while try both.next() != nil {}
        for (i, sketch) in sketches.enumerated() {
            let one = try session()
            try one.attach(Modulator(path: fashion + "module.mcm.safetensors"), ["sketch": sketch], weight: 0.5)
            try one.seed(1)
            while try one.next() != nil {}
            #expect(try both.image(i) == one.image())
        }
        expectFailure(.size, "images") { try both.setCondition(id, "sketch", sketches + sketches) }
        expectFailure(.size, "") { try both.setCondition(id, "sketch", [PixelImage]()) }
    }

    @Test func canBeEdited() throws {
        let session = try session()
        try session.seed(1)
        let x = try session.x
        try session.setX(x.map { 2 * $0 })
        #expect(try session.x == x.map { 2 * $0 })
        expectFailure(.size, "3 numbers for a sample, expected 784") { try session.setX([1, 2, 3]) }
        expectFailure(.invalidArgument, "at element 0") { try session.setX(x.map { _ in .nan }) }
    }

    @Test func errorsSayWhatIsWrong() throws {
        let session = try session()
        expectFailure(.state, "not seeded") { try session.next() }
        expectFailure(.state, "not seeded") { try session.x }
        expectFailure(.io, "nowhere") { try Model(path: "/nowhere") }
        expectFailure(.io, "nowhere") { try Modulator(path: "/nowhere") }
        let module = try Modulator(path: fashion + "module.mcm.safetensors")
        let image = try PixelImage.png(fashion + "conditions/00_sketch.png")
        expectFailure(.incompatible, "no modality \"colour\"") { try session.attach(module, ["colour": image]) }
        expectFailure(.invalidArgument, "window") { try session.attach(module, window: 0.5...2) }
        expectFailure(.unsupported, "no text encoder") { try session.setPrompt("a boot") }
    }

    @Test func cancelled() async throws {
        let task = Task {
            let session = try session()
            try session.seed(1)
            withUnsafeCurrentTask { $0?.cancel() }
            for try await _ in session {}
        }
        await #expect(throws: MCMError(.cancelled, "cancelled after step 0 of 4")) { try await task.value }
        expectFailure(.cancelled, "after step 2 of 4") {
            var options = Session.Options()
            options.steps = 4
            return try Model(path: fashion + "base").generate(options) { _ in
            } progress: {
                $0.number < 2
            }
        }
    }

    @Test func pngsAreWrittenAtOnce() throws {
        let folder = try TemporaryFolder()
        let image = try PixelImage(width: 2, height: 1, channels: 3, pixels: [1, 2, 3, 4, 5, 6])
        try image.write(to: folder.path + "/a.png", text: ["Comment": "Ä"])
        #expect(try PixelImage.png(folder.path + "/a.png") == image)
        expectFailure(.io, "/nowhere/a.png") { try image.write(to: "/nowhere/a.png") }
        expectFailure(.invalidArgument, "keyword") { try image.write(to: folder.path + "/b.png", text: ["": "a"]) }
    }
}
