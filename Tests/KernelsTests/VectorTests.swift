import Glibc
import TestSupport
import Testing

@testable import Microkernels

/// The functions that kernels make of sixteen floats at a time.
@Suite struct VectorTests {
    @Test func expIsWithin2e7() {
        let steps = 1 << 20
        let worst = worstError(exp, from: -87.3, to: 88.3, steps) { abs($0 / Glibc.exp($1) - 1) }
        #expect(worst <= 2e-7)
        #expect(exp(V())[0] == 1)
    }

    @Test func expSaturatesAndKeepsNaN() {
        let low = exp(V(repeating: -87.3))[0], high = exp(V(repeating: 88.3))[0]
        #expect(low > 0 && low < 1.3e-38 && high > 2e38 && high.isFinite)
        let y = exp(vector([-.infinity, .nan, -1000, .infinity, 88.4, -.greatestFiniteMagnitude, -.nan, 1e30]))
        #expect(y[0] == low && y[2] == low && y[5] == low)
        #expect(y[3] == high && y[4] == high && y[7] == high)
        #expect(y[1].isNaN && y[6].isNaN)
    }

    @Test func erfIsWithin5e7() {
        #expect(worstError(erf, from: -6, to: 6, 1 << 20) { abs($0 - Glibc.erf($1)) } <= 5e-7)
        // Near zero, where erf is small, too: relative to it.
        #expect(worstError(erf, from: -0.01, to: 0.01, 1 << 16) { $1 == 0 ? 0 : abs($0 / Glibc.erf($1) - 1) } <= 3e-7)
    }

    @Test func erfSaturatesAndKeepsNaN() {
        let y = erf(vector([0, .infinity, -.infinity, .nan, 4, -4, 1e30, -.nan, -.greatestFiniteMagnitude]))
        #expect(y[0] == 0 && y[1] == y[4] && y[2] == y[5] && y[6] == y[4] && y[8] == y[5])
        #expect(abs(y[4] - 1) <= 5e-7 && y[5] == -y[4])
        #expect(y[3].isNaN && y[7].isNaN)
    }

    @Test func aPartOfAVectorIsReadAndWritten() {
        for count in 1...16 {
            let source = randn(16, seed: UInt64(count))
            let v = load(Array(source[..<count]), count)
            #expect((0..<16).allSatisfy { v[$0] == ($0 < count ? source[$0] : 0) })
            var target = [Float](repeating: -7, count: 16)
            store(load(source), &target, count)
            #expect((0..<16).allSatisfy { target[$0] == ($0 < count ? source[$0] : -7) })
        }
    }

    @Test func lanesAreAddedInOneOrder() {
        let x = randn(16, seed: 20)
        func halves(_ x: [Float]) -> [Float] {
            let n = x.count / 2
            return n == 0 ? x : halves((0..<n).map { x[$0] + x[$0 + n] })
        }
        #expect(sum(load(x)) == halves(x)[0])
    }

    /// `error` of f(x) and x, the largest of equal steps.
    private func worstError(
        _ f: (V) -> V, from low: Float, to high: Float, _ steps: Int, _ error: (Double, Double) -> Double
    ) -> Double {
        var worst = 0.0
        for i in stride(from: 0, to: steps, by: 16) {
            var x = V()
            for lane in 0..<16 { x[lane] = low + (high - low) * Float(i + lane) / Float(steps - 1) }
            let y = f(x)
            for lane in 0..<16 {
                let e = error(Double(y[lane]), Double(x[lane]))
                worst = e <= worst ? worst : e  // NaN is kept
            }
        }
        return worst
    }
}

private func vector(_ values: [Float]) -> V {
    var v = V()
    for (i, value) in values.enumerated() { v[i] = value }
    return v
}
