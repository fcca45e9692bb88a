import Microkernels

/// A convolution's weights and geometry.
public struct Conv2D: Sendable {
    /// (kernel * kernel * inputs, outputs), rows ordered (ky, kx, input), the order in which NHWC patches are read, or
    /// (input, ky, kx), the order in which filters are transformed.
    public let weight: PackedMatrix
    public let bias: FloatBuffer?  // (outputs)
    public let inputs, outputs, kernel, stride: Int
    /// Rows and columns of zeros before the image and after it.
    public let padBefore, padAfter: Int
    let usesWinograd: Bool
    /// Filters transformed ahead, if there is memory to spare.
    private(set) var transformed: TransformedFilters?
    /// The convolution that takes the result's gradient back to the input, if the weights are trained.
    fileprivate let transposed: Transposed?

    /// weight: (outputs, inputs, kernel, kernel), as PyTorch stores it.
    public init(
        weight: StoredFloats, bias: FloatBuffer?, inputs: Int, outputs: Int, kernel: Int, stride: Int = 1,
        padBefore: Int, padAfter: Int, threads: Int, in memory: WeightMemory = WeightMemory()
    ) throws {
        // Few inputs leave too few products to pay for Winograd's transforms.
        usesWinograd =
            kernel == 3 && stride == 1 && padBefore == 1 && padAfter == 1 && inputs >= 16
        self.weight = try PackedMatrix(
            weight, n: outputs, inputs: inputs, taps: kernel * kernel, inputMajor: usesWinograd, threads: threads,
            in: memory)
        self.bias = bias
        (self.inputs, self.outputs, self.kernel, self.stride) = (inputs, outputs, kernel, stride)
        (self.padBefore, self.padAfter) = (padBefore, padAfter)
        transposed =
            weight.gradient == nil
            ? nil
            : try Transposed(
                weight, inputs: inputs, outputs: outputs, kernel: kernel, stride: stride, padBefore: padBefore,
                padAfter: padAfter, threads: threads, in: memory)
    }

    /// The memory that `keepTransformed` takes; 0 if this convolution is computed otherwise.
    public var transformedBytes: Int { usesWinograd ? TransformedFilters.bytes(self) : 0 }

    public mutating func keepTransformed(threads: Int) throws {
        transformed = try TransformedFilters(self, threads: threads)
    }

    func outputSize(_ size: Int) -> Int { (size + padBefore + padAfter - kernel) / stride + 1 }
}

/// x (n, h, w, inputs) convolved: (n, h', w', outputs), plus the bias, plus a vector per image, plus `residual`.
///   imageBias  (n, 1, 1, outputs), added to every pixel of its image
///   residual   (n, h', w', outputs)
public func conv2D(
    _ x: Tensor, _ conv: Conv2D, imageBias: Tensor? = nil, residual: Tensor? = nil, in workspace: Workspace
) throws -> Tensor {
    try conv2D(x, conv, imageBias: imageBias, residual: residual, normalized: nil, in: workspace)
}

private func conv2D(
    _ x: Tensor, _ conv: Conv2D, imageBias: Tensor?, residual: Tensor?, normalized: Normalized?, in workspace: Workspace
) throws -> Tensor {
    try require(x.c == conv.inputs, "\(x.c) channels meet a convolution of \(conv.inputs)")
    try require(
        min(x.h, x.w) + conv.padBefore + conv.padAfter >= conv.kernel,
        "an image of \(x.h) x \(x.w) meets a convolution of \(conv.kernel) x \(conv.kernel)")
    let out = try Tensor(x.n, conv.outputSize(x.h), conv.outputSize(x.w), conv.outputs, in: workspace)
    if let residual { try require(residual.shape == out.shape, "\(residual.shape) is added to \(out.shape)") }
    if let imageBias {
        try require(imageBias.shape == (x.n, 1, 1, conv.outputs), "\(imageBias.shape) is added to \(out.shape)")
    }
    let biases = try conv2DBiases(conv, imageBias, images: x.n, in: workspace)
    if conv.usesWinograd {
        try winograd(x, normalized, conv, biases: biases, residual: residual, into: out, in: workspace)
    } else {
        try blockedProduct(x, conv, biases: biases, residual: residual, into: out, in: workspace)
    }
    workspace.tape?.record(out) { gradient, tape, workspace in
        try conv2DBackward(x, conv, imageBias, residual, gradient, tape, in: workspace)
    }
    return out
}

/// The convolution of f(a x + b). Images that the last-level cache does not hold are normalised as they are read: that
/// saves writing the result to memory and reading it again, and costs that pixels which several tiles share are computed
/// again.
public func conv2D(
    _ x: Normalized, _ conv: Conv2D, imageBias: Tensor? = nil, residual: Tensor? = nil, in workspace: Workspace
) throws -> Tensor {
    if conv.usesWinograd && x.x.count >= 2 << 20 && workspace.tape == nil {
        return try conv2D(x.x, conv, imageBias: imageBias, residual: residual, normalized: x, in: workspace)
    }
    return try conv2D(x.tensor(in: workspace), conv, imageBias: imageBias, residual: residual, in: workspace)
}

/// The convolution as a product: for a block of output pixels, the patches of one pass over k are gathered, never more.
private func blockedProduct(
    _ x: Tensor, _ conv: Conv2D, biases: Tensor, residual: Tensor?, into out: Tensor, in workspace: Workspace
) throws {
    let tasks = ProductTasks(rows: out.n * out.pixels, columns: out.c, threads: workspace.threads)
    let isPixelwise = conv.kernel == 1 && conv.stride == 1 && conv.padBefore == 0 && conv.padAfter == 0
    let patchSize = isPixelwise ? 0 : tasks.rowBlock * min(gemmDepth, conv.weight.k)
    let scratch = try Tensor(workspace.threads, 1, 1, patchSize, in: workspace)

    parallelFor(tasks.count, threads: workspace.threads) { task, thread in
        let (rows, columns) = tasks[task]
        var row = rows.lowerBound
        while row < rows.upperBound {  // image by image
            let image = row / out.pixels
            let end = min(rows.upperBound, (image + 1) * out.pixels)
            startSums(
                out, rows: row..<end, columns: columns, bias: biases.data + (biases.n == 1 ? 0 : image * out.c),
                residual: residual)
            row = end
        }
        if isPixelwise {
            addProduct(
                x.data + rows.lowerBound * x.c, lda: x.c, conv.weight, k: x.c, into: out, rows: rows, columns: columns)
            return
        }
        let patches = scratch.data + thread * patchSize
        for k0 in stride(from: 0, to: conv.weight.k, by: gemmDepth) {
            let depth = min(gemmDepth, conv.weight.k - k0)
            for row in rows {
                let pixel = row % out.pixels
                gatherPatch(
                    x, conv, image: row / out.pixels, y: pixel / out.w, x: pixel % out.w, from: k0, depth,
                    into: patches + (row - rows.lowerBound) * depth)
            }
            addProduct(
                patches, lda: depth, conv.weight, from: k0, k: depth, into: out, rows: rows, columns: columns)
        }
    }
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

// MARK: Backward

/// A convolution with inputs and outputs exchanged and the kernel turned around.
private final class Transposed: Sendable {
    let conv: Conv2D

    init(
        _ weight: StoredFloats, inputs: Int, outputs: Int, kernel: Int, stride: Int, padBefore: Int, padAfter: Int,
        threads: Int, in memory: WeightMemory
    ) throws {
        let taps = kernel * kernel
        let turned = try FloatBuffer(count: weight.count)  // (inputs, outputs, taps)
        for o in 0..<outputs {
            for i in 0..<inputs {
                for tap in 0..<taps {
                    turned.data[(i * outputs + o) * taps + taps - 1 - tap] = weight[(o * inputs + i) * taps + tap]
                }
            }
        }
        conv = try Conv2D(
            weight: StoredFloats(.f32, turned.data, count: turned.count), bias: nil, inputs: outputs, outputs: inputs,
            kernel: kernel, padBefore: kernel - 1 - padBefore,
            padAfter: stride == 1 ? kernel - 1 - padAfter : padBefore, threads: threads, in: memory)
    }
}

/// Gradients of `conv2D`.
///   gradient  of its result (n, h', w', outputs)
private func conv2DBackward(
    _ x: Tensor, _ conv: Conv2D, _ imageBias: Tensor?, _ residual: Tensor?, _ gradient: Tensor, _ tape: Tape,
    in workspace: Workspace
) throws {
    if let residual { try tape.add(gradient, to: residual, in: workspace) }
    if conv.bias?.gradient != nil || imageBias.map({ tape.wants($0) }) ?? false {
        let sums = try pixelSums(gradient, in: workspace)
        if let imageBias { try tape.add(sums, to: imageBias, in: workspace) }
        if let target = conv.bias?.gradient {
            for image in 0..<sums.n { for j in 0..<sums.c { target[j] += sums.data[image * sums.c + j] } }
        }
    }
    if conv.weight.gradient != nil { try addWeightGradient(x, conv, gradient, in: workspace) }
    try tape.addResult(to: x) { sum in
        guard let transposed = conv.transposed else {
            throw MCMError(.state, "a gradient meets a convolution that is not trained")
        }
        let spread = conv.stride == 1 ? gradient : try spread(gradient, x.h, x.w, stride: conv.stride, in: workspace)
        return try conv2D(spread, transposed.conv, residual: sum, in: workspace)
    }
}

/// Zeros between pixels: out[y s, x s] = in[y, x].
private func spread(_ x: Tensor, _ h: Int, _ w: Int, stride: Int, in workspace: Workspace) throws -> Tensor {
    let out = try Tensor(x.n, h, w, x.c, in: workspace)
    parallelFor(x.n, threads: workspace.threads) { image in
        (out.data + image * out.stride).update(repeating: 0, count: out.stride)
        for y in 0..<x.h {
            for column in 0..<x.w {
                (out.data + ((image * h + y * stride) * w + column * stride) * x.c)
                    .update(from: x.data + ((image * x.h + y) * x.w + column) * x.c, count: x.c)
            }
        }
    }
    return out
}

/// The sum over each image's pixels: (n, 1, 1, c).
private func pixelSums(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
    // Rows of pixels per task: by shape alone, for the sums to be the same for any number of threads.
    let block = max(1, min(x.pixels, (1 << 14) / x.c))
    let blocks = (x.pixels + block - 1) / block
    let parts = try Tensor(x.n, blocks, 1, x.c, in: workspace)
    let out = try Tensor(x.n, 1, 1, x.c, in: workspace)
    parallelFor(x.n * blocks, threads: workspace.threads) { task in
        let first = task % blocks * block
        sumRows(
            x.data + (task / blocks * x.pixels + first) * x.c, rows: min(block, x.pixels - first), columns: x.c,
            into: parts.data + task * x.c)
    }
    parallelFor(x.n, threads: workspace.threads) { image in
        sumRows(parts.data + image * parts.stride, rows: blocks, columns: x.c, into: out.data + image * x.c)
    }
    return out
}

private func sumRows(_ x: UnsafePointer<Float>, rows: Int, columns: Int, into out: UnsafeMutablePointer<Float>) {
    out.update(repeating: 0, count: columns)
    for row in 0..<rows { for j in 0..<columns { out[j] += x[row * columns + j] } }
}

/// dW = P^T g, where the rows of P are the patches that the pixels of the result read: the gradient of the weights,
/// added to the memory of whoever trains them.
///
/// Work is cut by shape alone, into blocks of dW and, where they are few, into chunks of pixels whose sums are added
/// last, so that bits do not depend on the number of threads.
private func addWeightGradient(_ x: Tensor, _ conv: Conv2D, _ gradient: Tensor, in workspace: Workspace) throws {
    guard let target = conv.weight.gradient else { return }
    let k = conv.weight.k, rows = gradient.n * gradient.pixels, outputs = conv.outputs
    let depth = 8 * gemmTransposedRows, width = 128, block = 256  // of dW, of dW, of pixels: in the L2 cache
    let depths = (k + depth - 1) / depth, widths = (outputs + width - 1) / width
    let chunks = max(1, min((rows + block - 1) / block, 16 / (depths * widths)))
    let chunk = (rows + chunks - 1) / chunks
    let padded = (outputs + 15) / 16 * 16

    let sums = try Tensor(chunks, 1, depths * depth, padded, in: workspace)
    let scratch = try Tensor(workspace.threads, 1, block, depth + width, in: workspace)
    parallelFor(chunks * depths * widths, threads: workspace.threads) { task, thread in
        let chunkRows = (task % chunks * chunk)..<min((task % chunks + 1) * chunk, rows)
        let k0 = task / chunks % depths * depth
        let count = min(depth, k - k0)
        let stride = (count + gemmTransposedRows - 1) / gemmTransposedRows * gemmTransposedRows
        let columns = (task / (chunks * depths) * width)..<min((task / (chunks * depths) + 1) * width, outputs)
        let patches = scratch.data + thread * scratch.stride, panels = patches + block * depth
        let into = sums.data + task % chunks * sums.stride + k0 * padded + columns.lowerBound
        for first in Swift.stride(from: chunkRows.lowerBound, to: chunkRows.upperBound, by: block) {
            let pixels = first..<min(first + block, chunkRows.upperBound)
            for row in pixels {
                let pixel = row % gradient.pixels
                gatherPatch(
                    x, conv, image: row / gradient.pixels, y: pixel / gradient.w, x: pixel % gradient.w, from: k0,
                    count, into: patches + (row - first) * stride)
            }
            packPanels(
                gradient.data + first * outputs + columns.lowerBound, rows: pixels.count, columns: columns.count,
                stride: outputs, into: panels)
            gemmTransposed(
                rows: stride, k: pixels.count, n: (columns.count + 15) / 16 * 16, a: patches, lda: stride, b: panels,
                panelStride: 16 * pixels.count, c: into, ldc: padded, accumulate: first > chunkRows.lowerBound)
        }
        if chunkRows.isEmpty { for i in 0..<stride { (into + i * padded).update(repeating: 0, count: columns.count) } }
    }
    // From (ky, kx, input), output to output, (input, ky, kx).
    let taps = conv.kernel * conv.kernel
    parallelFor(outputs, threads: workspace.threads) { output in
        for tap in 0..<taps {
            for input in 0..<conv.inputs {
                let source = sums.data + (tap * conv.inputs + input) * padded + output
                var sum = source[0]
                for chunk in 1..<chunks { sum += source[chunk * sums.stride] }
                target[(output * conv.inputs + input) * taps + tap] += sum
            }
        }
    }
}

/// A matrix (rows, columns) in panels of 16 columns, [columns / 16][rows][16], the last one padded with zeros.
func packPanels(
    _ x: UnsafePointer<Float>, rows: Int, columns: Int, stride: Int, into panels: UnsafeMutablePointer<Float>
) {
    for j in Swift.stride(from: 0, to: columns, by: 16) {
        let count = min(16, columns - j)
        let panel = panels + j * rows
        if count < 16 { panel.update(repeating: 0, count: 16 * rows) }
        for row in 0..<rows { (panel + row * 16).update(from: x + row * stride + j, count: count) }
    }
}
