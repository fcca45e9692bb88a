/// One term of a weighted sum: `count` floats, each times the weight.
struct Term {
    let weight: Float
    let values: UnsafePointer<Float>

    init(_ weight: Float, _ values: UnsafePointer<Float>) { (self.weight, self.values) = (weight, values) }
    init(_ weight: Float, _ values: UnsafeMutablePointer<Float>) { self.init(weight, UnsafePointer(values)) }
}

/// out = sum_i w_i x_i, added in the order of the terms: what is left of a scheduler's step when its scalars are known.
///   out   `count` floats; may be one of the terms, since each element is read before it is written
func weightedSum(_ terms: [Term], count: Int, into out: UnsafeMutablePointer<Float>) {
    typealias Lanes = SIMD16<Float>
    terms.withUnsafeBufferPointer { terms in
        guard let first = terms.first else { return }
        var i = 0
        while i + Lanes.scalarCount <= count {
            var sum = first.weight * UnsafeRawPointer(first.values + i).loadUnaligned(as: Lanes.self)
            for term in terms.dropFirst() {
                sum += term.weight * UnsafeRawPointer(term.values + i).loadUnaligned(as: Lanes.self)
            }
            UnsafeMutableRawPointer(out + i).storeBytes(of: sum, as: Lanes.self)
            i += Lanes.scalarCount
        }
        while i < count {
            var sum = first.weight * first.values[i]
            for term in terms.dropFirst() { sum += term.weight * term.values[i] }
            out[i] = sum
            i += 1
        }
    }
}
