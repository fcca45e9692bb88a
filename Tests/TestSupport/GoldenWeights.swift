import Checkpoint
import Kernels

/// The weights that Tests/Fixtures/README.md defines, made instead of read.
public final class GoldenWeights: TensorSource {
    public init() {}

    public func contains(_ key: String) -> Bool { true }

    public func copy(_ key: String, shape: [Int], into target: UnsafeMutablePointer<Float>) throws {
        let count = shape.reduce(1, *)
        let r = randn(count, seed: UInt64(crc32(key)))
        let scale = 1 / Float(shape.dropFirst().reduce(1, *)).squareRoot()
        for i in 0..<count {
            target[i] =
                shape.count > 1
                ? r[i] * scale
                : key == "time_proj.weight"
                    ? r[i]
                    : key.hasSuffix(".weight")
                        ? 1 + Float(0.1) * r[i]
                        : 0.1 * r[i]
        }
    }

    public func finish() throws {}
}

private func crc32(_ text: String) -> UInt32 {
    var crc = ~UInt32(0)
    for byte in text.utf8 {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc >> 1 ^ (crc & 1 == 0 ? 0 : 0xEDB8_8320) }
    }
    return ~crc
}
