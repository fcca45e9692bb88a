import Glibc

/// torch's CPU generator: mt19937 and the transforms of `torch.randn`, so that a seed gives the same image here as in
/// a PyTorch program. An explicit value: copying it copies its state.
public struct Generator: Sendable {
    private var twister: MersenneTwister
    /// The second value of the last pair of a draw below 16, which torch keeps for the next one.
    private var kept: Double?

    /// Only the low 32 bits of `seed` matter, as in torch.
    public init(seed: UInt64) {
        twister = MersenneTwister(seed: UInt32(truncatingIfNeeded: seed))
    }

    /// One draw of `torch.randn(count)`, into `values`.
    public mutating func normal(into values: UnsafeMutablePointer<Float>, count: Int) {
        if count >= 16 {
            for i in 0..<count { values[i] = uniform() }
            for i in stride(from: 0, through: count - 16, by: 16) { boxMuller16(values + i) }
            if count % 16 != 0 {
                // The last 16 are drawn afresh, overlapping the block before.
                let tail = values + count - 16
                for i in 0..<16 { tail[i] = uniform() }
                boxMuller16(tail)
            }
        } else {
            for i in 0..<count { values[i] = Float(normal()) }
        }
    }

    /// In [0, 1): 24 bits. One draw of `torch.rand(1)`.
    public mutating func uniform() -> Float {
        Float(twister.next() & 0xFF_FFFF) * 0x1p-24
    }

    /// In [0, 1): 53 bits.
    public mutating func uniform64() -> Double {
        let high = UInt64(twister.next())
        let low = UInt64(twister.next())
        return Double((high << 32 | low) & (1 << 53 - 1)) * 0x1p-53
    }

    /// A single value in double: the pair's second one serves the next call.
    private mutating func normal() -> Double {
        if let value = kept {
            kept = nil
            return value
        }
        let u1 = uniform64(), u2 = uniform64()
        let r = (-2 * log1p(-u2)).squareRoot()
        let theta = 2 * Double.pi * u1
        kept = r * sin(theta)
        return r * cos(theta)
    }
}

/// Box-Muller on 16 uniforms in place: pairs (j, j + 8).
private func boxMuller16(_ d: UnsafeMutablePointer<Float>) {
    for j in 0..<8 {
        let r = (-2 * cephesLog(1 - d[j])).squareRoot()
        let (sine, cosine) = cephesSinCos(Float(2 * Double.pi) * d[j + 8])
        // + 0, as torch adds the mean: turns -0 into 0.
        d[j] = r * cosine + 0
        d[j + 8] = r * sine + 0
    }
}

/// Logarithm of a positive float as in torch's AVX2 code (Cephes logf, each multiply-add rounded once).
private func cephesLog(_ x: Float) -> Float {
    let bits = max(x, Float.leastNormalMagnitude).bitPattern
    var e = Float(Int32(bits >> 23) - 0x7F) + 1
    var m = Float(bitPattern: bits & ~0x7F80_0000 | 0x3F00_0000)  // in [0.5, 1)
    if m < 0.707_106_781_186_547_524 {
        e -= 1
        m = m - 1 + m
    } else {
        m -= 1
    }
    let z = m * m
    var y: Float = 7.037_683_629_2e-2
    for p: Float in [
        -1.151_461_031_0e-1, 1.167_699_874_0e-1, -1.242_014_084_6e-1, 1.424_932_278_7e-1, -1.666_805_766_5e-1,
        2.000_071_476_5e-1, -2.499_999_399_3e-1, 3.333_333_117_4e-1,
    ] {
        y = p.addingProduct(y, m)
    }
    y = y * m
    y = (e * -2.121_944_40e-4).addingProduct(y, z)
    y = y.addingProduct(-z, 0.5)
    return (m + y).addingProduct(e, 0.693_359_375)
}

/// Sine and cosine of x >= 0 as in torch's AVX2 code (Cephes sinf and cosf, each multiply-add rounded once).
private func cephesSinCos(_ x: Float) -> (Float, Float) {
    // The octant, made even; the angle's distance from it.
    let octant = (Int32(x * 1.273_239_544_735_16) + 1) & ~1
    let y = Float(octant)
    var r = x.addingProduct(y, -0.785_156_25)
    r = r.addingProduct(y, -2.418_756_484_985_351_562_5e-4)
    r = r.addingProduct(y, -3.774_894_977_445_941_08e-8)
    let z = r * r

    var c: Float = 2.443_315_711_809_948e-5
    c = Float(-1.388_731_625_493_765e-3).addingProduct(c, z)
    c = Float(4.166_664_568_298_827e-2).addingProduct(c, z)
    c = c * z
    c = (z * -0.5).addingProduct(c, z) + 1

    var s: Float = -1.951_529_589_1e-4
    s = Float(8.332_160_873_6e-3).addingProduct(s, z)
    s = Float(-1.666_665_461_1e-1).addingProduct(s, z)
    s = s * z
    s = r.addingProduct(s, r)

    let swapped = octant & 2 != 0
    let sine = swapped ? c : s
    let cosine = swapped ? s : c
    return (octant & 4 != 0 ? -sine : sine, (octant &- 2) & 4 == 0 ? -cosine : cosine)
}

/// The generator of Matsumoto and Nishimura, 1998.
struct MersenneTwister: Sendable {
    private var state: [UInt32]
    private var index = 624

    init(seed: UInt32) {
        state = [seed]
        state.reserveCapacity(624)
        for i in 1..<624 {
            let last = state[i - 1]
            state.append(1_812_433_253 &* (last ^ last >> 30) &+ UInt32(i))
        }
    }

    mutating func next() -> UInt32 {
        if index == 624 { refill() }
        var y = state[index]
        index += 1
        y ^= y >> 11
        y ^= y << 7 & 0x9D2C_5680
        y ^= y << 15 & 0xEFC6_0000
        return y ^ y >> 18
    }

    private mutating func refill() {
        for i in 0..<624 {
            let y = state[i] & 0x8000_0000 | state[(i + 1) % 624] & 0x7FFF_FFFF
            state[i] = state[(i + 397) % 624] ^ y >> 1 ^ (y & 1 == 0 ? 0 : 0x9908_B0DF)
        }
        index = 0
    }
}
