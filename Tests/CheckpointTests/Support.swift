import Glibc
import Testing

@testable import Checkpoint
@testable import Kernels

/// A safetensors file with this header text and these bytes of tensors.
func safetensors(_ header: String, data: Int = 0) -> [UInt8] {
    safetensors(Array(header.utf8), data: [UInt8](repeating: 0, count: data))
}

func safetensors(_ header: [UInt8], data: [UInt8]) -> [UInt8] {
    withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header + data
}

func withFile<R>(_ bytes: [UInt8], _ body: (SafetensorsFile) throws -> R) throws -> R {
    try bytes.withUnsafeBytes { try body(SafetensorsFile(MemoryFile(borrowing: $0), name: "file")) }
}

/// All elements of a tensor.
func values(_ file: SafetensorsFile, _ name: String) throws -> [Float] {
    try file.withElements(name) { elements in
        try #require(elements.count == file.info(name)?.count)
        let result = [Float](unsafeUninitializedCapacity: elements.count) { buffer, initialized in
            if let base = buffer.baseAddress { elements.widen(into: base) }
            initialized = elements.count
        }
        // One by one, elements are what they are together.
        #expect(result.indices.allSatisfy { result[$0].bitPattern == elements[$0].bitPattern || result[$0].isNaN })
        return result
    }
}

/// A copy of the buffer's floats.
func floats(_ buffer: FloatBuffer) -> [Float] {
    withExtendedLifetime(buffer) { Array($0.values) }
}
