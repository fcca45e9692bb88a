import Checkpoint
import Kernels

/// Layers by the names of their parameters in the checkpoint.
extension Weights {
    /// A fully connected layer: a convolution of 1 x 1.
    func linear(_ name: String, _ inputs: Int, _ outputs: Int) throws -> Conv2D {
        try conv2D(name, inputs, outputs, shape: [outputs, inputs], kernel: 1, stride: 1, padding: (0, 0))
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
        padding: (before: Int, after: Int)
    ) throws -> Conv2D {
        let layer = self[name]
        let bias = try layer.read("bias", [outputs])
        var conv = try layer.withElements("weight", shape) {
            try Conv2D(
                weight: $0, bias: bias, inputs: inputs, outputs: outputs, kernel: kernel, stride: stride,
                padBefore: padding.before, padAfter: padding.after,
                rounds: rounds && $0.count >= Self.leastRounded && $0.gradient == nil, threads: threads, in: memory)
        }
        count(conv.weight.bytes + bias.bytes)
        (source as? CountingSource)?.squares.all += conv.weight.squares.all
        (source as? CountingSource)?.squares.error += conv.weight.squares.error
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

    /// A row per number or class; nothing is packed.
    func table(_ name: String, _ rows: Int, _ width: Int) throws -> FloatBuffer {
        let values = try self[name].read("weight", [rows, width])
        count(values.bytes)
        return values
    }

    private func count(_ bytes: Int) { (source as? CountingSource)?.bytes += bytes }
}
