import Checkpoint
import Kernels

/// A golden file of Tests/Fixtures: tensors by name and what the cases are.
public struct Fixture {
    private let file: SafetensorsFile
    public let cases: [JSONObject]

    public init(_ name: String) throws {
        let path = fixturesFolder + name + ".safetensors"
        file = try SafetensorsFile(MappedFile(path: path), name: name)
        guard case .array(let list) = try JSONValue(parsing: file.metadata["cases"] ?? "", name: name) else {
            throw MCMError(.format, "\(path): no cases")
        }
        cases = try list.map { try JSONObject($0, name: name) }
    }

    public func tensor(_ name: String) throws -> [Float] {
        try file.withElements(name) { elements in (0..<elements.count).map { elements[$0] } }
    }
}

public let repository = String(#filePath.dropLast("Tests/TestSupport/Fixtures.swift".count))
public let fixturesFolder = repository + "Tests/Fixtures/"

/// ||out - reference|| / ||reference||.
public func relativeError(_ out: [Float], _ reference: [Float]) -> Double {
    guard out.count == reference.count else { return .infinity }
    var difference = 0.0, norm = 0.0
    for (a, b) in zip(out, reference) {
        difference += (Double(a) - Double(b)) * (Double(a) - Double(b))
        norm += Double(b) * Double(b)
    }
    return norm == 0 ? difference.squareRoot() : (difference / norm).squareRoot()
}

/// torch.randn(count) of a fresh generator.
public func randn(_ count: Int, seed: UInt64) -> [Float] {
    var generator = Generator(seed: seed)
    return [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
        if let base = buffer.baseAddress { generator.normal(into: base, count: count) }
        initialized = count
    }
}
