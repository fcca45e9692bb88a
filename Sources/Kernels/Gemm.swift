/// The constant factor B (k, n) of products A * B, packed for `gemm`: panels of 16 columns, [n / 16][k][16], the last
/// one padded with zeros. Packed once when a model is loaded, so that no product packs anything.
public final class PackedMatrix: @unchecked Sendable {  // immutable after init
    public let k, n: Int
    let panels: UnsafeMutablePointer<Float>
    private let storage: FloatBuffer

    /// Packs B from a function of row and column.
    public init(k: Int, n: Int, _ element: (_ row: Int, _ column: Int) -> Float) throws {
        guard let size = checkedProduct([(n + 15) / 16, k, 16]) else {
            throw MCMError(.outOfMemory, "a matrix of \(k) x \(n) exceeds the address space")
        }
        (self.k, self.n) = (k, n)
        storage = try FloatBuffer(count: size)
        panels = storage.data
        for column in 0..<n {
            let panel = panels + column / 16 * (k * 16) + column % 16
            for row in 0..<k { panel[row * 16] = element(row, column) }
        }
    }

    public var bytes: Int { storage.bytes }
}

/// The depth of one pass over k. Sums are made in passes of this depth, in order: the only thing that an element's
/// rounding depends on, so results are the same bit for bit however rows and columns are split over tasks.
let gemmDepth = 256

/// Rows that one task multiplies at a time: their part of A, 96 x gemmDepth floats, stays in the L2 cache.
let gemmRows = 96

/// C += A * B for `rows` rows, on the calling thread.
///   a       (rows, k) with row stride `lda`
///   panels  B as in PackedMatrix: the panel of column j (a multiple of 16) starts at panels + j / 16 * panelStride
///   c       (rows, n) with row stride `ldc`, read and written
@inline(never)
func gemm(
    rows: Int, k: Int, n: Int, a: UnsafePointer<Float>, lda: Int, panels: UnsafePointer<Float>, panelStride: Int,
    c: UnsafeMutablePointer<Float>, ldc: Int
) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 16) { edge in
        let edge = edge.baseAddress.unsafelyUnwrapped
        for k0 in stride(from: 0, to: k, by: gemmDepth) {
            let depth = min(gemmDepth, k - k0)
            for j in stride(from: 0, to: n, by: 16) {
                let panel = panels + j / 16 * panelStride + k0 * 16
                let columns = min(16, n - j)
                for i in stride(from: 0, to: rows, by: 6) {
                    let height = min(6, rows - i)
                    let tile = c + i * ldc + j
                    let part = a + i * lda + k0
                    if height == 6 && columns == 16 {
                        multiply6x16(part, lda, panel, depth, tile, ldc)
                        continue
                    }
                    // At the edges, row by row in a whole-width copy of the tile.
                    for y in 0..<height {
                        for x in 0..<columns { edge[x] = tile[y * ldc + x] }
                        for x in columns..<16 { edge[x] = 0 }
                        multiply1x16(part + y * lda, panel, depth, edge)
                        for x in 0..<columns { tile[y * ldc + x] = edge[x] }
                    }
                }
            }
        }
    }
}

/// C += A * B on a 6 x 16 tile: 12 accumulators, 2 for B's row and one for A's element fill the 16 AVX2 registers.
///   a (6, k) with row stride lda; b (k, 16); c (6, 16) with row stride ldc
@inline(__always)
private func multiply6x16(
    _ a: UnsafePointer<Float>, _ lda: Int, _ b: UnsafePointer<Float>, _ k: Int, _ c: UnsafeMutablePointer<Float>,
    _ ldc: Int
) {
    var c00 = V8(), c01 = V8(), c10 = V8(), c11 = V8(), c20 = V8(), c21 = V8()
    var c30 = V8(), c31 = V8(), c40 = V8(), c41 = V8(), c50 = V8(), c51 = V8()
    let a3 = a + 3 * lda
    var b = b
    for p in 0..<k {
        let b0 = load(b), b1 = load(b + 8)
        b += 16
        var x = V8(repeating: a[p])
        c00 = fma(x, b0, c00)
        c01 = fma(x, b1, c01)
        x = V8(repeating: a[p + lda])
        c10 = fma(x, b0, c10)
        c11 = fma(x, b1, c11)
        x = V8(repeating: a[p + 2 * lda])
        c20 = fma(x, b0, c20)
        c21 = fma(x, b1, c21)
        x = V8(repeating: a3[p])
        c30 = fma(x, b0, c30)
        c31 = fma(x, b1, c31)
        x = V8(repeating: a3[p + lda])
        c40 = fma(x, b0, c40)
        c41 = fma(x, b1, c41)
        x = V8(repeating: a3[p + 2 * lda])
        c50 = fma(x, b0, c50)
        c51 = fma(x, b1, c51)
    }
    add(c00, c01, to: c)
    add(c10, c11, to: c + ldc)
    add(c20, c21, to: c + 2 * ldc)
    add(c30, c31, to: c + 3 * ldc)
    add(c40, c41, to: c + 4 * ldc)
    add(c50, c51, to: c + 5 * ldc)
}

/// One row of the same: each element sees the same operations in the same order as in a 6 x 16 tile.
@inline(__always)
private func multiply1x16(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ k: Int, _ c: UnsafeMutablePointer<Float>
) {
    var c0 = V8(), c1 = V8()
    for p in 0..<k {
        let x = V8(repeating: a[p])
        c0 = fma(x, load(b + 16 * p), c0)
        c1 = fma(x, load(b + 16 * p + 8), c1)
    }
    add(c0, c1, to: c)
}

@inline(__always) private func add(_ v0: V8, _ v1: V8, to c: UnsafeMutablePointer<Float>) {
    store(load(c) + v0, c)
    store(load(c + 8) + v1, c + 8)
}
