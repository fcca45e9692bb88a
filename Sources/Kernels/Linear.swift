/// x (n, h, w, k) times weight (k, m), plus bias (m) and `residual`: (n, h, w, m).
public func linear(
    _ x: Tensor, _ weight: PackedMatrix, bias: FloatBuffer?, residual: Tensor? = nil, in workspace: Workspace
) throws -> Tensor {
    try require(x.c == weight.k, "\(x.c) channels meet a linear layer of \(weight.k)")
    let out = try Tensor(x.n, x.h, x.w, weight.n, in: workspace)
    if let residual { try require(residual.shape == out.shape, "\(residual.shape) is added to \(out.shape)") }
    let rows = x.n * x.pixels
    let block = taskRows(rows, threads: workspace.threads)
    parallelFor((rows + block - 1) / block, threads: workspace.threads) { task in
        let first = task * block
        let count = min(block, rows - first)
        startRows(out, first, count, bias: bias.map { UnsafePointer($0.data) }, residual: residual)
        gemm(
            rows: count, k: weight.k, n: weight.n, a: x.data + first * weight.k, lda: weight.k,
            panels: weight.panels, panelStride: weight.k * 16, c: out.data + first * weight.n, ldc: weight.n)
    }
    return out
}

/// Rows per task: `gemmRows`, or less where there would be too few tasks to share out.
func taskRows(_ rows: Int, threads: Int) -> Int {
    if threads == 1 { return gemmRows }
    let share = (rows + 2 * threads - 1) / (2 * threads)
    return min(gemmRows, max(12, (share + 5) / 6 * 6))
}

/// What the sums of `count` rows of `out`, from row `first` on, start with: bias + residual.
///   bias (c) or nil for zeros
func startRows(_ out: Tensor, _ first: Int, _ count: Int, bias: UnsafePointer<Float>?, residual: Tensor?) {
    let n = out.c
    for row in first..<(first + count) {
        let target = out.data + row * n
        switch (bias, residual) {
        case (let bias?, let residual?):
            let source = residual.data + row * n
            for j in 0..<n { target[j] = bias[j] + source[j] }
        case (let bias?, nil): target.update(from: bias, count: n)
        case (nil, let residual?): target.update(from: residual.data + row * n, count: n)
        case (nil, nil): target.update(repeating: 0, count: n)
        }
    }
}
