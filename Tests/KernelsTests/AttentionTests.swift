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

    /// Keys are taken in blocks of 256: one, one and a rest, two and a rest.
    @Test(arguments: [255, 256, 257, 511, 512, 513]) func blocksOfKeysMeetSeamlessly(tokens: Int) throws {
        let workspace = try poisoned(threads: 2)
        let q = try random(1, 1, 50, 2 * 20, seed: 20, in: workspace)
        let k = try random(1, 1, tokens, 2 * 20, seed: 21, in: workspace)
        let v = try random(1, 1, tokens, 2 * 20, seed: 22, in: workspace)
        for i in 0..<q.count { q.data[i] *= 3 }
        let out = try attention(q, k, v, heads: 2, in: workspace)
        #expect(relativeError(values(out), naive(q, k, v, heads: 2)) <= 1e-6)
        #expect(try sameOnAnyThreads { try attention(q, k, v, heads: 2, in: $0) })
    }

    /// 64 x 64 pixels; every 131st query is checked.
    @Test func manyTokens() throws {
        let workspace = try poisoned(threads: 2)
        let q = try random(1, 64, 64, 32, seed: 23, in: workspace)
        let k = try random(1, 64, 64, 32, seed: 24, in: workspace)
        let v = try random(1, 64, 64, 32, seed: 25, in: workspace)
        let out = values(try attention(q, k, v, heads: 1, in: workspace))
        let some = Array(stride(from: 0, to: 4096, by: 131))
        func pick(_ x: [Float]) -> [Float] { some.flatMap { x[($0 * 32)..<($0 * 32 + 32)] } }
        let few = try tensor(1, 1, some.count, 32, pick(values(q)), in: workspace)
        let found = pick(out)
        #expect(relativeError(found, naive(few, k, v, heads: 1)) <= 2e-6)
        // A query does not depend on those beside it.
        #expect(sameBits(values(try attention(few, k, v, heads: 1, in: workspace)), found))
    }

    /// One key far above the others, in every block in turn: what earlier blocks summed must shrink to nothing, and
    /// what later ones add must not count. All exact but for the rescaling, so that a key that takes all gives its
    /// value.
    @Test(arguments: [0, 255, 256, 400, 599]) func largeDifferencesBetweenBlocks(place: Int) throws {
        let workspace = try poisoned()
        let q = try random(1, 1, 3, 16, seed: 26, in: workspace)
        let k = try random(1, 1, 600, 16, seed: 27, in: workspace)
        let v = try random(1, 1, 600, 16, seed: 28, in: workspace)
        for (size, bound) in [(Float(5), 2e-6), (50, 1e-6), (500, 1e-6)] {
            let rising = try tensor(1, 1, 600, 16, values(k), in: workspace)
            for j in 0..<16 { rising.data[place * 16 + j] = size * q.data[j] }
            let out = try attention(q, rising, v, heads: 1, in: workspace)
            #expect(relativeError(values(out), naive(q, rising, v, heads: 1)) <= bound, "\(size)")
            if size == 500 {
                let first = Array(values(out)[..<16])
                #expect(relativeError(first, Array(values(v)[(place * 16)..<(place * 16 + 16)])) <= 1e-7)
            }
        }
    }

    /// Scores that rise, and fall, by 150 from block to block, more than exp can express.
    @Test(arguments: [Float(1), -1]) func scoresRiseAndFall(sign: Float) throws {
        let workspace = try poisoned()
        let q = try tensor(1, 1, 2, 16, [Float](repeating: 1, count: 32), in: workspace)
        let k = try random(1, 1, 1000, 16, seed: 29, in: workspace)
        for i in 0..<k.count { k.data[i] = 0.1 * k.data[i] + sign * Float(i / 16 / 256) * 37.5 }
        let v = try random(1, 1, 1000, 16, seed: 30, in: workspace)
        let out = try attention(q, k, v, heads: 1, in: workspace)
        // Scores of 450 are rounded to 3e-5.
        #expect(relativeError(values(out), naive(q, k, v, heads: 1)) <= 3e-5)
    }

    /// A NaN in a query spoils its row; in a key or a value, all rows of its head. No other.
    @Test func notANumberStays() throws {
        let workspace = try poisoned(threads: 2)
        let clean = try (0..<3).map { try random(2, 1, 300, 2 * 8, seed: 31 + UInt64($0), in: workspace) }
        let expected = values(try attention(clean[0], clean[1], clean[2], heads: 2, in: workspace))
        for spoilt in 0..<3 {
            for token in [0, 17, 255, 256, 299] {
                let x = try clean.map { try tensor(2, 1, 300, 16, values($0), in: workspace) }
                x[spoilt].data[(300 + token) * 16 + 8] = .nan  // second image, second head
                let out = values(try attention(x[0], x[1], x[2], heads: 2, in: workspace))
                var right = true
                for i in out.indices {
                    let (image, query, channel) = (i / 4800, i / 16 % 300, i % 16)
                    let isMeant =
                        image == 1 && channel >= 8
                        && (spoilt == 1 || spoilt == 0 && query == token || spoilt == 2 && channel == 8)
                    right = right && (isMeant ? out[i].isNaN : out[i].bitPattern == expected[i].bitPattern)
                }
                #expect(right, "\(["query", "key", "value"][spoilt]) \(token)")
            }
        }
    }

    /// Lengths that end in, at and beyond blocks of 48 queries and of 256 keys.
    @Test(arguments: [1, 2, 16, 47, 48, 49, 77, 255, 256, 257, 300, 600]) func causal(tokens: Int) throws {
        let workspace = try poisoned(threads: 2)
        let x = try (0..<3).map { try random(2, 1, tokens, 2 * 20, seed: 40 + UInt64($0), in: workspace) }
        let packed = try KeysAndValues(x[1], x[2], heads: 2, in: workspace)
        let out = try attention(x[0], packed, isCausal: true, in: workspace)
        #expect(relativeError(values(out), naive(x[0], x[1], x[2], heads: 2, isCausal: true)) <= 1e-6)
        #expect(try sameOnAnyThreads { try attention(x[0], packed, isCausal: true, in: $0) })
        // Packed keys serve again.
        #expect(
            sameBits(
                values(try attention(x[0], packed, in: workspace)),
                values(try attention(x[0], x[1], x[2], heads: 2, in: workspace))))
    }

    @Test func shapesMustAgree() throws {
        let workspace = try poisoned()
        let q = try random(2, 1, 5, 12, seed: 1, in: workspace)
        let packed = try KeysAndValues(q, q, heads: 3, in: workspace)
        for (n, tokens, c) in [(1, 5, 12), (2, 5, 8), (2, 5, 24)] {
            let other = try random(n, 1, tokens, c, seed: 2, in: workspace)
            #expect(throws: MCMError.self) { try attention(other, packed, in: workspace) }
        }
        let longer = try random(2, 1, 6, 12, seed: 2, in: workspace)
        #expect(try attention(longer, packed, in: workspace).count == longer.count)
        #expect(throws: MCMError.self) { try attention(longer, packed, isCausal: true, in: workspace) }
        #expect(throws: MCMError.self) { try KeysAndValues(q, longer, heads: 3, in: workspace) }
        #expect(throws: MCMError.self) { try KeysAndValues(q, q, heads: 5, in: workspace) }
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
private func naive(_ q: Tensor, _ k: Tensor, _ v: Tensor, heads: Int, isCausal: Bool = false) -> [Float] {
    let d = q.c / heads, queries = q.h * q.w
    var out = [Float](repeating: 0, count: q.count)
    for image in 0..<q.n {
        for head in 0..<heads {
            for i in 0..<queries {
                let row = (image * queries + i) * q.c + head * d
                let stride = k.h * k.w, tokens = isCausal ? i + 1 : stride
                let scores = (0..<tokens).map { t in
                    let key = (image * stride + t) * k.c + head * d
                    return (0..<d).reduce(0.0) { $0 + Double(q.data[row + $1]) * Double(k.data[key + $1]) }
                        / Double(d).squareRoot()
                }
                let weights = scores.map { Glibc.exp($0 - scores.max()!) }
                let total = weights.reduce(0, +)
                for j in 0..<d {
                    let sum = (0..<tokens).reduce(0.0) {
                        $0 + weights[$1] * Double(v.data[(image * stride + $1) * v.c + head * d + j])
                    }
                    out[row + j] = Float(sum / total)
                }
            }
        }
    }
    return out
}
