import TestSupport
import Testing

@testable import Kernels

@Suite struct GemmTests {
    /// One pass over k and several, with and without a rest.
    static let depths = [1, 5, 255, 256, 257, 600]

    @Test(arguments: depths) func equalsTheDefinitionAtEveryEdge(k: Int) throws {
        let a = randn(13 * k, seed: 1), b = randn(k * 35, seed: 2), c = randn(13 * 35, seed: 3)
        let whole = try product(rows: 13, k: k, n: 35, a: a, b: b, c: c)
        #expect(relativeError(whole, naive(rows: 13, k: k, n: 35, a: a, b: b, c: c)) <= 1e-6)

        // An element does not depend on the rows and columns that are computed beside it.
        var wrong: [String] = []
        for n in 1...35 {
            let part = try matrix(k: k, n: n) { b[$0 * 35 + $1] }
            for rows in 1...13 {
                let out = product(rows: rows, a: a, part, c: corner(c, rows, n))
                if !sameBits(out, corner(whole, rows, n)) { wrong.append("\(rows) x \(k) x \(n)") }
            }
        }
        #expect(wrong.isEmpty)
    }

    @Test func stridesMayExceedWidths() throws {
        let (rows, k, n, lda, ldc) = (8, 300, 21, 307, 40)
        let a = randn(rows * k, seed: 4), b = randn(k * n, seed: 5), c = randn(rows * n, seed: 6)
        let packed = try matrix(k: k, n: n) { b[$0 * n + $1] }
        let expected = product(rows: rows, a: a, packed, c: c)

        // NaN between the rows: reading it spoils the product, writing there removes it.
        let wideA = spread(a, rows: rows, width: k, stride: lda)
        var wideC = spread(c, rows: rows, width: n, stride: ldc)
        gemm(
            rows: rows, k: k, n: n, a: wideA, lda: lda, b: packed.panels, panelStride: k * 16, c: &wideC, ldc: ldc,
            accumulate: true)
        #expect(sameBits(wideC, spread(expected, rows: rows, width: n, stride: ldc)))
    }

    @Test func rowsDoNotDependOnHowTheyAreSplit() throws {
        let (rows, k, n) = (gemmRows + 5, 300, 33)
        let a = randn(rows * k, seed: 7), b = randn(k * n, seed: 8), c = randn(rows * n, seed: 9)
        let packed = try matrix(k: k, n: n) { b[$0 * n + $1] }
        let whole = product(rows: rows, a: a, packed, c: c)
        for block in [1, 2, 5, 6, 7, 12, 48, gemmRows] {
            var out: [Float] = []
            for first in stride(from: 0, to: rows, by: block) {
                let last = min(first + block, rows)
                out += product(
                    rows: last - first, a: Array(a[(first * k)..<(last * k)]), packed,
                    c: Array(c[(first * n)..<(last * n)]))
            }
            let same = sameBits(out, whole)
            #expect(same, "blocks of \(block) rows")
        }
    }

    /// Halves and bfloat16 are exact floats: widening them costs nothing, in registers or ahead.
    @Test(arguments: [PanelElement.f16, .bf16]) func halvesEqualTheirFloats(element: PanelElement) throws {
        for (rows, k, n) in [(1, 1, 1), (13, 300, 35), (7, 257, 16), (24, 40, 64), (5, 31, 33)] {
            let b = rounded(randn(k * n, seed: 14), to: element)
            let a = randn(rows * k, seed: 15), c = randn(rows * n, seed: 16)
            let half = try matrix(k: k, n: n, element: element) { b[$0 * n + $1] }
            let full = try matrix(k: k, n: n) { b[$0 * n + $1] }
            #expect(sameBits(product(rows: rows, a: a, half, c: c), product(rows: rows, a: a, full, c: c)))
        }
    }

    /// c + a[0] b[0] + a[1] b[1] ..., each multiply-add rounded once, in this order: the bits that every CPU gives.
    @Test(arguments: [PanelElement.f32, .f16]) func isOneChainOfFusedMultiplyAdds(element: PanelElement) throws {
        for (rows, k, n) in [(27, 700, 83), (1, 256, 16), (4, 1, 33), (12, 513, 32)] {
            let b = rounded(randn(k * n, seed: 19), to: element), a = randn(rows * k, seed: 20)
            let c = randn(rows * n, seed: 21)
            let expected = (0..<(rows * n)).map { i in
                (0..<k).reduce(c[i]) { $0.addingProduct(a[i / n * k + $1], b[$1 * n + i % n]) }
            }
            let packed = try matrix(k: k, n: n, element: element) { b[$0 * n + $1] }
            #expect(sameBits(product(rows: rows, a: a, packed, c: c), expected), "\(rows) x \(k) x \(n)")
        }
    }

    /// What C held does not matter where nothing is added to it.
    @Test func aProductAloneOverwrites() throws {
        for (rows, k, n) in [(13, 300, 35), (24, 512, 32), (1, 1, 1)] {
            let b = randn(k * n, seed: 17), a = randn(rows * k, seed: 18)
            let packed = try matrix(k: k, n: n) { b[$0 * n + $1] }
            var out = [Float](repeating: .nan, count: rows * n)
            gemm(
                rows: rows, k: k, n: n, a: a, lda: k, b: packed.panels, panelStride: k * 16, c: &out, ldc: n,
                accumulate: false)
            let zeros = [Float](repeating: 0, count: rows * n)
            #expect(relativeError(out, naive(rows: rows, k: k, n: n, a: a, b: b, c: zeros)) <= 1e-6)
        }
    }

    @Test func linearLayersEqualTheDefinition() throws {
        let (rows, k, n) = (2 * 9 * 11, 37, 50)
        let b = randn(k * n, seed: 10), bias = randn(n, seed: 11)
        let weight = (0..<(n * k)).map { b[$0 % k * n + $0 / k] }  // (outputs, inputs), as PyTorch stores it
        let workspace = try poisoned()
        let x = try random(2, 9, 11, k, seed: 12, in: workspace)
        let residual = try random(2, 9, 11, n, seed: 13, in: workspace)
        for hasBias in [false, true] {
            for residual in [nil, residual] {
                var c = residual.map(values) ?? [Float](repeating: 0, count: rows * n)
                if hasBias { for i in c.indices { c[i] += bias[i % n] } }
                let layer = try Conv2D(
                    weight: weight, bias: hasBias ? bias : nil, inputs: k, outputs: n, kernel: 1, padBefore: 0,
                    padAfter: 0)
                let run = { try conv2D(x, layer, residual: residual, in: $0) }
                let expected = naive(rows: rows, k: k, n: n, a: values(x), b: b, c: c)
                #expect(relativeError(values(try run(poisoned())), expected) <= 1e-6)
                #expect(try sameOnAnyThreads(run))
            }
        }
    }
}

/// c + a b.
private func naive(rows: Int, k: Int, n: Int, a: [Float], b: [Float], c: [Float]) -> [Float] {
    var out: [Float] = []
    for i in 0..<rows {
        for j in 0..<n {
            var sum = Double(c[i * n + j])
            for p in 0..<k { sum += Double(a[i * k + p]) * Double(b[p * n + j]) }
            out.append(Float(sum))
        }
    }
    return out
}

private func product(rows: Int, k: Int, n: Int, a: [Float], b: [Float], c: [Float]) throws -> [Float] {
    product(rows: rows, a: a, try matrix(k: k, n: n) { b[$0 * n + $1] }, c: c)
}

private func product(rows: Int, a: [Float], _ b: PackedMatrix, c: [Float]) -> [Float] {
    var out = c
    gemm(
        rows: rows, k: b.k, n: b.n, a: a, lda: b.k, b: b.panels, element: b.element, panelStride: b.k * 16, c: &out,
        ldc: b.n, accumulate: true)
    return out
}

/// The first rows and columns of a matrix of 35 columns.
private func corner(_ matrix: [Float], _ rows: Int, _ columns: Int) -> [Float] {
    (0..<rows).flatMap { matrix[($0 * 35)..<($0 * 35 + columns)] }
}

/// The same rows, `stride` apart, with NaN between them.
private func spread(_ matrix: [Float], rows: Int, width: Int, stride: Int) -> [Float] {
    (0..<rows).flatMap {
        matrix[($0 * width)..<(($0 + 1) * width)] + [Float](repeating: .nan, count: stride - width)
    }
}
