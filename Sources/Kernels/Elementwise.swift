/// Channels of `tensors` side by side: (n, h, w, sum of c).
public func concatenate(_ tensors: [Tensor], in workspace: Workspace) throws -> Tensor {
    let first = tensors[0]
    let channels = tensors.reduce(0) { $0 + $1.c }
    for t in tensors {
        try require((t.n, t.h, t.w) == (first.n, first.h, first.w), "\(t.shape) is put beside \(first.shape)")
    }
    let out = try Tensor(first.n, first.h, first.w, channels, in: workspace)
    let rows = first.n * first.h
    parallelFor(rows, threads: workspace.threads) { row in
        for pixel in (row * first.w)..<((row + 1) * first.w) {
            var target = out.data + pixel * channels
            for t in tensors {
                target.update(from: t.data + pixel * t.c, count: t.c)
                target += t.c
            }
        }
    }
    return out
}

/// f(x, y) of each pair of elements.
public func combine(_ x: Tensor, _ y: Tensor, in workspace: Workspace, _ f: (Float, Float) -> Float) throws -> Tensor {
    try require(x.shape == y.shape, "\(x.shape) is combined with \(y.shape)")
    let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
    for i in 0..<x.count { out.data[i] = f(x.data[i], y.data[i]) }
    return out
}

/// f(x) of each element.
public func map(_ x: Tensor, in workspace: Workspace, _ f: (Float) -> Float) throws -> Tensor {
    let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
    for i in 0..<x.count { out.data[i] = f(x.data[i]) }
    return out
}

/// From the caller's order, (n, c, h, w), to ours.
public func fromNCHW(_ source: UnsafePointer<Float>, into x: Tensor) {
    let pixels = x.pixels
    for image in 0..<x.n {
        for channel in 0..<x.c {
            let plane = source + (image * x.c + channel) * pixels
            let target = x.data + image * x.stride + channel
            for p in 0..<pixels { target[p * x.c] = plane[p] }
        }
    }
}

/// From our order to the caller's, (n, c, h, w).
public func toNCHW(_ x: Tensor, into target: UnsafeMutablePointer<Float>) {
    let pixels = x.pixels
    for image in 0..<x.n {
        for channel in 0..<x.c {
            let plane = target + (image * x.c + channel) * pixels
            let source = x.data + image * x.stride + channel
            for p in 0..<pixels { plane[p] = source[p * x.c] }
        }
    }
}
