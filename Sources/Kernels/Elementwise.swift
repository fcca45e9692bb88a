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
    guard let tape = workspace.tape, tensors.contains(where: tape.wants) else { return out }
    tape.record(out) { gradient, tape, workspace in
        var first = 0
        for t in tensors {
            if tape.wants(t) {
                try tape.add(slice(gradient, first..<(first + t.c), in: workspace), to: t, in: workspace)
            }
            first += t.c
        }
    }
    return out
}

/// Some of the channels: (n, h, w, range.count).
private func slice(_ x: Tensor, _ range: Range<Int>, in workspace: Workspace) throws -> Tensor {
    let out = try Tensor(x.n, x.h, x.w, range.count, in: workspace)
    parallelFor(x.n * x.h, threads: workspace.threads) { row in
        for pixel in (row * x.w)..<((row + 1) * x.w) {
            (out.data + pixel * range.count).update(from: x.data + pixel * x.c + range.lowerBound, count: range.count)
        }
    }
    return out
}

/// The sum of each pair of elements.
public func add(_ x: Tensor, _ y: Tensor, in workspace: Workspace) throws -> Tensor {
    try require(x.shape == y.shape, "\(x.shape) is added to \(y.shape)")
    let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
    parallelBlocks(x.count, in: workspace) { for i in $0 { out.data[i] = x.data[i] + y.data[i] } }
    workspace.tape?.record(out) { gradient, tape, workspace in
        for input in [x, y] { try tape.add(gradient, to: input, in: workspace) }
    }
    return out
}

/// x (n, h, w, c) and a vector for all pixels of each image, (n, 1, 1, c). Not for a tape.
public func add(_ x: Tensor, vectors: Tensor, in workspace: Workspace) throws -> Tensor {
    try require(vectors.shape == (x.n, 1, 1, x.c), "\(vectors.shape) is added to \(x.shape)")
    let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
    parallelFor(x.n * x.h, threads: workspace.threads) { row in
        let vector = vectors.data + row / x.h * x.c
        for pixel in (row * x.w)..<((row + 1) * x.w) {
            for j in 0..<x.c { out.data[pixel * x.c + j] = x.data[pixel * x.c + j] + vector[j] }
        }
    }
    return out
}

/// Each image divided by a number of its own.
public func divide(_ x: Tensor, by divisors: [Float], in workspace: Workspace) throws -> Tensor {
    try require(divisors.count == x.n, "\(divisors.count) numbers divide \(x.n) images")
    let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
    parallelFor(x.n, threads: workspace.threads) { image in
        let divisor = divisors[image]
        for i in (image * x.stride)..<((image + 1) * x.stride) { out.data[i] = x.data[i] / divisor }
    }
    workspace.tape?.record(out) { gradient, tape, workspace in
        try tape.add(divide(gradient, by: divisors, in: workspace), to: x, in: workspace)
    }
    return out
}

/// Blocks of 0..<count, shared out among threads.
public func parallelBlocks(_ count: Int, in workspace: Workspace, _ body: (Range<Int>) -> Void) {
    let block = 1 << 14
    parallelFor((count + block - 1) / block, threads: workspace.threads) { i in
        body((i * block)..<min((i + 1) * block, count))
    }
}

/// f(x, y) of each pair of elements. Not for a tape.
public func combine(_ x: Tensor, _ y: Tensor, in workspace: Workspace, _ f: (Float, Float) -> Float) throws -> Tensor {
    try require(x.shape == y.shape, "\(x.shape) is combined with \(y.shape)")
    let out = try Tensor(x.n, x.h, x.w, x.c, in: workspace)
    for i in 0..<x.count { out.data[i] = f(x.data[i], y.data[i]) }
    return out
}

/// f(x) of each element. Not for a tape.
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
