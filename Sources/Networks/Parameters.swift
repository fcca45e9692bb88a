import Checkpoint
import Kernels

/// The parameters of a network that is trained: all of them in one flat buffer, in the order in which the network reads
/// them, and their gradients in another. As a source of tensors it makes layers that know where their gradients go.
public final class Parameters: TensorSource {
    public struct Entry: Sendable {
        public let key: String
        public let shape: [Int]
        public let range: Range<Int>  // in the flat buffers
    }

    /// At most: 1 GiB of floats.
    static let limit = 1 << 28

    public let entries: [Entry]
    private let places: [String: Int]
    public let values, gradients: FloatBuffer

    /// The parameters that `build` reads from `source`, as they are there.
    public init(from source: any TensorSource, _ build: (any TensorSource) throws -> Void) throws {
        let collector = Collector(source)
        try build(collector)
        entries = collector.entries
        places = Dictionary(entries.enumerated().map { ($1.key, $0) }, uniquingKeysWith: { first, _ in first })
        values = try FloatBuffer(count: collector.count)
        for (entry, elements) in zip(entries, collector.values) {
            (values.data + entry.range.lowerBound).update(from: elements.data, count: elements.count)
        }
        gradients = try FloatBuffer(count: values.count)
    }

    public var count: Int { values.count }

    public func contains(_ key: String) -> Bool { places[key] != nil }

    public func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        try withElements(of: values, gradients: gradients, key, shape: shape, body)
    }

    public func finish() throws {}

    /// The same parameters with other values, for a network that is not trained.
    ///   values  as many as there are here
    public func source(_ values: FloatBuffer) -> any TensorSource { View(parameters: self, values: values) }

    fileprivate func withElements<R>(
        of values: FloatBuffer, gradients: FloatBuffer?, _ key: String, shape: [Int],
        _ body: (StoredFloats) throws -> R
    ) throws -> R {
        guard let place = places[key], entries[place].shape == shape else {
            throw MCMError(.format, "parameter \"\(key)\" of shape \(shape) is missing")
        }
        let range = entries[place].range
        return try body(
            StoredFloats(
                .f32, values.data + range.lowerBound, count: range.count,
                gradient: gradients.map { $0.data + range.lowerBound }))
    }

    private final class View: TensorSource {
        let parameters: Parameters
        let values: FloatBuffer

        init(parameters: Parameters, values: FloatBuffer) { (self.parameters, self.values) = (parameters, values) }

        func contains(_ key: String) -> Bool { parameters.contains(key) }
        func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
            try parameters.withElements(of: values, gradients: nil, key, shape: shape, body)
        }
        func finish() throws {}
    }

    /// Copies what is read.
    private final class Collector: TensorSource {
        let source: any TensorSource
        var entries: [Entry] = []
        var values: [FloatBuffer] = []  // per entry; not one array, which ends the process where memory ends
        var count = 0

        init(_ source: any TensorSource) { self.source = source }

        func contains(_ key: String) -> Bool { source.contains(key) }
        func finish() throws { try source.finish() }
        func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
            guard let count = checkedProduct(shape), count <= Parameters.limit - self.count else {
                throw MCMError(
                    .unsupported,
                    "the network has more than \(Parameters.limit) parameters, expected at most those to train")
            }
            return try source.withElements(key, shape: shape) { elements in
                let result = try body(elements)
                let copy = try FloatBuffer(count: elements.count)
                elements.widen(into: copy.data)
                values.append(copy)
                let first = self.count
                self.count += elements.count
                entries.append(Entry(key: key, shape: shape, range: first..<self.count))
                return result
            }
        }
    }
}

/// Weights to begin training with. Kernels and matrices are uniform in +-1 / sqrt(inputs per output), as PyTorch's
/// layers begin, norms scale by 1, biases are 0, and so is the last convolution: a module that has not learned anything
/// changes nothing.
public final class InitialWeights: TensorSource {
    private var generator: Generator

    public init(seed: UInt64) { generator = Generator(seed: seed) }

    public func contains(_ key: String) -> Bool { true }
    public func finish() throws {}

    public func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        let values = try FloatBuffer(count: shape.reduce(1, *))
        if key == "time_proj.weight" && shape.count == 1 {
            // Fourier frequencies, which are not trained: 16 times normal, as in diffusers.
            generator.normal(into: values.data, count: values.count)
            for i in 0..<values.count { values.data[i] *= 16 }
        } else if shape.count > 1 && !key.hasPrefix("conv_out.") {
            let bound = 1 / Float(shape.dropFirst().reduce(1, *)).squareRoot()
            for i in 0..<values.count { values.data[i] = bound * (2 * generator.uniform() - 1) }
        } else if shape.count == 1 && key.hasSuffix(".weight") {
            values.data.update(repeating: 1, count: values.count)
        }
        return try body(StoredFloats(.f32, values.data, count: values.count))
    }
}
