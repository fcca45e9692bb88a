import Glibc
import TestSupport
import Testing

@testable import Kernels

@Suite struct AttentionTests {
    /// (queries, tokens, heads, head size): rests of 48 queries, of 16 tokens and of 16 channels; two passes over k.
    static let shapes = [
        (1, 1, 1, 1), (7, 7, 3, 5), (100, 33, 2, 40), (49, 16, 2, 16), (5, 300, 2, 24), (96, 77, 8, 17), (50, 1, 2, 8),
    ]

    @Test(arguments: shapes) func equalsTheDefinition(queries: Int, tokens: Int, heads: Int, d: Int) throws {
        let workspace = try poisoned(threads: 2)
        let q = try random(2, 1, queries, heads * d, seed: 1, in: workspace)
        let k = try random(2, 1, tokens, heads * d, seed: 2, in: workspace)
        let v = try random(2, 1, tokens, heads * d, seed: 3, in: workspace)
        let out = try attention(q, k, v, heads: heads, in: workspace)
        #expect((out.n, out.h, out.w, out.c) == (2, 1, queries, heads * d))
        #expect(relativeError(values(out), naive(q, k, v, heads: heads)) <= 1e-6)
    }

    @Test func pixelsAreTokens() throws {
        let workspace = try poisoned()
        let q = try random(2, 4, 5, 12, seed: 4, in: workspace)
        let k = try random(2, 3, 7, 12, seed: 5, in: workspace)
        let v = try random(2, 3, 7, 12, seed: 6, in: workspace)
        let out = try attention(q, k, v, heads: 2, in: workspace)
        #expect((out.n, out.h, out.w, out.c) == (2, 4, 5, 12))
        #expect(relativeError(values(out), naive(q, k, v, heads: 2)) <= 1e-6)
    }

    /// Scores up to some thousands, exact in float32 because all factors are integers and sqrt(16) is 4.
    @Test func largeScoresDoNotOverflow() throws {
        let workspace = try poisoned()
        let q = try random(1, 1, 60, 16, seed: 7, in: workspace)
        let k = try random(1, 1, 50, 16, seed: 8, in: workspace)
        let v = try random(1, 1, 50, 16, seed: 9, in: workspace)
        for x in [q, k] {
            for i in 0..<x.count { x.data[i] = (20 * x.data[i]).rounded() }
        }
        // Two equal keys share; without a second the largest score would take all.
        (k.data + 16).update(from: k.data, count: 16)
        let out = try attention(q, k, v, heads: 1, in: workspace)
        #expect(relativeError(values(out), naive(q, k, v, heads: 1)) <= 1e-6)
    }

    @Test func bitsDependOnNeitherThreadsNorBatch() throws {
        let workspace = try poisoned()
        let q = try random(3, 10, 11, 48, seed: 10, in: workspace)
        let k = try random(3, 1, 77, 48, seed: 11, in: workspace)
        let v = try random(3, 1, 77, 48, seed: 12, in: workspace)
        #expect(try sameOnAnyThreads { try attention(q, k, v, heads: 3, in: $0) })

        let batch = try attention(q, k, v, heads: 3, in: workspace)
        for i in 0..<3 {
            let alone = try attention(
                image(i, of: q, in: workspace), image(i, of: k, in: workspace), image(i, of: v, in: workspace),
                heads: 3, in: poisoned(threads: 2))
            #expect(sameBits(values(alone), values(try image(i, of: batch, in: workspace))), "image \(i)")
        }
    }
}

/// softmax(q k^T / sqrt(d)) v of every image and head.
private func naive(_ q: Tensor, _ k: Tensor, _ v: Tensor, heads: Int) -> [Float] {
    let d = q.c / heads, queries = q.h * q.w, tokens = k.h * k.w
    var out = [Float](repeating: 0, count: q.count)
    for image in 0..<q.n {
        for head in 0..<heads {
            for i in 0..<queries {
                let row = (image * queries + i) * q.c + head * d
                let scores = (0..<tokens).map { t in
                    let key = (image * tokens + t) * k.c + head * d
                    return (0..<d).reduce(0.0) { $0 + Double(q.data[row + $1]) * Double(k.data[key + $1]) }
                        / Double(d).squareRoot()
                }
                let weights = scores.map { Glibc.exp($0 - scores.max()!) }
                let total = weights.reduce(0, +)
                for j in 0..<d {
                    let sum = (0..<tokens).reduce(0.0) {
                        $0 + weights[$1] * Double(v.data[(image * tokens + $1) * v.c + head * d + j])
                    }
                    out[row + j] = Float(sum / total)
                }
            }
        }
    }
    return out
}
