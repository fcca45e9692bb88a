import Checkpoint
import Kernels
import Networks
import TestSupport
import Testing

@Suite struct UNet2DTests {
    @Test func equalsDiffusers() throws {
        let fixture = try Fixture("unet2d")
        #expect(fixture.cases.count >= 24)
        let workspace = Workspace(threads: 2)
        for c in fixture.cases {
            let name = try c.string("name")
            let net = try UNet2D(UNet2DConfig(c.object("config")), Weights(GoldenWeights()))
            let batch = try c.int("batch")
            let x = try Tensor(batch, c.int("height"), c.int("width"), net.config.inChannels, in: workspace)
            fromNCHW(randn(x.count, seed: UInt64(try c.int("seed"))), into: x)
            var classInput = c.has("class_labels") ? try c.doubles("class_labels").map { Float($0) } : []
            if let seed = try c.optionalInt("class_inputs_seed") {
                classInput = randn(batch * net.classInputSize, seed: UInt64(seed))
            }
            let out = try net(
                x, timesteps: c.doubles("timesteps").map { Float($0) }, classInput: classInput, in: workspace)
            var values = [Float](repeating: 0, count: out.count)
            toNCHW(out, into: &values)
            let error = try relativeError(values, fixture.tensor(name))
            #expect(error <= 1e-5, "\(name)")
            if error > 3e-6 { print(name, error) }
        }
    }
}
