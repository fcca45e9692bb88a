import Microkernels

/// The keys and values that queries attend to, packed for `attention`. They may be kept: a text is the same in all steps.
public struct KeysAndValues {
    let n, tokens, heads, d: Int
    /// Panels of k^T / sqrt(d), (tokens / 16, d, 16), and of v, (d / 16, tokens, 16), of each image and head.
    let keys, values: Tensor

    /// k, v  (n, tokens as h x w, heads * d)
    public init(_ k: Tensor, _ v: Tensor, heads: Int, in workspace: Workspace) throws {
        try require(heads > 0 && k.c % heads == 0, "\(k.c) channels are divided among \(heads) heads")
        try require(k.shape == v.shape && k.pixels > 0, "keys \(k.shape) have values \(v.shape)")
        let d = k.c / heads, tokens = k.pixels
        let padded = (tokens + 15) / 16 * 16
        let depth = (d + 15) / 16 * 16
        let scale = 1 / Float(d).squareRoot()
        let keys = try Tensor(k.n, heads, padded, d, in: workspace)
        let values = try Tensor(k.n, heads, depth, tokens, in: workspace)
        parallelFor(k.n * heads, threads: workspace.threads) { task in
            let source = task / heads * tokens * k.c + task % heads * d
            let keyPanels = keys.data + task * padded * d
            let valuePanels = values.data + task * depth * tokens
            packColumns(k.data + source, rows: tokens, columns: d, stride: k.c, scale: scale, into: keyPanels)
            packPanels(v.data + source, rows: tokens, columns: d, stride: v.c, into: valuePanels)
        }
        (n, self.tokens, self.heads, self.d) = (k.n, tokens, heads, d)
        (self.keys, self.values) = (keys, values)
    }
}

/// Scaled dot-product attention: softmax(q k^T / sqrt(d)) v for every image and head.
///   q        (n, h, w, heads * d), pixels are the tokens
///   k, v     (n, tokens as h x w, heads * d)
///   returns  q's shape
public func attention(_ q: Tensor, _ k: Tensor, _ v: Tensor, heads: Int, in workspace: Workspace) throws -> Tensor {
    let out = try attention(q, KeysAndValues(k, v, heads: heads, in: workspace), in: workspace)
    workspace.tape?.record(out) { gradient, tape, workspace in
        try attentionBackward(q, k, v, out, gradient, heads: heads, tape, in: workspace)
    }
    return out
}

/// The same with keys and values that are packed already. Not for a tape.
///   isCausal  a query attends to the keys up to its own place only
///
/// Works through blocks of queries and of keys with an online softmax (Dao et al., FlashAttention, 2022): the scores of
/// one block by one block exist at a time.
public func attention(
    _ q: Tensor, _ packed: KeysAndValues, isCausal: Bool = false, in workspace: Workspace
) throws -> Tensor {
    let tokens = packed.tokens, heads = packed.heads, d = packed.d
    try require(
        packed.n == q.n && q.c == heads * d && q.pixels > 0,
        "queries \(q.shape) meet \(packed.n) x \(tokens) keys of \(heads) x \(d) channels")
    try require(!isCausal || q.pixels == tokens, "\(q.pixels) queries meet \(tokens) keys one after the other")
    let keys = packed.keys, values = packed.values
    let padded = keys.w, depth = values.w

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
        for t in stride(from: 0, to: isCausal ? first + rows : tokens, by: keyBlock) {
            let count = min(keyBlock, tokens - t)
            gemm(
                rows: rows, k: d, n: (count + 15) / 16 * 16, a: q.data + offset, lda: q.c,
                b: keys.data + (head * padded + t) * d, panelStride: 16 * d, c: scores, ldc: keyBlock,
                accumulate: false)
            for row in 0..<rows {
                let row0 = scores + row * keyBlock
                let seen = isCausal ? max(0, min(count, first + row + 1 - t)) : count
                let factor = softmaxBlock(row0, count: seen, largest: &largest[row], total: &totals[row])
                if seen < count { (row0 + seen).update(repeating: 0, count: count - seen) }
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

/// With P = softmax(scale q k^T) and O = P v (Dao et al. 2022, appendix B.2):
///
///     dv = P^T dO    dS = P * (dO v^T - rowsum(dO * O))    dq = scale dS k    dk = scale dS^T q
///
/// P is computed again, for a block of queries and all keys at a time.
///   out, gradient  (n, h, w, heads * d)
private func attentionBackward(
    _ q: Tensor, _ k: Tensor, _ v: Tensor, _ out: Tensor, _ gradient: Tensor, heads: Int, _ tape: Tape,
    in workspace: Workspace
) throws {
    let d = q.c / heads, tokens = k.pixels
    let scale = 1 / Float(d).squareRoot()
    let padded = (tokens + 47) / 48 * 48  // whole panels, and whole tiles of the transposed product
    let depth = (d + 15) / 16 * 16
    let block = min(48, q.pixels)

    let dq = try Tensor(q.n, q.h, q.w, q.c, in: workspace)
    let dk = try Tensor(k.n, k.h, k.w, k.c, in: workspace)
    let dv = try Tensor(v.n, v.h, v.w, v.c, in: workspace)
    // Per thread: k^T and v^T in panels, k in panels; dk and dv; scores and their gradients; two blocks in panels.
    let sizes = [padded * d, padded * d, tokens * depth, padded * depth, padded * depth]
    let blockSizes = [block * padded, block * padded, block * depth, block * depth]
    let scratch = try Tensor(workspace.threads, 1, 1, (sizes + blockSizes).reduce(0, +), in: workspace)
    parallelFor(q.n * heads, threads: workspace.threads) { task, thread in
        let keys = scratch.data + thread * scratch.stride, values = keys + sizes[0]
        let keyRows = values + sizes[1], keySums = keyRows + sizes[2], valueSums = keySums + sizes[3]
        let scores = valueSums + sizes[4], slopes = scores + blockSizes[0]
        let queryPanels = slopes + blockSizes[1], gradientPanels = queryPanels + blockSizes[2]
        let source = task / heads * tokens * k.c + task % heads * d
        packColumns(k.data + source, rows: tokens, columns: d, stride: k.c, scale: scale, into: keys)
        packColumns(v.data + source, rows: tokens, columns: d, stride: v.c, scale: 1, into: values)
        packPanels(k.data + source, rows: tokens, columns: d, stride: k.c, into: keyRows)

        for first in stride(from: 0, to: q.pixels, by: block) {
            let rows = min(block, q.pixels - first)
            let offset = (task / heads * q.pixels + first) * q.c + task % heads * d
            let columns = (tokens + 15) / 16 * 16
            gemm(
                rows: rows, k: d, n: columns, a: q.data + offset, lda: q.c, b: keys, panelStride: 16 * d, c: scores,
                ldc: padded, accumulate: false)
            gemm(
                rows: rows, k: d, n: columns, a: gradient.data + offset, lda: q.c, b: values, panelStride: 16 * d,
                c: slopes, ldc: padded, accumulate: false)
            for row in 0..<rows {
                let p = scores + row * padded, s = slopes + row * padded
                var largest = -Float.infinity, total: Float = 0
                _ = softmaxBlock(p, count: tokens, largest: &largest, total: &total)
                let inverse = 1 / total
                var dot: Float = 0
                for j in 0..<d {
                    let i = offset + row * q.c + j
                    dot += out.data[i] * gradient.data[i]
                }
                for t in 0..<tokens {
                    p[t] *= inverse
                    s[t] = p[t] * (s[t] - dot)
                }
            }
            packPanels(gradient.data + offset, rows: rows, columns: d, stride: q.c, into: gradientPanels)
            packPanels(q.data + offset, rows: rows, columns: d, stride: q.c, into: queryPanels)
            for (a, b, sums) in [(scores, gradientPanels, valueSums), (slopes, queryPanels, keySums)] {
                gemmTransposed(
                    rows: (tokens + 11) / 12 * 12, k: rows, n: depth, a: a, lda: padded, b: b, panelStride: 16 * rows,
                    c: sums, ldc: depth, accumulate: first > 0)
            }
            gemm(
                rows: rows, k: tokens, n: d, a: slopes, lda: padded, b: keyRows, panelStride: 16 * tokens,
                c: dq.data + offset, ldc: q.c, accumulate: false)
            for row in 0..<rows {
                let target = dq.data + offset + row * q.c
                for j in 0..<d { target[j] *= scale }
            }
        }
        for t in 0..<tokens {
            for j in 0..<d {
                dk.data[source + t * k.c + j] = scale * keySums[t * depth + j]
                dv.data[source + t * v.c + j] = valueSums[t * depth + j]
            }
        }
    }
    try tape.add(dq, to: q, in: workspace)
    try tape.add(dk, to: k, in: workspace)
    try tape.add(dv, to: v, in: workspace)
}

/// The transpose of x (rows, columns), scaled, in panels of 16 of its columns: [rows / 16][columns][16].
private func packColumns(
    _ x: UnsafePointer<Float>, rows: Int, columns: Int, stride: Int, scale: Float,
    into panels: UnsafeMutablePointer<Float>
) {
    if rows % 16 != 0 { (panels + rows / 16 * 16 * columns).update(repeating: 0, count: 16 * columns) }
    for row in 0..<rows {
        let source = x + row * stride, target = panels + row / 16 * (16 * columns) + row % 16
        for j in 0..<columns { target[j * 16] = source[j] * scale }
    }
}
