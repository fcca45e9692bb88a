import Microkernels

/// GEGLU (Shazeer 2020), value(x) * gelu(gate(x)), where both are linear layers: (n, h, w, outputs). Their results
/// exist for one block at a time. Not for a tape.
///   x            (n, h, w, inputs)
///   value, gate  convolutions of 1 x 1
public func geglu(_ x: Tensor, value: Conv2D, gate: Conv2D, in workspace: Workspace) throws -> Tensor {
    for layer in [value, gate] {
        try require(
            layer.kernel == 1 && layer.inputs == x.c && layer.outputs == value.outputs,
            "\(x.c) channels meet a gated layer of \(layer.inputs) x \(layer.outputs)")
    }
    let out = try Tensor(x.n, x.h, x.w, value.outputs, in: workspace)
    let tasks = ProductTasks(rows: x.n * x.pixels, columns: out.c, threads: workspace.threads)
    // Columns in passes of 256: both blocks of 96 x 256 floats stay in the L2 cache.
    let width = 256, size = tasks.rowBlock * width
    let scratch = try Tensor(workspace.threads, 1, 2, size, in: workspace)
    parallelFor(tasks.count, threads: workspace.threads) { task, thread in
        let (rows, columns) = tasks[task]
        let values = scratch.data + thread * 2 * size, gates = values + size
        for first in stride(from: columns.lowerBound, to: columns.upperBound, by: width) {
            let count = min(width, columns.upperBound - first)
            for (layer, sums) in [(value, values), (gate, gates)] {
                for row in 0..<rows.count {
                    if let bias = layer.bias {
                        (sums + row * count).update(from: bias.data + first, count: count)
                    } else {
                        (sums + row * count).update(repeating: 0, count: count)
                    }
                }
                gemm(
                    rows: rows.count, k: x.c, n: count, a: x.data + rows.lowerBound * x.c, lda: x.c,
                    b: layer.weight.panels + first * layer.weight.k * layer.weight.element.size,
                    element: layer.weight.element, scales: layer.weight.scales.map { $0.data + first },
                    panelStride: layer.weight.k * 16, c: sums, ldc: count, accumulate: true)
            }
            for row in 0..<rows.count {
                multiplyGELU(
                    values + row * count, gates + row * count,
                    into: out.data + (rows.lowerBound + row) * out.c + first, count: count)
            }
        }
    }
    return out
}
