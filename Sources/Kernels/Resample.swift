/// Each pixel doubled in both directions (nearest): (n, 2 h, 2 w, c).
public func upsampleNearest2x(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
    try upsampleNearest(x, height: 2 * x.h, width: 2 * x.w, in: workspace)
}

/// An image enlarged to any size by repeating its pixels (nearest): (n, height, width, c).
public func upsampleNearest(_ x: Tensor, height: Int, width: Int, in workspace: Workspace) throws -> Tensor {
    let out = try Tensor(x.n, height, width, x.c, in: workspace)
    parallelFor(out.n * out.h, threads: workspace.threads) { row in
        let source = x.data + (row / out.h * x.h + row % out.h * x.h / out.h) * x.w * x.c
        let target = out.data + row * out.w * x.c
        for column in 0..<out.w {
            (target + column * x.c).update(from: source + column * x.w / out.w * x.c, count: x.c)
        }
    }
    workspace.tape?.record(out) { gradient, tape, workspace in
        // Output i repeats input i * size / larger: the copies of j begin at j * larger / size, rounded up.
        func copies(_ j: Int, _ size: Int, _ larger: Int) -> Range<Int> {
            (j * larger + size - 1) / size..<((j + 1) * larger + size - 1) / size
        }
        let dx = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
        parallelFor(x.n * x.h, threads: workspace.threads) { row in
            for column in 0..<x.w {
                let target = dx.data + (row * x.w + column) * x.c
                target.update(repeating: 0, count: x.c)
                for y in copies(row % x.h, x.h, out.h) {
                    for copy in copies(column, x.w, out.w) {
                        let source = gradient.data + ((row / x.h * out.h + y) * out.w + copy) * x.c
                        for j in 0..<x.c { target[j] += source[j] }
                    }
                }
            }
        }
        try tape.add(dx, to: x, in: workspace)
    }
    return out
}

/// The mean of each 2 x 2 square: (n, h / 2, w / 2, c); an odd last row or column is dropped.
public func averagePool2x(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
    let out = try pool2x(x, scale: 0.25, in: workspace)
    workspace.tape?.record(out) { gradient, tape, workspace in
        // A quarter to each pixel of the square, none to an odd last row or column.
        let dx = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
        parallelFor(x.n * x.h, threads: workspace.threads) { row in
            let y = row % x.h / 2
            for column in 0..<x.w {
                let target = dx.data + (row * x.w + column) * x.c
                let source = gradient.data + ((row / x.h * gradient.h + y) * gradient.w + column / 2) * x.c
                let isInside = y < gradient.h && column / 2 < gradient.w
                for j in 0..<x.c { target[j] = isInside ? 0.25 * source[j] : 0 }
            }
        }
        try tape.add(dx, to: x, in: workspace)
    }
    return out
}

/// The mean of each image's pixels: (n, 1, 1, c). Not for a tape.
public func averagePool(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
    let moments = try imageMoments(x, in: workspace)
    let out = try Tensor(x.n, 1, 1, x.c, in: workspace)
    for image in 0..<x.n {
        moments.withImage(image) { means, _ in
            for j in 0..<x.c { out.data[image * x.c + j] = Float(means[j]) }
        }
    }
    return out
}

/// The sum of each 2 x 2 square, scaled.
private func pool2x(_ x: Tensor, scale: Float, in workspace: Workspace) throws -> Tensor {
    let out = try Tensor(x.n, x.h / 2, x.w / 2, x.c, in: workspace)
    parallelFor(out.n * out.h, threads: workspace.threads) { row in
        let top = x.data + (row / out.h * x.h + row % out.h * 2) * x.w * x.c
        let bottom = top + x.w * x.c
        for column in 0..<out.w {
            let p = column * 2 * x.c
            let target = out.data + (row * out.w + column) * x.c
            for j in 0..<x.c {
                target[j] = (top[p + j] + top[p + x.c + j] + bottom[p + j] + bottom[p + x.c + j]) * scale
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
    _ x: Tensor, _ h: Int, _ w: Int, in workspace: Workspace, taps: (Int) -> Taps
) throws -> Tensor {
    let rows = (0..<h).map { taps($0).filter { $0.index >= 0 && $0.index < x.h } }
    let columns = (0..<w).map { taps($0).filter { $0.index >= 0 && $0.index < x.w } }
    let out = try resample(x, rows, columns, in: workspace)
    workspace.tape?.record(out) { gradient, tape, workspace in
        try tape.add(
            resample(gradient, transposed(rows, x.h), transposed(columns, x.w), in: workspace), to: x, in: workspace)
    }
    return out
}

private typealias Taps = [(index: Int, weight: Float)]

/// Which outputs each of `count` inputs goes into.
private func transposed(_ taps: [Taps], _ count: Int) -> [Taps] {
    var result = [Taps](repeating: [], count: count)
    for (output, list) in taps.enumerated() {
        for (input, weight) in list { result[input].append((output, weight)) }
    }
    return result
}

private func resample(_ x: Tensor, _ rows: [Taps], _ columns: [Taps], in workspace: Workspace) throws -> Tensor {
    let (h, w) = (rows.count, columns.count)
    let out = try Tensor(x.n, h, w, x.c, in: workspace)
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
