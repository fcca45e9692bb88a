import Checkpoint
import Kernels
import Networks
import TestSupport
import Testing

@Suite struct ModulatorTests {
    @Test func equalsTheReference() throws {
        let fixture = try Fixture("modulator")
        #expect(fixture.cases.count >= 10)
        let workspace = Workspace(threads: 2)
        for c in fixture.cases {
            let name = try c.string("name")
            let module = try Modulator(c.object("config"), GoldenWeights())
            let (n, h, w) = (try c.int("batch"), try c.int("height"), try c.int("width"))
            func draw(_ seed: Int, _ channels: Int) throws -> Tensor {
                let t = try Tensor(n, h, w, channels, in: workspace)
                fromNCHW(randn(t.count, seed: UInt64(seed)), into: t)
                return t
            }
            let x = try draw(c.int("x_seed"), module.predictionChannels)
            let e = try draw(c.int("e_seed"), module.predictionChannels)
            let seeds = try c.object("condition_seeds")
            let planes = try module.modalities.map { modality in
                try seeds.optionalInt(modality.name).map { try draw($0, modality.channels) }
            }
            let conditions = try module.conditions(planes, n: n, h: h, w: w, in: workspace)
            let r = try module.residual(
                x, e, timesteps: c.doubles("timesteps").map { Float($0) }, conditions: conditions, in: workspace)
            let out = try combine(e, r, in: workspace) { $0 + $1 }
            var values = [Float](repeating: 0, count: out.count)
            toNCHW(out, into: &values)
            #expect(try relativeError(values, fixture.tensor(name)) <= 1e-5, "\(name)")
        }
    }
}
