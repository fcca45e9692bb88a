import Kernels
import TestSupport

/// A workspace whose first chunk, of 8 MiB, holds NaN: what a kernel reads before it has written it shows.
func poisoned(threads: Int = 1, floats: Int = 1 << 21) throws -> Workspace {
    let workspace = Workspace(threads: threads)
    let x = try Tensor(1, 1, 1, floats, in: workspace)
    withExtendedLifetime(x) { x.buffer.update(repeating: .nan) }
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

/// The matrix (k, n) of these values, rounded to `element`.
func matrix(
    k: Int, n: Int, element: PanelElement = .f32, _ value: (_ row: Int, _ column: Int) -> Float
) throws -> PackedMatrix {
    // As PyTorch stores it: (outputs, inputs).
    try packed((0..<(n * k)).map { value($0 % k, $0 / k) }, n: n, inputs: k, element: element)
}

/// filters: (n, inputs, taps), rounded to `element`
func packed(
    _ filters: [Float], n: Int, inputs: Int, taps: Int = 1, inputMajor: Bool = true, element: PanelElement = .f32,
    threads: Int = 1
) throws -> PackedMatrix {
    try withStored(filters, as: element) {
        try PackedMatrix($0, n: n, inputs: inputs, taps: taps, inputMajor: inputMajor, threads: threads)
    }
}

extension Conv2D {
    init(
        weight: [Float], bias: [Float]?, inputs: Int, outputs: Int, kernel: Int, stride: Int = 1, padBefore: Int,
        padAfter: Int, element: PanelElement = .f32, threads: Int = 1
    ) throws {
        self = try withStored(weight, as: element) {
            try Conv2D(
                weight: $0, bias: bias.map { try FloatBuffer($0) }, inputs: inputs, outputs: outputs, kernel: kernel,
                stride: stride, padBefore: padBefore, padAfter: padAfter, threads: threads)
        }
    }
}

extension GroupNorm {
    init(groups: Int, epsilon: Float, weight: [Float], bias: [Float]) throws {
        try self.init(
            groups: groups, epsilon: epsilon, weight: FloatBuffer(weight), bias: FloatBuffer(bias))
    }
}

/// The generator of Steele, Lea and Flood, 2014, for choices that a seed repeats.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    mutating func int(_ range: ClosedRange<Int>) -> Int { .random(in: range, using: &self) }
    mutating func bool() -> Bool { .random(using: &self) }
}
