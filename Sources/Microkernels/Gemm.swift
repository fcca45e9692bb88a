import CShims

/// How the elements of a packed matrix are stored. Sums are made of floats in any case: others are widened on the way
/// into a register, and integers multiplied by their column's scale.
public enum PanelElement: UInt8, Sendable {
    case f32, f16, bf16, i8
}

/// Sixteen neighbours in a row of a panel, as stored.
protocol PanelRow {
    associatedtype Stored: BitwiseCopyable
    /// scale: of the columns, for integers
    static func widen(_ stored: Stored, _ scale: V) -> V
}

extension PanelRow {
    /// Row `i` of the panel at p (rows, 16).
    @inline(always) static func load(_ p: UnsafeRawPointer, _ i: Int, _ scale: V) -> V {
        widen(p.loadUnaligned(fromByteOffset: i &* MemoryLayout<Stored>.size, as: Stored.self), scale)
    }
}

enum F32Row: PanelRow {
    @inline(always) static func widen(_ v: V, _: V) -> V { v }
}

enum F16Row: PanelRow {
    @inline(always) static func widen(_ v: SIMD16<UInt16>, _: V) -> V { shim_widen_f16(v) }
}

enum BF16Row: PanelRow {
    @inline(always) static func widen(_ v: SIMD16<UInt16>, _: V) -> V { shim_widen_bf16(v) }
}

enum I8Row: PanelRow {
    @inline(always) static func widen(_ v: SIMD16<Int8>, _ scale: V) -> V { shim_widen_i8(v) * scale }
}

/// The depth of one pass over k, whose part of B stays in the L1 cache. An element is one chain of fused
/// multiply-adds over k in order, in whatever passes, rows and columns the work is split: its bits do not depend on
/// that.
public let gemmDepth = 256

/// C = A B, or C += A B, for `rows` rows.
///   a       (rows, k) with row stride `lda`
///   b       panels of 16 columns, [n / 16][k][16], the last one padded; one starts `panelStride` elements after the
///           one before
///   scales  of b's columns, as many as b has with its padding; for integers
///   c       (rows, n) with row stride `ldc`
public func gemm(
    rows: Int, k: Int, n: Int, a: UnsafePointer<Float>, lda: Int, b: UnsafeRawPointer, element: PanelElement,
    scales: UnsafePointer<Float>? = nil, panelStride: Int, c: UnsafeMutablePointer<Float>, ldc: Int, accumulate: Bool
) {
    switch element {
    case .f32: gemm(F32Row.self, rows, k, n, a, lda, b, nil, panelStride, c, ldc, accumulate)
    case .f16: gemm(F16Row.self, rows, k, n, a, lda, b, nil, panelStride, c, ldc, accumulate)
    case .bf16: gemm(BF16Row.self, rows, k, n, a, lda, b, nil, panelStride, c, ldc, accumulate)
    case .i8: gemm(I8Row.self, rows, k, n, a, lda, b, scales, panelStride, c, ldc, accumulate)
    }
}

private func gemm<P: PanelRow>(
    _: P.Type, _ rows: Int, _ k: Int, _ n: Int, _ a: Input, _ lda: Int, _ b: UnsafeRawPointer, _ scales: Input?,
    _ panelStride: Int, _ c: Output, _ ldc: Int, _ accumulate: Bool
) {
    let size = MemoryLayout<P.Stored>.size / 16
    var k0 = 0
    while k0 < k {
        let depth = min(gemmDepth, k - k0)
        var j = 0
        while j < n {
            let panel = Panel(
                b: b + (j / 16 * panelStride + k0 * 16) * size, stride: panelStride * size, depth: depth,
                columns: n - j, adds: accumulate || k0 > 0, scales: scales.map { $0 + j })
            // As many columns as leave the registers a tile of a good height.
            #if AVX512
                if n - j > 16 {
                    multiply(Columns32<P>.self, rows, a + k0, lda, panel, c + j, ldc)
                    j += 32
                    continue
                }
            #endif
            multiply(Columns16<P>.self, rows, a + k0, lda, panel, c + j, ldc)
            j += 16
        }
        k0 += gemmDepth
    }
}

/// The part of B that one pass over A's rows meets.
struct Panel {
    let b: UnsafeRawPointer
    let stride: Int  // bytes
    let depth: Int
    let columns: Int  // valid ones
    let adds: Bool
    let scale0, scale1: V

    init(b: UnsafeRawPointer, stride: Int, depth: Int, columns: Int, adds: Bool, scales: Input? = nil) {
        (self.b, self.stride, self.depth, self.columns, self.adds) = (b, stride, depth, columns, adds)
        scale0 = scales.map { load($0) } ?? V()
        scale1 = columns > 16 ? scales.map { load($0 + 16) } ?? V() : V()
    }
}

/// One row of a tile: 16 or 32 columns of B or of C.
protocol Columns {
    init(_ panel: Panel, _ p: Int)
    init(_ c: Output, _ panel: Panel)  // what C holds, or zeros
    mutating func add(_ x: Float, _ b: Self)
    func write(_ c: Output, _ panel: Panel)
}

struct Columns16<P: PanelRow>: Columns {
    var v = V()
    @inline(always) init(_ panel: Panel, _ p: Int) { v = P.load(panel.b, p, panel.scale0) }
    @inline(always) init(_ c: Output, _ panel: Panel) { if panel.adds { v = load(c, panel.columns) } }
    @inline(always) mutating func add(_ x: Float, _ b: Self) { v = fma(b.v, x, v) }
    @inline(always) func write(_ c: Output, _ panel: Panel) { store(v, c, panel.columns) }
}

struct Columns32<P: PanelRow>: Columns {
    var v0 = V(), v1 = V()
    @inline(always) init(_ panel: Panel, _ p: Int) {
        v0 = P.load(panel.b, p, panel.scale0)
        v1 = P.load(panel.b + panel.stride, p, panel.scale1)
    }
    @inline(always) init(_ c: Output, _ panel: Panel) {
        if panel.adds {
            v0 = load(c)
            v1 = load(c + 16, panel.columns - 16)
        }
    }
    @inline(always) mutating func add(_ x: Float, _ b: Self) {
        v0 = fma(b.v0, x, v0)
        v1 = fma(b.v1, x, v1)
    }
    @inline(always) func write(_ c: Output, _ panel: Panel) {
        store(v0, c, 16)
        store(v1, c + 16, panel.columns - 16)
    }
}

@inline(never)
private func multiply<C: Columns>(
    _: C.Type, _ rows: Int, _ a: Input, _ lda: Int, _ panel: Panel, _ c: Output, _ ldc: Int
) {
    var i = 0
    #if AVX512
        while i + 12 <= rows {
            tile12(C.self, a + i * lda, lda, panel, c + i * ldc, ldc)
            i += 12
        }
    #else
        while i + 6 <= rows {
            tile6(C.self, a + i * lda, lda, panel, c + i * ldc, ldc)
            i += 6
        }
    #endif
    while i + 4 <= rows {
        tile4(C.self, a + i * lda, lda, panel, c + i * ldc, ldc)
        i += 4
    }
    while i < rows {
        tile1(C.self, a + i * lda, panel, c + i * ldc)
        i += 1
    }
}

// Tiles of C, kept in registers over a pass. Each element sees the same operations in the same order in all of them.

/// 24 accumulators of the 32 AVX-512 registers.
@inline(never)
private func tile12<C: Columns>(_: C.Type, _ a: Input, _ lda: Int, _ panel: Panel, _ c: Output, _ ldc: Int) {
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
    let a3 = a + 3 * lda, a6 = a + 6 * lda, a9 = a + 9 * lda
    let next = a + 12 * lda
    for row in 0..<12 {  // the rows of the next tile
        var p = 0
        while p < panel.depth {
            shim_prefetch(next + row * lda + p)
            p += 16
        }
    }
    for p in 0..<panel.depth {
        let b = C(panel, p)
        c0.add(a[p], b)
        c1.add(a[p + lda], b)
        c2.add(a[p + 2 * lda], b)
        c3.add(a3[p], b)
        c4.add(a3[p + lda], b)
        c5.add(a3[p + 2 * lda], b)
        c6.add(a6[p], b)
        c7.add(a6[p + lda], b)
        c8.add(a6[p + 2 * lda], b)
        c9.add(a9[p], b)
        c10.add(a9[p + lda], b)
        c11.add(a9[p + 2 * lda], b)
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

/// 12 accumulators of the 16 AVX2 registers.
@inline(never)
private func tile6<C: Columns>(_: C.Type, _ a: Input, _ lda: Int, _ panel: Panel, _ c: Output, _ ldc: Int) {
    var c0 = C(c, panel)
    var c1 = C(c + ldc, panel)
    var c2 = C(c + 2 * ldc, panel)
    var c3 = C(c + 3 * ldc, panel)
    var c4 = C(c + 4 * ldc, panel)
    var c5 = C(c + 5 * ldc, panel)
    let a3 = a + 3 * lda
    for p in 0..<panel.depth {
        let b = C(panel, p)
        c0.add(a[p], b)
        c1.add(a[p + lda], b)
        c2.add(a[p + 2 * lda], b)
        c3.add(a3[p], b)
        c4.add(a3[p + lda], b)
        c5.add(a3[p + 2 * lda], b)
    }
    c0.write(c, panel)
    c1.write(c + ldc, panel)
    c2.write(c + 2 * ldc, panel)
    c3.write(c + 3 * ldc, panel)
    c4.write(c + 4 * ldc, panel)
    c5.write(c + 5 * ldc, panel)
}

@inline(never)
private func tile4<C: Columns>(_: C.Type, _ a: Input, _ lda: Int, _ panel: Panel, _ c: Output, _ ldc: Int) {
    var c0 = C(c, panel)
    var c1 = C(c + ldc, panel)
    var c2 = C(c + 2 * ldc, panel)
    var c3 = C(c + 3 * ldc, panel)
    for p in 0..<panel.depth {
        let b = C(panel, p)
        c0.add(a[p], b)
        c1.add(a[p + lda], b)
        c2.add(a[p + 2 * lda], b)
        c3.add(a[p + 3 * lda], b)
    }
    c0.write(c, panel)
    c1.write(c + ldc, panel)
    c2.write(c + 2 * ldc, panel)
    c3.write(c + 3 * ldc, panel)
}

@inline(never)
private func tile1<C: Columns>(_: C.Type, _ a: Input, _ panel: Panel, _ c: Output) {
    var c0 = C(c, panel)
    for p in 0..<panel.depth { c0.add(a[p], C(panel, p)) }
    c0.write(c, panel)
}
