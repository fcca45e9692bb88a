import Checkpoint
import Kernels
import Pipeline
import TestSupport
import Testing

@Suite struct EndToEndTests {
    /// The bundled model draws what diffusers' pipelines draw from the same seeds, to one level of 255.
    @Test func imagesEqualDiffusers() throws {
        let fixture = try Fixture("pipelines")
        let model = try Model(.disk(repository + "examples/fashion/base"))
        #expect(fixture.cases.count == 4)
        for c in fixture.cases {
            let name = try c.string("name")
            var options = Session.Options()
            options.batch = try c.int("batch")
            options.steps = try c.int("steps")
            options.eta = Float(try c.double("eta"))
            options.scheduler = try c.string("scheduler") == "ddim" ? .ddim : .ddpm
            let session = try Session(model, options)
            try session.seed(c.ints("seeds").map { UInt64($0) })
            try session.run { _, _ in true }
            var pixels: [Float] = []
            for i in 0..<session.batch {
                var image = [UInt8](repeating: 0, count: session.count / session.batch)
                try session.decode(original: false, index: i, into: &image)
                pixels += image.map { Float($0) }
            }
            let expected = try fixture.tensor(name)
            let worst = zip(pixels, expected).map { abs($0 - $1) }.max() ?? .infinity
            #expect(pixels.count == expected.count && worst <= 1, "\(name): \(worst) of 255")
        }
    }
}
