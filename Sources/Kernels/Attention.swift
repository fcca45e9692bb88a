import Microkernels

/// Scaled dot-product attention: softmax(q k^T / sqrt(d)) v for every image and head.
///   q        (n, h, w, heads * d), pixels are the tokens
///   k, v     (n, tokens as h x w, heads * d)
///   returns  q's shape
///
/// Works through blocks of queries and of keys with an online softmax (Dao et al., FlashAttention, 2022): the scores of
/// one block by one block exist at a time.
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
        if padded != tokens { (keyPanels + (padded - 16) * d).update(repeating: 0, count: 16 * d) }
        if depth != d { valuePanels.update(repeating: 0, count: depth * tokens) }
        for t in 0..<tokens {
            let key = k.data + source + t * k.c
            let keyColumn = keyPanels + t / 16 * (16 * d) + t % 16
            for j in 0..<d { keyColumn[j * 16] = key[j] * scale }
            let value = v.data + source + t * v.c
            for j in stride(from: 0, to: d, by: 16) {
                (valuePanels + (j / 16 * tokens + t) * 16).update(from: value + j, count: min(16, d - j))
            }
        }
    }

    let out = try Tensor(q.n, q.h, q.w, q.c, in: workspace)
    let queryBlock = min(48, q.pixels)  // rows of scores, 48 x 256 floats: beside keys and values in the L2 cache
    let keyBlock = min(256, padded)
    let blocks = (q.pixels + queryBlock - 1) / queryBlock
    let scratch = try Tensor(workspace.threads, 1, queryBlock, keyBlock + 2, in: workspace)
    parallelFor(q.n * heads * blocks, threads: workspace.threads) { task, thread in
        let scores = scratch.data + thread * queryBlock * (keyBlock + 2)
        let largest = scores + queryBlock * keyBlock, totals = largest + queryBlock
        let head = task / blocks  // image * heads + head
        let first = task % blocks * queryBlock
        let rows = min(queryBlock, q.pixels - first)
        let offset = (head / heads * q.pixels + first) * q.c + head % heads * d
        for row in 0..<rows { (largest[row], totals[row]) = (-.infinity, 0) }
        for t in stride(from: 0, to: tokens, by: keyBlock) {
            let count = min(keyBlock, tokens - t)
            gemm(
                rows: rows, k: d, n: (count + 15) / 16 * 16, a: q.data + offset, lda: q.c,
                b: keys.data + (head * padded + t) * d, panelStride: 16 * d, c: scores, ldc: keyBlock,
                accumulate: false)
            for row in 0..<rows {
                let factor = softmaxBlock(
                    scores + row * keyBlock, count: count, largest: &largest[row], total: &totals[row])
                if t > 0 && factor != 1 {
                    let sums = out.data + offset + row * q.c
                    for j in 0..<d { sums[j] *= factor }
                }
            }
            gemm(
                rows: rows, k: count, n: d, a: scores, lda: keyBlock,
                b: values.data + head * depth * tokens + t * 16, panelStride: 16 * tokens, c: out.data + offset,
                ldc: q.c, accumulate: t > 0)
        }
        for row in 0..<rows {
            let sums = out.data + offset + row * q.c
            let inverse = 1 / totals[row]
            for j in 0..<d { sums[j] *= inverse }
        }
    }
    return out
}
