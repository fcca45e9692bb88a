/// Scaled dot-product attention: softmax(q k^T / sqrt(d)) v for every image and head.
///   q        (n, h, w, heads * d), pixels are the tokens
///   k, v     (n, tokens as h x w, heads * d)
///   returns  q's shape
///
/// Works through blocks of queries: a block's scores exist, (rows, tokens), the whole matrix never does.
public func attention(_ q: Tensor, _ k: Tensor, _ v: Tensor, heads: Int, in workspace: Workspace) throws -> Tensor {
    try require(heads > 0 && q.c % heads == 0, "\(q.c) channels are divided among \(heads) heads")
    try require(
        k.shape == v.shape && k.n == q.n && k.c == q.c && q.pixels > 0,
        "queries \(q.shape) meet keys \(k.shape) and values \(v.shape)")
    let d = q.c / heads
    let tokens = k.pixels
    let padded = (tokens + 15) / 16 * 16
    let depth = (d + 15) / 16 * 16
    let scale = 1 / Float(d).squareRoot()

    // Panels of k^T, (tokens / 16, d, 16), and of v, (d / 16, tokens, 16), of each image and head.
    let keys = try Tensor(q.n, heads, padded, d, in: workspace)
    let values = try Tensor(q.n, heads, depth, tokens, in: workspace)
    parallelFor(q.n * heads, threads: workspace.threads) { task in
        let source = task / heads * tokens * k.c + task % heads * d
        let keyPanels = keys.data + task * padded * d
        let valuePanels = values.data + task * depth * tokens
        keyPanels.update(repeating: 0, count: padded * d)
        valuePanels.update(repeating: 0, count: depth * tokens)
        for t in 0..<tokens {
            let key = k.data + source + t * k.c
            let value = v.data + source + t * v.c
            let keyColumn = keyPanels + t / 16 * (16 * d) + t % 16
            for j in 0..<d { keyColumn[j * 16] = key[j] * scale }
            for j in 0..<d { valuePanels[(j / 16 * tokens + t) * 16 + j % 16] = value[j] }
        }
    }

    let out = try Tensor(q.n, q.h, q.w, q.c, in: workspace)
    let block = min(48, q.pixels)
    let blocks = (q.pixels + block - 1) / block
    let scores = try Tensor(workspace.threads, 1, block, padded, in: workspace)
    parallelFor(q.n * heads * blocks, threads: workspace.threads) { task, thread in
        let s = scores.data + thread * block * padded
        let head = task / blocks  // image * heads + head
        let first = task % blocks * block
        let rows = min(block, q.pixels - first)
        let offset = (head / heads * q.pixels + first) * q.c + head % heads * d
        s.update(repeating: 0, count: rows * padded)
        gemm(
            rows: rows, k: d, n: padded, a: q.data + offset, lda: q.c, panels: keys.data + head * padded * d,
            panelStride: 16 * d, c: s, ldc: padded)
        for row in 0..<rows {
            softmax(s + row * padded, tokens)
            (out.data + offset + row * q.c).update(repeating: 0, count: d)
        }
        gemm(
            rows: rows, k: tokens, n: d, a: s, lda: padded, panels: values.data + head * depth * tokens,
            panelStride: 16 * tokens, c: out.data + offset, ldc: q.c)
    }
    return out
}

/// Softmax of one row in place.
func softmax(_ row: UnsafeMutablePointer<Float>, _ count: Int) {
    var largest = -Float.infinity
    for j in 0..<count where row[j] > largest { largest = row[j] }
    mapVectors(row, row, count) { exp($0 - largest) }
    var total = V8()
    var j = 0
    while j + 8 <= count {
        total += load(row + j)
        j += 8
    }
    var rest: Float = 0
    while j < count {
        rest += row[j]
        j += 1
    }
    let inverse = 1 / (sum(total) + rest)
    mapVectors(row, row, count) { $0 * inverse }
}
