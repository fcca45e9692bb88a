/// Eight floats: the width that every vectorised kernel is written for (one AVX2 register).
typealias V8 = SIMD8<Float>

@inline(__always) func load(_ p: UnsafePointer<Float>) -> V8 { UnsafeRawPointer(p).loadUnaligned(as: V8.self) }
@inline(__always) func store(_ v: V8, _ p: UnsafeMutablePointer<Float>) {
    UnsafeMutableRawPointer(p).storeBytes(of: v, as: V8.self)
}

/// a * b + c, rounded once.
@inline(__always) func fma(_ a: V8, _ b: V8, _ c: V8) -> V8 { c.addingProduct(a, b) }

/// Applies `body` to `count` floats in eights; the last, partial eight is padded with zeros, so that an element's
/// result does not depend on where it stands.
@inline(__always)
func mapVectors(
    _ input: UnsafePointer<Float>, _ output: UnsafeMutablePointer<Float>, _ count: Int, _ body: (V8) -> V8
) {
    var i = 0
    while i + 8 <= count {
        store(body(load(input + i)), output + i)
        i += 8
    }
    if i < count {
        var tail = V8()
        for j in 0..<(count - i) { tail[j] = input[i + j] }
        tail = body(tail)
        for j in 0..<(count - i) { output[i + j] = tail[j] }
    }
}

/// e^x by range reduction and a polynomial of degree 6 (Cephes expf): relative error below 2e-7 for x in
/// [-87.3, 88.3]; outside, x is clamped to that range. NaN stays NaN.
@inline(__always) func exp(_ x: V8) -> V8 {
    // Comparisons with NaN are false, so a NaN passes both.
    var r = x.replacing(with: -87.3, where: x .< -87.3)
    r.replace(with: 88.3, where: r .> 88.3)
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    let magic: Float = 12_582_912
    let shifted = fma(r, V8(repeating: 1.442_695_04), V8(repeating: magic))
    let n = shifted - magic
    r = fma(n, V8(repeating: -0.693_359_375), r)
    r = fma(n, V8(repeating: 2.121_944_40e-4), r)
    var p = V8(repeating: 1.987_569_15e-4)
    p = fma(p, r, V8(repeating: 1.398_199_95e-3))
    p = fma(p, r, V8(repeating: 8.333_451_9e-3))
    p = fma(p, r, V8(repeating: 4.166_579_6e-2))
    p = fma(p, r, V8(repeating: 1.666_666_55e-1))
    p = fma(p, r, V8(repeating: 5.000_000_1e-1))
    p = fma(p, r * r, r) + 1
    // 2^n through the exponent field.
    let power = unsafeBitCast((unsafeBitCast(shifted, to: SIMD8<Int32>.self) &+ 127) &<< 23, to: V8.self)
    return p * power
}

/// The sum of the lanes, always in the same order.
@inline(__always) func sum(_ v: V8) -> Float {
    let a = v.lowHalf + v.highHalf
    let b = a.lowHalf + a.highHalf
    return b.x + b.y
}
