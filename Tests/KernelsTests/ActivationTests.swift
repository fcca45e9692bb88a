import Glibc
import TestSupport
import Testing

@testable import Kernels

@Suite struct ActivationTests {
    /// relative: of the value; absolute: of |x|, where the exact value vanishes against x. gelu(x) is x / 2 times a sum
    /// that holds erf, whose error is 5e-7. Where sigmoid(z) is small, z's rounding, not exact as in silu, costs up to
    /// 2^-24 z exp(-z) of |x|.
    @Test(arguments: [
        (Activation.silu, 3e-7, 2e-38), (.mish, 6e-7, 2e-38), (.gelu, 3e-7, 2.5e-7), (.relu, 0, 0),
        (.quickGELU, 3e-7, 1e-7), (.geluTanh, 3e-7, 2e-7),
    ])
    func equalsTheDefinition(activation: Activation, relative: Double, absolute: Double) throws {
        let steps = 1 << 17
        var x = (0...steps).map { -100 + 200 * Float($0) / Float(steps) }
        for size: Float in [1e-30, 1e-10, 1e-5, 1e-3, 20, 87, 88, 89, 1e3, 1e4, 1e6, 1e20, 1e30] { x += [size, -size] }
        let y = try run(activation, x)
        var worst = (x: Float(0), excess: 0.0)
        for (x, y) in zip(x, y) {
            let exact = activation.exact(Double(x))
            let bound = relative * abs(exact) + absolute * abs(Double(x))
            let excess = abs(Double(y) - exact) - bound
            if !(excess <= worst.excess) { worst = (x, excess) }
        }
        #expect(worst.excess == 0, "at \(worst.x)")
    }

    @Test(arguments: [Activation.silu, .mish, .gelu, .relu, .quickGELU, .geluTanh])
    func keepsNaNAndInfinity(activation: Activation) throws {
        let y = try run(activation, [.nan, .infinity, 0, 1, 2, 3, 4, 5, .nan, .infinity, 0])
        #expect(y[0].isNaN && y[8].isNaN)
        #expect(y[1] == .infinity && y[9] == .infinity)
        #expect(y[2] == 0 && y[10] == 0)
        #expect(y[2...7].allSatisfy { $0.isFinite })
    }

    /// In a vector, in the tail, on any thread: a value's result is the same.
    @Test(arguments: [Activation.silu, .mish, .gelu, .relu, .quickGELU, .geluTanh])
    func aValuesResultIsTheSameAnywhere(activation: Activation) throws {
        let x = randn(37, seed: 1).map { 5 * $0 }
        let alone = try x.map { try run(activation, [$0])[0] }
        for count in [7, 8, 9, 36, 37, 16384 + 37, 2 * 16384 + 5] {
            let many = try run(activation, (0..<count).map { x[$0 % 37] }, threads: 3)
            #expect(sameBits(many, (0..<count).map { alone[$0 % 37] }), "\(count) values")
        }
    }

    @Test func namesAreThoseOfDiffusers() {
        #expect(Activation(named: "SiLU") == .silu && Activation(named: "swish") == .silu)
        #expect(Activation(named: "mish") == .mish && Activation(named: "GELU") == .gelu)
        #expect(Activation(named: "quick_gelu") == .quickGELU && Activation(named: "gelu_new") == .geluTanh)
        #expect(Activation(named: "relu") == .relu && Activation(named: "tanh") == nil)
    }
}

extension Activation {
    /// The definition.
    func exact(_ x: Double) -> Double {
        switch self {
        case .silu: x / (1 + Glibc.exp(-x))
        case .mish: x * tanh(log1p(Glibc.exp(x)))
        case .gelu: 0.5 * x * erfc(-x / 2.0.squareRoot())
        case .relu: max(x, 0)
        case .quickGELU: x / (1 + Glibc.exp(-1.702 * x))
        case .geluTanh: x / (1 + Glibc.exp(-2 * (2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
        }
    }
}

private func run(_ activation: Activation, _ x: [Float], threads: Int = 1) throws -> [Float] {
    let workspace = try poisoned(threads: threads)
    return values(try activate(tensor(1, 1, 1, x.count, x, in: workspace), activation, in: workspace))
}
