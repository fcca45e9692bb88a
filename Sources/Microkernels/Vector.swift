import CShims

/// Sixteen floats: what every kernel is written for. One AVX-512 register, two of AVX2, four of NEON; the results are
/// the same bit for bit.
typealias V = SIMD16<Float>

typealias Input = UnsafePointer<Float>
typealias Output = UnsafeMutablePointer<Float>

@inline(always) func load(_ p: Input) -> V { UnsafeRawPointer(p).loadUnaligned(as: V.self) }
@inline(always) func store(_ v: V, _ p: Output) { UnsafeMutableRawPointer(p).storeBytes(of: v, as: V.self) }

/// The first `count` (1...16) of sixteen floats; the rest are zero, and not touched in memory.
@inline(always) func load(_ p: Input, _ count: Int) -> V {
    count >= 16 ? load(p) : shim_load(p, count)
}

@inline(always) func store(_ v: V, _ p: Output, _ count: Int) {
    if count >= 16 { store(v, p) } else { shim_store(v, p, count) }
}

/// a * b + c, rounded once.
@inline(always) func fma(_ a: V, _ b: V, _ c: V) -> V { shim_fma(a, b, c) }
@inline(always) func fma(_ a: V, _ b: Float, _ c: V) -> V { shim_fma(a, V(repeating: b), c) }

@inline(always) func max(_ a: V, _ b: V) -> V { shim_max(a, b) }

/// The sum of the lanes, always in the same order.
@inline(always) func sum(_ v: V) -> Float {
    let a = v.lowHalf + v.highHalf
    let b = a.lowHalf + a.highHalf
    let c = b.lowHalf + b.highHalf
    return c.x + c.y
}

/// e^x by range reduction and a polynomial of degree 6 (Cephes expf): relative error below 2e-7 for x in
/// [-87.3, 88.3]; outside, x is clamped to that range. NaN stays NaN.
@inline(always) func exp(_ x: V) -> V {
    var r = shim_clamp(x, -87.3, 88.3)
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    let magic: Float = 12_582_912
    let shifted = fma(r, 1.442_695_04, V(repeating: magic))
    let n = shifted - magic
    r = fma(n, -0.693_359_375, r)
    r = fma(n, 2.121_944_40e-4, r)
    var p = V(repeating: 1.987_569_15e-4)
    p = fma(p, r, V(repeating: 1.398_199_95e-3))
    p = fma(p, r, V(repeating: 8.333_451_9e-3))
    p = fma(p, r, V(repeating: 4.166_579_6e-2))
    p = fma(p, r, V(repeating: 1.666_666_55e-1))
    p = fma(p, r, V(repeating: 5.000_000_1e-1))
    p = fma(p, r * r, r) + 1
    return p * shim_power_of_2(shifted)
}

/// erf(x) as x P(x^2) / Q(x^2), the rational approximation that Eigen and XLA use: absolute error below 5e-7. NaN
/// stays NaN.
@inline(always) func erf(_ x: V) -> V {
    let r = shim_clamp(x, -4, 4)
    let s = r * r
    var p = V(repeating: -2.726_142_258_010_3e-10)
    p = fma(p, s, V(repeating: 2.770_681_424_959_02e-8))
    p = fma(p, s, V(repeating: -2.101_024_020_825_08e-6))
    p = fma(p, s, V(repeating: -5.692_506_394_623_46e-5))
    p = fma(p, s, V(repeating: -7.349_906_303_268_55e-4))
    p = fma(p, s, V(repeating: -2.954_599_808_540_25e-3))
    p = fma(p, s, V(repeating: -1.609_603_332_624_15e-2))
    var q = V(repeating: -1.456_607_184_649_96e-5)
    q = fma(q, s, V(repeating: -2.133_740_552_789_05e-4))
    q = fma(q, s, V(repeating: -1.682_826_974_382_03e-3))
    q = fma(q, s, V(repeating: -7.373_329_167_204_68e-3))
    q = fma(q, s, V(repeating: -1.426_473_905_141_89e-2))
    return r * p / q
}
