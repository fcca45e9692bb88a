import Checkpoint
import Kernels

/// The weights that Tests/Fixtures/README.md defines, made instead of read.
public final class GoldenWeights: TensorSource {
    public init() {}

    public func contains(_ key: String) -> Bool { true }

    public func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        try withStored(values(key, shape), as: .f32, body)
    }

    func values(_ key: String, _ shape: [Int]) -> [Float] {
        let scale = 1 / Float(shape.dropFirst().reduce(1, *)).squareRoot()
        return randn(shape.reduce(1, *), seed: UInt64(crc32(key))).map { r in
            shape.count > 1
                ? r * scale
                : key == "time_proj.weight"
                    ? r
                    : key.hasSuffix(".weight")
                        ? 1 + Float(0.1) * r
                        : 0.1 * r
        }
    }

    public func finish() throws {}
}

public func crc32(_ text: String) -> UInt32 {
    var crc = ~UInt32(0)
    for byte in text.utf8 {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc >> 1 ^ (crc & 1 == 0 ? 0 : 0xEDB8_8320) }
    }
    return ~crc
}
