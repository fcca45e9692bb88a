import Checkpoint
import Kernels

/// Layers by the names of their parameters in the checkpoint.
extension Weights {
    /// A fully connected layer: a convolution of 1 x 1.
    func linear(_ name: String, _ inputs: Int, _ outputs: Int, bias: Bool = true) throws -> Conv2D {
        try conv2D(
            name, inputs, outputs, shape: [outputs, inputs], kernel: 1, stride: 1, padding: (0, 0), hasBias: bias)
    }

    /// A fully connected layer whose outputs are two halves of `outputs` each, as two layers.
    func linearHalves(_ name: String, _ inputs: Int, _ outputs: Int) throws -> (Conv2D, Conv2D) {
        let layer = self[name]
        let bias = try layer.read("bias", [2 * outputs])
        return try layer.withElements("weight", [2 * outputs, inputs]) { weight in
            func half(_ i: Int) throws -> Conv2D {
                let elements = StoredFloats(
                    weight.element, weight.base + i * weight.count / 2 * weight.element.size, count: weight.count / 2)
                let conv = try Conv2D(
                    weight: elements, bias: FloatBuffer(Array(bias.values[(i * outputs)..<((i + 1) * outputs)])),
                    inputs: inputs, outputs: outputs, kernel: 1, padBefore: 0, padAfter: 0, rounds: isRounded(elements),
                    threads: threads, in: memory)
                count(conv.weight, bytes: bias.bytes / 2)
                return conv
            }
            return (try half(0), try half(1))
        }
    }

    /// padding: rows and columns of zeros (before, after) the image; (1, 1) keeps a 3 x 3 convolution's size.
    func conv2D(
        _ name: String, _ inputs: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1,
        padding: (before: Int, after: Int)? = nil
    ) throws -> Conv2D {
        try conv2D(
            name, inputs, outputs, shape: [outputs, inputs, kernel, kernel], kernel: kernel, stride: stride,
            padding: padding ?? (kernel / 2, kernel / 2))
    }

    /// shape: of the weight in the checkpoint.
    private func conv2D(
        _ name: String, _ inputs: Int, _ outputs: Int, shape: [Int], kernel: Int, stride: Int,
        padding: (before: Int, after: Int), hasBias: Bool = true
    ) throws -> Conv2D {
        let layer = self[name]
        let bias = hasBias ? try layer.read("bias", [outputs]) : nil
        var conv = try layer.withElements("weight", shape) {
            try Conv2D(
                weight: $0, bias: bias, inputs: inputs, outputs: outputs, kernel: kernel, stride: stride,
                padBefore: padding.before, padAfter: padding.after,
                rounds: isRounded($0), threads: threads, in: memory)
        }
        count(conv.weight, bytes: bias?.bytes ?? 0)
        if let counter = source as? CountingSource, counter.cacheBytes > 0 {
            let kept = conv.transformedBytes
            if kept > 0 && kept <= counter.cacheBytes - counter.cachedBytes {
                try conv.keepTransformed(threads: threads)
                counter.cachedBytes += kept
            }
        }
        return conv
    }

    /// Smaller matrices, such as the first and the last convolution, would save nothing and lose most.
    static let leastRounded = 1 << 16

    private func isRounded(_ elements: StoredFloats) -> Bool {
        rounds && elements.count >= Self.leastRounded && elements.gradient == nil
    }

    func groupNorm(_ name: String, _ channels: Int, groups: Int, epsilon: Double) throws -> GroupNorm {
        guard groups > 0, channels % groups == 0 else {
            throw MCMError(.format, "\"\(key(name))\": \(channels) channels do not divide into \(groups) groups")
        }
        let layer = self[name]
        let norm = try GroupNorm(
            groups: groups, epsilon: Float(epsilon), weight: layer.read("weight", [channels]),
            bias: layer.read("bias", [channels]))
        count(norm.weight.bytes + norm.bias.bytes)
        return norm
    }

    func layerNorm(_ name: String, _ channels: Int, epsilon: Double = 1e-5) throws -> LayerNorm {
        let layer = self[name]
        let norm = try LayerNorm(
            epsilon: Float(epsilon), weight: layer.read("weight", [channels]), bias: layer.read("bias", [channels]))
        count(norm.weight.bytes + norm.bias.bytes)
        return norm
    }

    /// A row per number or class; nothing is packed.
    func table(_ name: String, _ rows: Int, _ width: Int) throws -> FloatBuffer {
        let values = try self[name].read("weight", [rows, width])
        count(values.bytes)
        return values
    }

    /// bytes: of what is beside the matrix
    private func count(_ matrix: PackedMatrix, bytes: Int) {
        count(matrix.bytes + bytes)
        (source as? CountingSource)?.squares.all += matrix.squares.all
        (source as? CountingSource)?.squares.error += matrix.squares.error
    }

    private func count(_ bytes: Int) { (source as? CountingSource)?.bytes += bytes }
}
