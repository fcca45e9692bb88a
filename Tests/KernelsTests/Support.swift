import Kernels
import TestSupport

/// A workspace whose first blocks hold NaN: what a kernel reads before it has written it shows.
func poisoned(threads: Int = 1) throws -> Workspace {
    let workspace = Workspace(threads: threads)
    var blocks: [Tensor] = []
    for size in 4...17 {
        for _ in 0..<3 {
            blocks.append(try Tensor(1, 1, 1, 1 << size, in: workspace))
            blocks.last!.buffer.update(repeating: .nan)
        }
    }
    return workspace
}

func tensor(_ n: Int, _ h: Int, _ w: Int, _ c: Int, _ values: [Float], in workspace: Workspace) throws -> Tensor {
    let x = try Tensor(n, h, w, c, in: workspace)
    precondition(x.count == values.count)
    _ = x.buffer.update(fromContentsOf: values)
    return x
}

/// Normal values of a seed.
func random(_ n: Int, _ h: Int, _ w: Int, _ c: Int, seed: UInt64, in workspace: Workspace) throws -> Tensor {
    try tensor(n, h, w, c, randn(n * h * w * c, seed: seed), in: workspace)
}

/// Image `k` of a batch, by itself.
func image(_ k: Int, of x: Tensor, in workspace: Workspace) throws -> Tensor {
    let size = x.h * x.w * x.c
    return try tensor(1, x.h, x.w, x.c, Array(values(x)[(k * size)..<((k + 1) * size)]), in: workspace)
}

func values(_ x: Tensor) -> [Float] { Array(x.buffer) }

/// A float of a tensor as a double, for the naive twins.
func element(_ x: Tensor, _ image: Int, _ y: Int, _ column: Int, _ channel: Int) -> Double {
    Double(x.data[((image * x.h + y) * x.w + column) * x.c + channel])
}

func sameBits(_ a: [Float], _ b: [Float]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern }
}

/// Whether `kernel` gives the same bits on 1, 2, 3 and 8 threads.
func sameOnAnyThreads(_ kernel: (Workspace) throws -> Tensor) throws -> Bool {
    let one = values(try kernel(poisoned()))
    return try [2, 3, 8].allSatisfy { sameBits(values(try kernel(poisoned(threads: $0))), one) }
}

/// The largest |out - reference|.
func worstDifference(_ out: [Float], _ reference: [Float]) -> Double {
    guard out.count == reference.count else { return .infinity }
    var worst = 0.0
    for (a, b) in zip(out, reference) {
        let difference = abs(Double(a) - Double(b))
        if difference.isNaN { return .nan }
        worst = max(worst, difference)
    }
    return worst
}

extension Conv2D {
    init(
        weight: [Float], bias: [Float]?, inputs: Int, outputs: Int, kernel: Int, stride: Int = 1, padBefore: Int,
        padAfter: Int
    ) throws {
        try self.init(
            weight: FloatBuffer(weight), bias: bias.map { try FloatBuffer($0) }, inputs: inputs, outputs: outputs,
            kernel: kernel, stride: stride, padBefore: padBefore, padAfter: padAfter)
    }
}

extension GroupNorm {
    init(groups: Int, epsilon: Float, weight: [Float], bias: [Float]) throws {
        try self.init(
            groups: groups, epsilon: epsilon, weight: FloatBuffer(weight), bias: FloatBuffer(bias))
    }
}
