/// FNV-1a, 64 bit (Fowler, Noll and Vo): tells things apart and finds damage. No protection from intent.
public struct Digest {
    public private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325
    private static let prime: UInt64 = 0x100_0000_01b3

    public init() {}

    public mutating func add(_ byte: UInt8) { value = (value ^ UInt64(byte)) &* Self.prime }

    /// By words of eight bytes, which is faster; bytes beyond the last whole word do not count.
    public mutating func add(words: UnsafeRawBufferPointer) {
        for i in stride(from: 0, to: words.count - 7, by: 8) {
            add(words.loadUnaligned(fromByteOffset: i, as: UInt64.self))
        }
    }

    /// Folded, since a product's high bits know nothing of its low ones, nor the other way round of the highest.
    public mutating func add(_ word: UInt64) {
        value = (value ^ word) &* Self.prime
        value ^= value >> 32
    }

    /// 16 hexadecimal digits.
    public var text: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
