/// A convolution's weights and geometry.
public struct Conv2D: Sendable {
    /// (kernel * kernel * inputs, outputs), rows ordered (ky, kx, input): the order in which NHWC patches are read.
    public let weight: PackedMatrix
    public let bias: FloatBuffer?  // (outputs)
    public let inputs, outputs, kernel, stride: Int
    /// Rows and columns of zeros before the image and after it.
    public let padBefore, padAfter: Int

    /// weight: (outputs, inputs, kernel, kernel), as PyTorch stores it.
    public init(
        weight: FloatBuffer, bias: FloatBuffer?, inputs: Int, outputs: Int, kernel: Int, stride: Int = 1,
        padBefore: Int,
        padAfter: Int
    ) throws {
        let taps = kernel * kernel
        self.weight = try PackedMatrix(k: taps * inputs, n: outputs) { row, column in
            weight.data[(column * inputs + row % inputs) * taps + row / inputs]
        }
        self.bias = bias
        (self.inputs, self.outputs, self.kernel, self.stride) = (inputs, outputs, kernel, stride)
        (self.padBefore, self.padAfter) = (padBefore, padAfter)
    }

    func outputSize(_ size: Int) -> Int { (size + padBefore + padAfter - kernel) / stride + 1 }
}

/// x (n, h, w, inputs) convolved: (n, h', w', outputs), plus the bias, plus a vector per image, plus `residual`.
///   imageBias  (n, 1, 1, outputs), added to every pixel of its image
///   residual   (n, h', w', outputs)
///
/// A blocked product: for a block of output pixels, the patches of one pass over k are gathered, never more.
public func conv2D(
    _ x: Tensor, _ conv: Conv2D, imageBias: Tensor? = nil, residual: Tensor? = nil, in workspace: Workspace
) throws -> Tensor {
    try require(x.c == conv.inputs, "\(x.c) channels meet a convolution of \(conv.inputs)")
    try require(
        min(x.h, x.w) + conv.padBefore + conv.padAfter >= conv.kernel,
        "an image of \(x.h) x \(x.w) meets a convolution of \(conv.kernel) x \(conv.kernel)")
    let h = conv.outputSize(x.h), w = conv.outputSize(x.w)
    let out = try Tensor(x.n, h, w, conv.outputs, in: workspace)
    if let residual { try require(residual.shape == out.shape, "\(residual.shape) is added to \(out.shape)") }
    if let imageBias {
        try require(imageBias.shape == (x.n, 1, 1, conv.outputs), "\(imageBias.shape) is added to \(out.shape)")
    }
    let pixels = h * w
    let block = min(taskRows(x.n * pixels, threads: workspace.threads), pixels)
    let blocks = (pixels + block - 1) / block
    let biases = try conv2DBiases(conv, imageBias, images: x.n, in: workspace)
    let patchFree = conv.kernel == 1 && conv.stride == 1 && conv.padBefore == 0 && conv.padAfter == 0

    let patchSize = block * min(gemmDepth, conv.weight.k)
    let scratch = try Tensor(workspace.threads, 1, 1, patchFree ? 0 : patchSize, in: workspace)

    parallelFor(x.n * blocks, threads: workspace.threads) { task, thread in
        let image = task / blocks
        let first = task % blocks * block
        let count = min(block, pixels - first)
        let row = image * pixels + first
        startRows(out, row, count, bias: biases.data + (biases.n == 1 ? 0 : image * conv.outputs), residual: residual)
        let c = out.data + row * conv.outputs
        let panelStride = conv.weight.k * 16
        if patchFree {
            gemm(
                rows: count, k: conv.inputs, n: conv.outputs, a: x.data + row * x.c, lda: x.c,
                panels: conv.weight.panels, panelStride: panelStride, c: c, ldc: conv.outputs)
            return
        }
        let patches = scratch.data + thread * patchSize
        for k0 in Swift.stride(from: 0, to: conv.weight.k, by: gemmDepth) {
            let depth = min(gemmDepth, conv.weight.k - k0)
            for pixel in 0..<count {
                gatherPatch(
                    x, conv, image: image, y: (first + pixel) / w, x: (first + pixel) % w, from: k0, depth,
                    into: patches + pixel * depth)
            }
            gemm(
                rows: count, k: depth, n: conv.outputs, a: patches, lda: depth, panels: conv.weight.panels + k0 * 16,
                panelStride: panelStride, c: c, ldc: conv.outputs)
        }
    }
    return out
}

/// What each image's sums start with: bias + imageBias, (n, 1, 1, outputs), or (1, 1, 1, outputs) without imageBias.
private func conv2DBiases(_ conv: Conv2D, _ imageBias: Tensor?, images: Int, in workspace: Workspace) throws -> Tensor {
    let biases = try Tensor(imageBias == nil ? 1 : images, 1, 1, conv.outputs, in: workspace)
    for image in 0..<biases.n {
        let row = biases.data + image * conv.outputs
        for j in 0..<conv.outputs {
            row[j] = (conv.bias.map { $0.data[j] } ?? 0) + (imageBias.map { $0.data[image * conv.outputs + j] } ?? 0)
        }
    }
    return biases
}

/// Elements from ..< from + count of the patch, ordered (ky, kx, input), that output pixel (y, x) reads.
@inline(__always)
private func gatherPatch(
    _ source: Tensor, _ conv: Conv2D, image: Int, y: Int, x: Int, from: Int, _ count: Int,
    into patch: UnsafeMutablePointer<Float>
) {
    var tap = from / conv.inputs
    var channel = from % conv.inputs
    var done = 0
    while done < count {
        let run = min(conv.inputs - channel, count - done)
        let row = y * conv.stride + tap / conv.kernel - conv.padBefore
        let column = x * conv.stride + tap % conv.kernel - conv.padBefore
        let target = patch + done
        if row >= 0 && row < source.h && column >= 0 && column < source.w {
            let pixel = source.data + ((image * source.h + row) * source.w + column) * source.c + channel
            target.update(from: pixel, count: run)
        } else {
            target.update(repeating: 0, count: run)
        }
        done += run
        channel = 0
        tap += 1
    }
}
