/// A layer normalisation's parameters.
public struct LayerNorm: Sendable {
    public let epsilon: Float
    public let weight, bias: FloatBuffer  // (channels)

    public init(epsilon: Float, weight: FloatBuffer, bias: FloatBuffer) {
        self.epsilon = epsilon
        (self.weight, self.bias) = (weight, bias)
    }
}

/// Each pixel, or token, normalised over its channels: (x - mean) / std * weight + bias. Not for a tape.
///   x  (n, h, w, c)
public func layerNorm(_ x: Tensor, _ norm: LayerNorm, in workspace: Workspace) throws -> Tensor {
    try require(
        x.c == norm.weight.count && x.c == norm.bias.count, "\(x.c) channels meet a layer norm of \(norm.weight.count)")
    let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
    let rows = x.n * x.pixels, block = max(1, (1 << 14) / max(1, x.c))
    parallelFor((rows + block - 1) / block, threads: workspace.threads) { task in
        let first = task * block
        layerNorm(
            x.data + first * x.c, rows: min(block, rows - first), channels: x.c, weight: norm.weight.data,
            bias: norm.bias.data, epsilon: norm.epsilon, into: out.data + first * x.c)
    }
    return out
}
