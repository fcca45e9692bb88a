import Checkpoint
import Kernels

/// A fully connected layer.
struct Linear: Sendable {
    let weight: PackedMatrix  // (inputs, outputs)
    let bias: FloatBuffer?  // (outputs)

    /// x (n, h, w, inputs) to (n, h, w, outputs), plus `residual` of that shape.
    func callAsFunction(_ x: Tensor, residual: Tensor? = nil, in workspace: Workspace) throws -> Tensor {
        try linear(x, weight, bias: bias, residual: residual, in: workspace)
    }
}

/// Layers by the names of their parameters in the checkpoint.
extension Weights {
    func linear(_ name: String, _ inputs: Int, _ outputs: Int) throws -> Linear {
        let layer = self[name]
        let weight = try layer.withElements("weight", [outputs, inputs]) {
            try PackedMatrix($0, n: outputs, inputs: inputs, taps: 1, threads: threads, in: memory)
        }
        let bias = try layer.read("bias", [outputs])
        count(weight.bytes + bias.bytes)
        return Linear(weight: weight, bias: bias)
    }

    /// padding: rows and columns of zeros (before, after) the image; (1, 1) keeps a 3 x 3 convolution's size.
    func conv2D(
        _ name: String, _ inputs: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1,
        padding: (before: Int, after: Int)? = nil
    ) throws -> Conv2D {
        let layer = self[name]
        let padding = padding ?? (kernel / 2, kernel / 2)
        let bias = try layer.read("bias", [outputs])
        var conv = try layer.withElements("weight", [outputs, inputs, kernel, kernel]) {
            try Conv2D(
                weight: $0, bias: bias, inputs: inputs, outputs: outputs, kernel: kernel, stride: stride,
                padBefore: padding.before, padAfter: padding.after, threads: threads, in: memory)
        }
        count(conv.weight.bytes + bias.bytes)
        if let counter = source as? CountingSource, counter.cacheBytes > 0 {
            let kept = conv.transformedBytes
            if kept > 0 && kept <= counter.cacheBytes - counter.cachedBytes {
                try conv.keepTransformed(threads: threads)
                counter.cachedBytes += kept
            }
        }
        return conv
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

    /// A row per number or class; nothing is packed.
    func table(_ name: String, _ rows: Int, _ width: Int) throws -> FloatBuffer {
        let values = try self[name].read("weight", [rows, width])
        count(values.bytes)
        return values
    }

    private func count(_ bytes: Int) { (source as? CountingSource)?.bytes += bytes }
}
