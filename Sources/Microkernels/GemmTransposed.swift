/// Rows of C that `gemmTransposed` computes at a time: `rows` must be a multiple of it.
public let gemmTransposedRows = 12

/// C = A^T B, or C += A^T B. An element is one chain of fused multiply-adds over k in order.
///   a  (k, rows) with row stride `lda`
///   b  panels of 16 columns, [n / 16][k][16]; one starts `panelStride` floats after the one before
///   c  (rows, n) with row stride `ldc`
public func gemmTransposed(
    rows: Int, k: Int, n: Int, a: UnsafePointer<Float>, lda: Int, b: UnsafePointer<Float>, panelStride: Int,
    c: UnsafeMutablePointer<Float>, ldc: Int, accumulate: Bool
) {
    var k0 = 0
    while k0 < k {
        let depth = min(gemmDepth, k - k0)
        var j = 0
        while j < n {
            let panel = Panel(
                b: UnsafeRawPointer(b + j / 16 * panelStride + k0 * 16), stride: panelStride * 4, depth: depth,
                columns: n - j, adds: accumulate || k0 > 0)
            let a = a + k0 * lda
            var width = 16
            #if AVX512
                if n - j > 16 {
                    for i in stride(from: 0, to: rows, by: 12) {
                        tile(Columns32<F32Row>.self, a + i, lda, panel, c + i * ldc + j, ldc)
                    }
                    width = 32
                }
            #endif
            if width == 16 {
                for i in stride(from: 0, to: rows, by: tileRows) {
                    tile(Columns16<F32Row>.self, a + i, lda, panel, c + i * ldc + j, ldc)
                }
            }
            j += width
        }
        k0 += gemmDepth
    }
}

#if AVX512
    private let tileRows = 12

    /// 24 accumulators of the 32 AVX-512 registers.
    @inline(never)
    private func tile<C: Columns>(_: C.Type, _ a: Input, _ lda: Int, _ panel: Panel, _ c: Output, _ ldc: Int) {
        var c0 = C(c, panel)
        var c1 = C(c + ldc, panel)
        var c2 = C(c + 2 * ldc, panel)
        var c3 = C(c + 3 * ldc, panel)
        var c4 = C(c + 4 * ldc, panel)
        var c5 = C(c + 5 * ldc, panel)
        var c6 = C(c + 6 * ldc, panel)
        var c7 = C(c + 7 * ldc, panel)
        var c8 = C(c + 8 * ldc, panel)
        var c9 = C(c + 9 * ldc, panel)
        var c10 = C(c + 10 * ldc, panel)
        var c11 = C(c + 11 * ldc, panel)
        var row = a
        for p in 0..<panel.depth {
            let b = C(panel, p)
            c0.add(row[0], b)
            c1.add(row[1], b)
            c2.add(row[2], b)
            c3.add(row[3], b)
            c4.add(row[4], b)
            c5.add(row[5], b)
            c6.add(row[6], b)
            c7.add(row[7], b)
            c8.add(row[8], b)
            c9.add(row[9], b)
            c10.add(row[10], b)
            c11.add(row[11], b)
            row += lda
        }
        c0.write(c, panel)
        c1.write(c + ldc, panel)
        c2.write(c + 2 * ldc, panel)
        c3.write(c + 3 * ldc, panel)
        c4.write(c + 4 * ldc, panel)
        c5.write(c + 5 * ldc, panel)
        c6.write(c + 6 * ldc, panel)
        c7.write(c + 7 * ldc, panel)
        c8.write(c + 8 * ldc, panel)
        c9.write(c + 9 * ldc, panel)
        c10.write(c + 10 * ldc, panel)
        c11.write(c + 11 * ldc, panel)
    }
#else
    private let tileRows = 6

    /// 12 accumulators of the 16 AVX2 registers.
    @inline(never)
    private func tile<C: Columns>(_: C.Type, _ a: Input, _ lda: Int, _ panel: Panel, _ c: Output, _ ldc: Int) {
        var c0 = C(c, panel)
        var c1 = C(c + ldc, panel)
        var c2 = C(c + 2 * ldc, panel)
        var c3 = C(c + 3 * ldc, panel)
        var c4 = C(c + 4 * ldc, panel)
        var c5 = C(c + 5 * ldc, panel)
        var row = a
        for p in 0..<panel.depth {
            let b = C(panel, p)
            c0.add(row[0], b)
            c1.add(row[1], b)
            c2.add(row[2], b)
            c3.add(row[3], b)
            c4.add(row[4], b)
            c5.add(row[5], b)
            row += lda
        }
        c0.write(c, panel)
        c1.write(c + ldc, panel)
        c2.write(c + 2 * ldc, panel)
        c3.write(c + 3 * ldc, panel)
        c4.write(c + 4 * ldc, panel)
        c5.write(c + 5 * ldc, panel)
    }
#endif
