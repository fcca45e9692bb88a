import TestSupport
import Testing

@testable import Kernels

/// Weights as 8-bit integers with a scale per output.
@Suite struct RoundedWeightsTests {
    /// What is left of filters (n, k) after rounding.
    private func rounded(_ filters: [Float], n: Int) -> [Float] {
        let k = filters.count / n
        return (0..<n).flatMap { row in
            let values = filters[(row * k)..<((row + 1) * k)]
            let scale = values.map(abs).max()! / 127
            return values.map { scale > 0 ? max(-127, min(127, ($0 / scale).rounded(.toNearestOrEven))) * scale : 0 }
        }
    }

    /// The same bits as with floats of the rounded values, by products and by Winograd's transforms.
    @Test func equalTheirFloats() throws {
        for (inputs, outputs, kernel) in [
            (16, 33, 3), (130, 17, 3), (257, 32, 3), (7, 20, 3), (300, 35, 1), (64, 64, 1),
        ] {
            var filters = randn(outputs * inputs * kernel * kernel, seed: 1)
            for i in 0..<(inputs * kernel * kernel) { filters[i] = 0 }  // the first output
            let bias = randn(outputs, seed: 2), workspace = Workspace(threads: 2)
            let full = try Conv2D(
                weight: rounded(filters, n: outputs), bias: bias, inputs: inputs, outputs: outputs, kernel: kernel,
                padBefore: kernel / 2, padAfter: kernel / 2)
            for element in [PanelElement.f32, .f16] {
                let stored = TestSupport.rounded(filters, to: element)
                let small = try withStored(stored, as: element) {
                    try Conv2D(
                        weight: $0, bias: FloatBuffer(bias), inputs: inputs, outputs: outputs, kernel: kernel,
                        padBefore: kernel / 2, padAfter: kernel / 2, rounds: true, threads: 2)
                }
                #expect(small.weight.element == .i8 && small.weight.bytes * 4 == full.weight.bytes)
                let x = try Tensor(2, 9, 6, inputs, in: workspace)
                let values = randn(x.count, seed: 3)
                for i in 0..<x.count { x.data[i] = values[i] }
                let out = try conv2D(x, small, in: workspace)
                if element == .f32 {
                    #expect(try sameBits(Array(out.buffer), Array(conv2D(x, full, in: workspace).buffer)))
                }
                let exact = try Conv2D(
                    weight: stored, bias: bias, inputs: inputs, outputs: outputs, kernel: kernel,
                    padBefore: kernel / 2, padAfter: kernel / 2)
                let error = try relativeError(Array(out.buffer), Array(conv2D(x, exact, in: workspace).buffer))
                #expect(error > 1e-4 && error < 2e-2, "\(error)")
                // What the matrix says of itself.
                let squares = small.weight.squares
                let left = TestSupport.rounded(filters, to: element)
                #expect(
                    abs((squares.error / squares.all).squareRoot() - relativeError(rounded(left, n: outputs), left))
                        < 1e-4)
            }
        }
    }

    /// The same of the layers with a gate.
    @Test(arguments: [(30, 70), (257, 600)]) func equalTheirFloatsBehindAGate(inputs: Int, outputs: Int) throws {
        let workspace = Workspace(threads: 2)
        func layers(rounds: Bool) throws -> [Conv2D] {
            try (1...2).map { seed in
                let filters = randn(outputs * inputs, seed: UInt64(seed)), bias = randn(outputs, seed: 3)
                return try withStored(rounds ? filters : rounded(filters, n: outputs), as: .f32) {
                    try Conv2D(
                        weight: $0, bias: FloatBuffer(bias), inputs: inputs, outputs: outputs, kernel: 1, padBefore: 0,
                        padAfter: 0, rounds: rounds, threads: 2)
                }
            }
        }
        let x = try Tensor(2, 9, 6, inputs, in: workspace)
        let values = randn(x.count, seed: 4)
        for i in 0..<x.count { x.data[i] = values[i] }
        let small = try layers(rounds: true), full = try layers(rounds: false)
        let out = try geglu(x, value: small[0], gate: small[1], in: workspace)
        let expected = try geglu(x, value: full[0], gate: full[1], in: workspace)
        #expect(sameBits(Array(out.buffer), Array(expected.buffer)))
    }

    @Test func refusesWhatIsNotFinite() throws {
        var filters = randn(35 * 63, seed: 2)
        for place in [700, 699] { filters[place] = .nan }
        let error = #expect(throws: MCMError.self) {
            try withStored(filters, as: .f32) { try PackedMatrix($0, n: 35, inputs: 63, rounds: true, threads: 3) }
        }
        #expect(error?.message == "holds nan at element 699, expected finite numbers")
    }
}
