/// x (n, h, w, k) times weight (k, m), plus bias (m) and `residual`: (n, h, w, m).
public func linear(
    _ x: Tensor, _ weight: PackedMatrix, bias: FloatBuffer?, residual: Tensor? = nil, in workspace: Workspace
) throws -> Tensor {
    try require(x.c == weight.k, "\(x.c) channels meet a linear layer of \(weight.k)")
    let out = try Tensor(x.n, x.h, x.w, weight.n, in: workspace)
    if let residual { try require(residual.shape == out.shape, "\(residual.shape) is added to \(out.shape)") }
    let tasks = ProductTasks(rows: x.n * x.pixels, columns: weight.n, threads: workspace.threads)
    let bias = bias.map { UnsafePointer($0.data) }
    parallelFor(tasks.count, threads: workspace.threads) { task in
        let (rows, columns) = tasks[task]
        startSums(out, rows: rows, columns: columns, bias: bias, residual: residual)
        addProduct(
            x.data + rows.lowerBound * x.c, lda: x.c, weight, k: weight.k, into: out, rows: rows, columns: columns)
    }
    return out
}
