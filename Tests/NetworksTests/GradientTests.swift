import Checkpoint
import Kernels
import Networks
import TestSupport
import Testing

@Suite struct NetworkGradientTests {
    /// Every parameter of every kind of network.
    @Test func equalPyTorch() throws {
        let fixture = try Fixture("gradients")
        #expect(fixture.cases.count >= 24)
        let workspace = Workspace(threads: 2)
        var worst = 0.0
        for c in fixture.cases {
            let name = try c.string("name")
            let config = try UNet2DConfig(c.object("config"))
            let parameters = try Parameters(from: GoldenWeights()) { _ = try UNet2D(config, Weights($0)) }
            let net = try UNet2D(config, Weights(parameters))
            let batch = try c.int("batch")
            let x = try Tensor(batch, c.int("height"), c.int("width"), config.inChannels, in: workspace)
            fromNCHW(randn(x.count, seed: UInt64(try c.int("seed"))), into: x)
            var classInput = c.has("class_labels") ? try c.doubles("class_labels").map { Float($0) } : []
            if let seed = try c.optionalInt("class_inputs_seed") {
                classInput = randn(batch * net.classInputSize, seed: UInt64(seed))
            }
            let tape = Tape()
            workspace.tape = tape
            let out = try net(
                x, timesteps: c.doubles("timesteps").map { Float($0) }, classInput: classInput, in: workspace)
            workspace.tape = nil
            let r = try Tensor(out.n, out.h, out.w, out.c, in: workspace)
            fromNCHW(randn(out.count, seed: UInt64(crc32("loss"))), into: r)
            try tape.backward(from: out, r, in: workspace)

            let expected = try fixture.tensor(name)
            // Fourier frequencies are not trained.
            let trained = parameters.entries.filter { $0.key != "time_proj.weight" || $0.shape.count > 1 }
                .sorted { $0.key < $1.key }
            try #require(expected.count == 2 * trained.count, "\(name)")
            let whole = (0..<trained.count).reduce(0) { $0 + Double(expected[2 * $1] * expected[2 * $1]) }.squareRoot()
            for (row, entry) in trained.enumerated() {
                let norm = Double(expected[2 * row]), probe = Double(expected[2 * row + 1])
                let numbers = randn(entry.range.count, seed: UInt64(crc32("probe." + entry.key)))
                var squares = 0.0, product = 0.0
                for (i, j) in entry.range.enumerated() {
                    let g = Double(parameters.gradients.data[j])
                    squares += g * g
                    product += g * Double(numbers[i])
                }
                // Some gradients are zero but for rounding, as of a bias that a norm takes away again.
                let error = max(abs(squares.squareRoot() - norm), abs(product - probe)) / max(norm, 1e-3 * whole)
                worst = max(worst, error)
                // Seven levels with Fourier embeddings: there PyTorch in float32 is 4e-5 from float64 itself.
                #expect(error <= (name == "ncsnpp_celebahq" ? 2e-4 : 1e-4), "\(name), \(entry.key)")
            }
        }
        print("gradients of networks, worst relative error:", worst)
    }
}
