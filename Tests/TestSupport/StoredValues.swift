import Kernels

/// The nearest values that an element of this type holds; ties to even.
public func rounded(_ values: [Float], to element: PanelElement) -> [Float] {
    switch element {
    case .f32: values
    case .f16: values.map { Float(Float16($0)) }
    case .bf16: values.map { Float(bitPattern: brainBits($0) << 16) }
    case .i8: values.map { max(-127, min(127, $0.rounded(.toNearestOrEven))) }
    }
}

/// Lends values as a file stores them, rounded, at an odd address.
public func withStored<R>(
    _ values: [Float], as element: PanelElement, _ body: (StoredFloats) throws -> R
) rethrows -> R {
    var bytes: [UInt8] = [0xff]
    for value in values {
        let bits: UInt32 =
            switch element {
            case .f32: value.bitPattern
            case .f16: UInt32(Float16(value).bitPattern)
            case .bf16: brainBits(value)
            case .i8: UInt32(UInt8(bitPattern: Int8(max(-127, min(127, value.rounded(.toNearestOrEven))))))
            }
        withUnsafeBytes(of: bits.littleEndian) { bytes += $0.prefix(element.size) }
    }
    return try bytes.withUnsafeBytes { bytes in
        let odd = bytes.baseAddress! + 1
        return try body(StoredFloats(element, odd, count: values.count))
    }
}

private func brainBits(_ value: Float) -> UInt32 {
    let bits = value.bitPattern
    // Rounding must not carry a NaN into another number.
    return value.isNaN ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16
}
