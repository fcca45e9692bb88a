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
    /// A tensor whose values are all finite.
    func parameter(_ name: String, _ shape: [Int]) throws -> FloatBuffer {
        let values = try read(name, shape)
        guard let bad = values.values.firstIndex(where: { !$0.isFinite }) else { return values }
        throw MCMError(
            .format, "tensor \"\(key(name))\" holds \(values.data[bad]) at element \(bad), expected finite numbers")
    }

    func linear(_ name: String, _ inputs: Int, _ outputs: Int) throws -> Linear {
        let layer = self[name]
        let weight = try layer.parameter("weight", [outputs, inputs])
        let packed = try PackedMatrix(k: inputs, n: outputs) { row, column in weight.data[column * inputs + row] }
        let bias = try layer.parameter("bias", [outputs])
        count(packed.bytes + bias.bytes)
        return Linear(weight: packed, bias: bias)
    }

    /// padding: rows and columns of zeros (before, after) the image; (1, 1) keeps a 3 x 3 convolution's size.
    func conv2D(
        _ name: String, _ inputs: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1,
        padding: (before: Int, after: Int)? = nil
    ) throws -> Conv2D {
        let layer = self[name]
        let padding = padding ?? (kernel / 2, kernel / 2)
        let conv = try Conv2D(
            weight: layer.parameter("weight", [outputs, inputs, kernel, kernel]),
            bias: layer.parameter("bias", [outputs]), inputs: inputs, outputs: outputs, kernel: kernel, stride: stride,
            padBefore: padding.before, padAfter: padding.after)
        count(conv.weight.bytes + (conv.bias?.bytes ?? 0))
        return conv
    }

    func groupNorm(_ name: String, _ channels: Int, groups: Int, epsilon: Double) throws -> GroupNorm {
        guard groups > 0, channels % groups == 0 else {
            throw MCMError(.format, "\"\(key(name))\": \(channels) channels do not divide into \(groups) groups")
        }
        let layer = self[name]
        let norm = try GroupNorm(
            groups: groups, epsilon: Float(epsilon), weight: layer.parameter("weight", [channels]),
            bias: layer.parameter("bias", [channels]))
        count(norm.weight.bytes + norm.bias.bytes)
        return norm
    }

    /// A row per number or class; nothing is packed.
    func table(_ name: String, _ rows: Int, _ width: Int) throws -> FloatBuffer {
        let values = try self[name].parameter("weight", [rows, width])
        count(values.bytes)
        return values
    }

    private func count(_ bytes: Int) { (source as? CountingSource)?.bytes += bytes }
}
