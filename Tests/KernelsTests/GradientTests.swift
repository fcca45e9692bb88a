import Glibc
import TestSupport
import Testing

@testable import Kernels

/// Each kernel's gradient against central differences of its definition in double.
@Suite struct GradientTests {
    struct Convolution: Sendable, CustomTestStringConvertible {
        var inputs = 3, outputs = 4, kernel = 3, stride = 1, before = 1, after = 1, h = 5, w = 6
        var testDescription: String {
            "\(inputs) -> \(outputs), \(kernel) x \(kernel) / \(stride), \(before) \(after), \(h) x \(w)"
        }
    }

    static let convolutions = [
        Convolution(), Convolution(inputs: 17, outputs: 2), Convolution(inputs: 16, outputs: 20, h: 4, w: 4),
        Convolution(kernel: 1, before: 0, after: 0), Convolution(stride: 2, h: 6, w: 6),
        Convolution(stride: 2, before: 0, h: 6, w: 8), Convolution(stride: 2, h: 5, w: 7),
        Convolution(inputs: 18, outputs: 17, stride: 2, h: 4, w: 4),
        Convolution(inputs: 40, outputs: 33, kernel: 1, before: 0, after: 0, h: 1, w: 1),
    ]

    @Test(arguments: convolutions) func ofConvolutions(_ c: Convolution) throws {
        let shape = [2, c.h, c.w, c.inputs]
        let outH = (c.h + c.before + c.after - c.kernel) / c.stride + 1
        let outW = (c.w + c.before + c.after - c.kernel) / c.stride + 1
        let count = c.outputs * c.inputs * c.kernel * c.kernel
        let parameters = [Trained(randn(count, seed: 1)), Trained(randn(c.outputs, seed: 2))]
        let inputs = [
            (shape, randn(shape.reduce(1, *), seed: 3)),
            ([2, 1, 1, c.outputs], randn(2 * c.outputs, seed: 4)),
            ([2, outH, outW, c.outputs], randn(2 * outH * outW * c.outputs, seed: 5)),
        ]
        try check(inputs, parameters, bound: 2e-6) { x, workspace in
            let conv = try parameters[0].lend { weight in
                try Conv2D(
                    weight: weight, bias: parameters[1].buffer(), inputs: c.inputs, outputs: c.outputs,
                    kernel: c.kernel, stride: c.stride, padBefore: c.before, padAfter: c.after, threads: 1)
            }
            return try conv2D(x[0], conv, imageBias: x[1], residual: x[2], in: workspace)
        } definition: { v in
            var out: [Double] = []
            for image in 0..<2 {
                for (y, x) in (0..<outH).flatMap({ y in (0..<outW).map { (y, $0) } }) {
                    for o in 0..<c.outputs {
                        var sum = v[4][o] + v[1][image * c.outputs + o] + v[2][out.count]
                        for (ky, kx) in (0..<c.kernel).flatMap({ k in (0..<c.kernel).map { (k, $0) } }) {
                            let sy = y * c.stride + ky - c.before, sx = x * c.stride + kx - c.before
                            guard sy >= 0, sy < c.h, sx >= 0, sx < c.w else { continue }
                            for i in 0..<c.inputs {
                                sum +=
                                    v[0][((image * c.h + sy) * c.w + sx) * c.inputs + i]
                                    * v[3][((o * c.inputs + i) * c.kernel + ky) * c.kernel + kx]
                            }
                        }
                        out.append(sum)
                    }
                }
            }
            return out
        }
    }

    /// Larger ones: blocks of weights and chunks of pixels, all partly filled; the gradient of a bilinear function
    /// needs no differences.
    @Test(arguments: [
        Convolution(inputs: 20, outputs: 150, h: 13, w: 11), Convolution(inputs: 5, outputs: 7, h: 30, w: 29),
        Convolution(inputs: 33, outputs: 40, stride: 2, h: 18, w: 14),
        Convolution(inputs: 100, outputs: 3, kernel: 1, before: 0, after: 0, h: 9, w: 40),
    ])
    func ofWeightsOfLargerConvolutions(_ c: Convolution) throws {
        let weight = Trained(randn(c.outputs * c.inputs * c.kernel * c.kernel, seed: 1))
        var found: [[Float]] = []
        var g: [Float] = [], x: [Float] = [], size = (h: 0, w: 0)
        for threads in [1, 2, 3, 8] {
            weight.clear()
            let workspace = try poisoned(threads: threads)
            let conv = try weight.lend {
                try Conv2D(
                    weight: $0, bias: nil, inputs: c.inputs, outputs: c.outputs, kernel: c.kernel, stride: c.stride,
                    padBefore: c.before, padAfter: c.after, threads: 1)
            }
            let input = try random(3, c.h, c.w, c.inputs, seed: 2, in: workspace)
            let tape = Tape()
            workspace.tape = tape
            let out = try conv2D(input, conv, in: workspace)
            workspace.tape = nil
            let gradient = try random(3, out.h, out.w, c.outputs, seed: 3, in: workspace)
            try tape.backward(from: out, gradient, in: workspace)
            found.append(weight.gradients)
            (g, x, size) = (values(gradient), values(input), (out.h, out.w))
        }
        #expect(found.dropFirst().allSatisfy { sameBits($0, found[0]) })
        var expected = [Double](repeating: 0, count: found[0].count)
        for image in 0..<3 {
            for (y, column) in (0..<size.h).flatMap({ y in (0..<size.w).map { (y, $0) } }) {
                let pixel = ((image * size.h + y) * size.w + column) * c.outputs
                for (ky, kx) in (0..<c.kernel).flatMap({ k in (0..<c.kernel).map { (k, $0) } }) {
                    let sy = y * c.stride + ky - c.before, sx = column * c.stride + kx - c.before
                    guard sy >= 0, sy < c.h, sx >= 0, sx < c.w else { continue }
                    for o in 0..<c.outputs {
                        for i in 0..<c.inputs {
                            expected[((o * c.inputs + i) * c.kernel + ky) * c.kernel + kx] +=
                                Double(g[pixel + o]) * Double(x[((image * c.h + sy) * c.w + sx) * c.inputs + i])
                        }
                    }
                }
            }
        }
        #expect(relativeError(found[0], expected.map { Float($0) }) <= 1e-6)
    }

    @Test(arguments: [(3, 4, 12, 3), (1, 1, 8, 2), (5, 3, 20, 1), (41, 40, 10, 5)])
    func ofNormalization(h: Int, w: Int, c: Int, groups: Int) throws {
        let large = h * w > 100
        for activation in [nil, Activation.silu, .mish, .gelu] {
            let parameters = [Trained(randn(c, seed: 1).map { 1 + 0.3 * $0 }), Trained(randn(c, seed: 2))]
            let count = 2 * h * w * c
            let inputs = [
                ([2, h, w, c], randn(count, seed: 3).map { 3 + 2 * $0 }), ([2, 1, 1, 2 * c], randn(4 * c, seed: 4)),
            ]
            try check(inputs, parameters, bound: 1e-5, samples: large ? 20 : 400) { x, workspace in
                let norm = try GroupNorm(
                    groups: groups, epsilon: 1e-5, weight: parameters[0].buffer(), bias: parameters[1].buffer())
                return try groupNorm(x[0], norm, modulation: x[1], activation: activation, in: workspace)
            } definition: { v in
                var out = [Double](repeating: 0, count: count)
                let size = c / groups
                for image in 0..<2 {
                    for group in 0..<groups {
                        let members = (0..<(h * w)).flatMap { pixel in
                            (0..<size).map { (image * h * w + pixel) * c + group * size + $0 }
                        }
                        let mean = members.reduce(0) { $0 + v[0][$1] } / Double(members.count)
                        let variance = members.reduce(0) { $0 + pow(v[0][$1] - mean, 2) } / Double(members.count)
                        for i in members {
                            let j = i % c
                            let y = (v[0][i] - mean) / (variance + Double(Float(1e-5))).squareRoot() * v[2][j] + v[3][j]
                            let z = y * (1 + v[1][image * 2 * c + j]) + v[1][image * 2 * c + c + j]
                            out[i] = activation?.exact(z) ?? z
                        }
                    }
                }
                return out
            }
        }
    }

    @Test(arguments: [Activation.silu, .mish, .gelu, .quickGELU, .geluTanh])
    func ofActivations(activation: Activation) throws {
        let x = (0..<300).map { Float($0 - 150) / 10 } + [30, -30, 80, -80, 0]
        try check([([1, 1, 5, 61], x)], [], bound: 1e-6) { x, workspace in
            try activate(x[0], activation, in: workspace)
        } definition: { v in
            v[0].map { activation.exact($0) }
        }
    }

    /// Where it has none, at 0, the slope of relu is 0, as in PyTorch.
    @Test func ofReLU() throws {
        let workspace = try poisoned()
        let x = try tensor(1, 1, 1, 5, [-2, -0.0, 0, 1e-30, 3], in: workspace)
        let ones = try tensor(1, 1, 1, 5, [1, 1, 1, 1, 1], in: workspace)
        #expect(try gradient(of: x, ones, in: workspace) { try activate($0, .relu, in: workspace) } == [0, 0, 0, 1, 1])
    }

    @Test(arguments: [(3, 3, 2, 4, 3, 3), (7, 7, 1, 16, 7, 7), (10, 10, 2, 20, 10, 10), (2, 3, 1, 5, 1, 4)])
    func ofAttention(h: Int, w: Int, heads: Int, d: Int, keyH: Int, keyW: Int) throws {
        let c = heads * d, queries = h * w, tokens = keyH * keyW
        let inputs = [
            ([2, h, w, c], randn(2 * queries * c, seed: 1)), ([2, keyH, keyW, c], randn(2 * tokens * c, seed: 2)),
            ([2, keyH, keyW, c], randn(2 * tokens * c, seed: 3)),
        ]
        try check(inputs, [], bound: 2e-6, samples: queries > 20 ? 30 : 400) { x, workspace in
            try attention(x[0], x[1], x[2], heads: heads, in: workspace)
        } definition: { v in
            var out = [Double](repeating: 0, count: 2 * queries * c)
            for image in 0..<2 {
                for head in 0..<heads {
                    for q in 0..<queries {
                        let query = (image * queries + q) * c + head * d
                        let scores = (0..<tokens).map { t in
                            let key = (image * tokens + t) * c + head * d
                            return (0..<d).reduce(0) { $0 + v[0][query + $1] * v[1][key + $1] } / Double(d).squareRoot()
                        }
                        let total = scores.reduce(0) { $0 + exp($1) }
                        for t in 0..<tokens {
                            for j in 0..<d {
                                out[query + j] += exp(scores[t]) / total * v[2][(image * tokens + t) * c + head * d + j]
                            }
                        }
                    }
                }
            }
            return out
        }
    }

    /// Linear kernels: <y, f(x)> = <f'(y), x> for any x and y.
    @Test func ofResampling() throws {
        let workspace = try poisoned(threads: 2)
        let kernels: [(String, (Tensor, Workspace) throws -> Tensor)] = [
            ("nearest", { try upsampleNearest2x($0, in: $1) }),
            ("nearest to 9 x 13", { try upsampleNearest($0, height: 9, width: 13, in: $1) }),
            ("average", { try averagePool2x($0, in: $1) }),
            ("FIR down", { try firDownsample2x($0, in: $1) }), ("FIR up", { try firUpsample2x($0, in: $1) }),
            ("divide", { try divide($0, by: [3, -0.5], in: $1) }),
        ]
        for (name, kernel) in kernels {
            for (h, w) in [(4, 6), (2, 2), (5, 7)] {
                let x = try random(2, h, w, 3, seed: 1, in: workspace)
                let out = try kernel(x, workspace)
                let y = try random(2, out.h, out.w, 3, seed: 2, in: workspace)
                let dx = try gradient(of: x, y, in: workspace) { try kernel($0, workspace) }
                let left = zip(values(y), values(out)).reduce(0) { $0 + Double($1.0) * Double($1.1) }
                let right = zip(dx, values(x)).reduce(0) { $0 + Double($1.0) * Double($1.1) }
                #expect(abs(left - right) <= 1e-5 * max(abs(left), 1), "\(name) of \(h) x \(w)")
            }
        }
    }

    /// What is used twice gets both gradients, through a reshaped copy too; what comes from outside gets none.
    @Test func addUp() throws {
        let workspace = try poisoned()
        let x = try tensor(1, 1, 2, 2, [1, 2, 3, 4], in: workspace)
        let y = try tensor(1, 1, 2, 2, [1, 1, 1, 1], in: workspace)
        let ones = try tensor(1, 2, 2, 3, [Float](repeating: 1, count: 12), in: workspace)
        let found = try gradient(of: x, ones, in: workspace) { x in
            let sum = try add(x, y, in: workspace)
            let twice = try add(x, sum, in: workspace).reshaped(1, 2, 2, 1)
            return try concatenate([twice, sum.reshaped(1, 2, 2, 1), y.reshaped(1, 2, 2, 1)], in: workspace)
        }
        #expect(found == [3, 3, 3, 3])
    }
}

/// Parameters and the gradient that a kernel adds for them.
final class Trained: @unchecked Sendable {
    let values: [Float]
    private let gradient: UnsafeMutablePointer<Float>

    init(_ values: [Float]) {
        self.values = values
        gradient = .allocate(capacity: values.count)
        clear()
    }

    deinit { gradient.deallocate() }

    var gradients: [Float] { Array(UnsafeBufferPointer(start: gradient, count: values.count)) }
    func clear() { gradient.update(repeating: 0, count: values.count) }
    func buffer() throws -> FloatBuffer {
        let buffer = try FloatBuffer(count: values.count, gradient: gradient)
        buffer.data.update(from: values, count: values.count)
        return buffer
    }

    func lend<R>(_ body: (StoredFloats) throws -> R) throws -> R {
        try values.withUnsafeBytes {
            try body(StoredFloats(.f32, $0.baseAddress!, count: values.count, gradient: gradient))
        }
    }
}

/// The gradient of x under a kernel whose result has this gradient.
private func gradient(
    of x: Tensor, _ gradient: Tensor, in workspace: Workspace, _ kernel: (Tensor) throws -> Tensor
) throws -> [Float] {
    var found: [Float] = []
    let tape = Tape()
    tape.record(x) { gradient, _, _ in found = values(gradient) }
    workspace.tape = tape
    let out = try kernel(x)
    workspace.tape = nil
    try tape.backward(from: out, gradient, in: workspace)
    return found
}

/// Compares gradients of sum(r f) for random r with central differences: of all inputs, then of the parameters.
///   inputs      shape and values of each
///   samples     elements of each variable that are looked at, at most
///   definition  f of the inputs' and the parameters' values
private func check(
    _ inputs: [(shape: [Int], values: [Float])], _ parameters: [Trained], bound: Double, samples: Int = 400,
    at location: SourceLocation = #_sourceLocation, _ kernel: ([Tensor], Workspace) throws -> Tensor,
    definition: ([[Double]]) -> [Double]
) throws {
    var runs: [[[Float]]] = []
    var r: [Float] = []
    for threads in [1, 3] {
        parameters.forEach { $0.clear() }
        let workspace = try poisoned(threads: threads)
        let tensors = try inputs.map { shape, values in
            try tensor(shape[0], shape[1], shape[2], shape[3], values, in: workspace)
        }
        var found = inputs.map { [Float](repeating: .nan, count: $0.values.count) }
        let tape = Tape()
        for (i, x) in tensors.enumerated() { tape.record(x) { gradient, _, _ in found[i] = values(gradient) } }
        workspace.tape = tape
        let out = try kernel(tensors, workspace)
        workspace.tape = nil
        r = randn(out.count, seed: 99)
        try tape.backward(from: out, tensor(out.n, out.h, out.w, out.c, r, in: workspace), in: workspace)
        runs.append(found + parameters.map(\.gradients))
    }
    #expect(zip(runs[0], runs[1]).allSatisfy { sameBits($0, $1) }, sourceLocation: location)

    var variables = (inputs.map(\.values) + parameters.map(\.values)).map { $0.map { Double($0) } }
    func loss() -> Double { zip(definition(variables), r).reduce(0) { $0 + $1.0 * Double($1.1) } }
    for i in variables.indices {
        let step = max(1, variables[i].count / samples)
        let indices = Array(Swift.stride(from: 0, to: variables[i].count, by: step))
        let expected = indices.map { j in
            let value = variables[i][j], h = 1e-4
            variables[i][j] = value + h
            let above = loss()
            variables[i][j] = value - h
            let below = loss()
            variables[i][j] = value
            return Float((above - below) / (2 * h))
        }
        let error = relativeError(indices.map { runs[0][i][$0] }, expected)
        #expect(error <= bound, "variable \(i)", sourceLocation: location)
    }
}
