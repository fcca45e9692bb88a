import TestSupport

@testable import Kernels

/// Weights of a seed, and the convolution's definition.
struct Layer {
    let inputs, outputs, kernel, stride, before, after: Int
    let weight: [Float]  // (outputs, inputs, kernel, kernel), exact in `element`
    let bias: [Float]?
    let element: PanelElement

    init(
        _ inputs: Int, _ outputs: Int, _ kernel: Int, _ stride: Int, _ padding: (Int, Int), hasBias: Bool = true,
        element: PanelElement = .f32, seed: UInt64 = 100
    ) {
        (self.inputs, self.outputs, self.kernel, self.stride) = (inputs, outputs, kernel, stride)
        (before, after) = padding
        self.element = element
        weight = rounded(randn(outputs * inputs * kernel * kernel, seed: seed), to: element)
        bias = hasBias ? randn(outputs, seed: seed + 1) : nil
    }

    func conv(threads: Int = 1) throws -> Conv2D {
        try Conv2D(
            weight: weight, bias: bias, inputs: inputs, outputs: outputs, kernel: kernel, stride: stride,
            padBefore: before, padAfter: after, element: element, threads: threads)
    }

    /// The places that a kernel of this stride has in a padded row of `size`.
    func size(_ size: Int) -> Int {
        Swift.stride(from: -before, through: size + after - kernel, by: stride).reduce(0) { count, _ in count + 1 }
    }

    /// out[y, x, o] = bias[o] + sum over ky, kx, i of weight[o, i, ky, kx] * in[y s + ky - p, x s + kx - p, i].
    func naive(_ x: Tensor) -> [Double] {
        var out: [Double] = []
        // The same weights as doubles, (o, ky, kx, i): sums run over neighbours.
        let taps = kernel * kernel
        let w = (0..<outputs).flatMap { o in
            (0..<taps).flatMap { tap in (0..<inputs).map { Double(weight[(o * inputs + $0) * taps + tap]) } }
        }
        w.withUnsafeBufferPointer { w in
            for image in 0..<x.n {
                for y in 0..<size(x.h) {
                    for column in 0..<size(x.w) {
                        for o in 0..<outputs {
                            out.append(sum(x, image, y * stride - before, column * stride - before, o, w))
                        }
                    }
                }
            }
        }
        return out
    }

    private func sum(
        _ x: Tensor, _ image: Int, _ top: Int, _ left: Int, _ o: Int, _ w: UnsafeBufferPointer<Double>
    ) -> Double {
        var sum = Double(bias?[o] ?? 0)
        for ky in 0..<kernel where top + ky >= 0 && top + ky < x.h {
            for kx in 0..<kernel where left + kx >= 0 && left + kx < x.w {
                let pixel = x.data + ((image * x.h + top + ky) * x.w + left + kx) * inputs
                let row = ((o * kernel + ky) * kernel + kx) * inputs
                for i in 0..<inputs { sum += w[row + i] * Double(pixel[i]) }
            }
        }
        return sum
    }
}
