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

/// Expects `body` to throw an MCMError of this kind whose one line contains `text`.
func expectFailure<R>(
    _ kind: MCMError.Kind, _ text: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> R
) {
    do {
        _ = try body()
        Issue.record("did not throw, expected: \(text)", sourceLocation: sourceLocation)
    } catch let error as MCMError {
        #expect(error.kind == kind, "\(error)", sourceLocation: sourceLocation)
        #expect(error.message.contains(text), "\(error)", sourceLocation: sourceLocation)
        #expect(!error.message.contains("\n"), sourceLocation: sourceLocation)
    } catch {
        Issue.record("threw \(error)", sourceLocation: sourceLocation)
    }
}

/// A folder that goes away with the object. Files are at most one level deep.
final class TemporaryFolder {
    let path: String
    private var made: [String] = []

    init() throws {
        var template = Array("/tmp/mcm-test-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    func add(_ name: String, _ bytes: [UInt8]) throws {
        if let slash = name.firstIndex(of: "/") {
            let folder = "\(path)/\(name[..<slash])"
            if mkdir(folder, 0o777) == 0 { made.insert(folder, at: 0) }
        }
        try writeAtomically(to: "\(path)/\(name)") { write in try bytes.withUnsafeBytes(write) }
        made.insert("\(path)/\(name)", at: 0)
    }

    func add(_ name: String, _ text: String) throws { try add(name, Array(text.utf8)) }

    deinit {
        for file in made where unlink(file) != 0 { rmdir(file) }
        rmdir(path)
    }
}

/// A copy of the buffer's floats.
func floats(_ buffer: FloatBuffer) -> [Float] {
    withExtendedLifetime(buffer) { Array($0.values) }
}
