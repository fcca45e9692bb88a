/// Each pixel doubled in both directions (nearest): (n, 2 h, 2 w, c).
public func upsampleNearest2x(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
    let out = try Tensor(x.n, 2 * x.h, 2 * x.w, x.c, in: workspace)
    parallelFor(x.n * x.h, threads: workspace.threads) { row in
        let source = x.data + row * x.w * x.c
        let target = out.data + 2 * row * out.w * x.c
        for column in 0..<x.w {
            for copy in 0..<2 {
                (target + (2 * column + copy) * x.c).update(from: source + column * x.c, count: x.c)
            }
        }
        (target + out.w * x.c).update(from: target, count: out.w * x.c)
    }
    return out
}

/// The mean of each 2 x 2 square: (n, h / 2, w / 2, c); an odd last row or column is dropped.
public func averagePool2x(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
    let out = try Tensor(x.n, x.h / 2, x.w / 2, x.c, in: workspace)
    parallelFor(out.n * out.h, threads: workspace.threads) { row in
        let top = x.data + (row / out.h * x.h + row % out.h * 2) * x.w * x.c
        let bottom = top + x.w * x.c
        for column in 0..<out.w {
            let p = column * 2 * x.c
            let target = out.data + (row * out.w + column) * x.c
            for j in 0..<x.c {
                target[j] = (top[p + j] + top[p + x.c + j] + bottom[p + j] + bottom[p + x.c + j]) * 0.25
            }
        }
    }
    return out
}

/// Downsampling by 2 through the filter [1, 3, 3, 1] / 8 in each direction, zeros outside: (n, h / 2, w / 2, c)
/// (upfirdn2d with down 2, padding 1 on both sides; Karras et al., StyleGAN2).
public func firDownsample2x(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
    // Output i reads inputs 2 i - 1 ... 2 i + 2.
    let taps: [(offset: Int, weight: Float)] = [(-1, 0.125), (0, 0.375), (1, 0.375), (2, 0.125)]
    return try resample(x, x.h / 2, x.w / 2, in: workspace) { i in taps.map { (2 * i + $0.offset, $0.weight) } }
}

/// Upsampling by 2 through the filter [1, 3, 3, 1] / 4 in each direction, zeros outside: (n, 2 h, 2 w, c)
/// (upfirdn2d with up 2, padding (2, 1)).
public func firUpsample2x(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
    try resample(x, 2 * x.h, 2 * x.w, in: workspace) { i in
        // Of the zero-stuffed signal's four taps around i, two meet an input: the near one and a neighbour.
        let neighbour = i % 2 == 0 ? i / 2 - 1 : i / 2 + 1
        return [(i / 2, 0.75), (neighbour, 0.25)]
    }
}

/// A separable filter: out[y, x] = sum over the taps of y and of x. Taps outside the image count as zero.
private func resample(
    _ x: Tensor, _ h: Int, _ w: Int, in workspace: Workspace, taps: (Int) -> [(index: Int, weight: Float)]
) throws -> Tensor {
    let out = try Tensor(x.n, h, w, x.c, in: workspace)
    let rows = (0..<h).map { taps($0).filter { $0.index >= 0 && $0.index < x.h } }
    let columns = (0..<w).map { taps($0).filter { $0.index >= 0 && $0.index < x.w } }
    parallelFor(x.n * h, threads: workspace.threads) { row in
        let image = x.data + row / h * x.stride
        for column in 0..<w {
            let target = out.data + (row * w + column) * x.c
            target.update(repeating: 0, count: x.c)
            for (y, a) in rows[row % h] {
                for (z, b) in columns[column] {
                    let source = image + (y * x.w + z) * x.c
                    for j in 0..<x.c { target[j] += a * b * source[j] }
                }
            }
        }
    }
    return out
}
