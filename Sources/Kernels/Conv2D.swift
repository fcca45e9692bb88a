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
    let transposed: Transposed?

    /// weight: (outputs, inputs, kernel, kernel), as PyTorch stores it.
    public init(
        weight: StoredFloats, bias: FloatBuffer?, inputs: Int, outputs: Int, kernel: Int, stride: Int = 1,
        padBefore: Int, padAfter: Int, rounds: Bool = false, threads: Int, in memory: WeightMemory = WeightMemory()
    ) throws {
        // Few inputs leave too few products to pay for Winograd's transforms.
        usesWinograd =
            kernel == 3 && stride == 1 && padBefore == 1 && padAfter == 1 && inputs >= 16
        self.weight = try PackedMatrix(
            weight, n: outputs, inputs: inputs, taps: kernel * kernel, inputMajor: usesWinograd,
            rounds: rounds, threads: threads, in: memory)
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
    try conv2D(x, .asIs, conv, imageBias: imageBias, residual: residual, in: workspace)
}

/// What a convolution makes of the pixels as it reads them.
enum Reading {
    case asIs, upsampled
    case normalized(Normalized)
}

private func conv2D(
    _ x: Tensor, _ reading: Reading, _ conv: Conv2D, imageBias: Tensor?, residual: Tensor?, in workspace: Workspace
) throws -> Tensor {
    try require(x.c == conv.inputs, "\(x.c) channels meet a convolution of \(conv.inputs)")
    try require(
        min(x.h, x.w) + conv.padBefore + conv.padAfter >= conv.kernel,
        "an image of \(x.h) x \(x.w) meets a convolution of \(conv.kernel) x \(conv.kernel)")
    let scale = if case .upsampled = reading { 2 } else { 1 }
    let out = try Tensor(
        x.n, conv.outputSize(scale * x.h), conv.outputSize(scale * x.w), conv.outputs, in: workspace)
    if let residual { try require(residual.shape == out.shape, "\(residual.shape) is added to \(out.shape)") }
    if let imageBias {
        try require(imageBias.shape == (x.n, 1, 1, conv.outputs), "\(imageBias.shape) is added to \(out.shape)")
    }
    let biases = try conv2DBiases(conv, imageBias, images: x.n, in: workspace)
    if conv.usesWinograd {
        try winograd(x, reading, conv, biases: biases, residual: residual, into: out, in: workspace)
    } else if conv.kernel > 1 && conv.stride == 1 && out.w >= gemmRows / 8 {
        try rowProducts(x, conv, biases: biases, residual: residual, into: out, in: workspace)
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
    if readsLarge(x.x.count, conv, in: workspace) {
        return try conv2D(x.x, .normalized(x), conv, imageBias: imageBias, residual: residual, in: workspace)
    }
    return try conv2D(x.tensor(in: workspace), conv, imageBias: imageBias, residual: residual, in: workspace)
}

/// The convolution of x (n, h, w, inputs) with each pixel doubled in both directions (nearest): (n, 2 h, 2 w, outputs).
/// Large images are doubled as they are read.
public func conv2D(upsampling x: Tensor, _ conv: Conv2D, in workspace: Workspace) throws -> Tensor {
    if readsLarge(4 * x.count, conv, in: workspace) {
        return try conv2D(x, .upsampled, conv, imageBias: nil, residual: nil, in: workspace)
    }
    return try conv2D(upsampleNearest2x(x, in: workspace), conv, in: workspace)
}

/// Whether the last-level cache does not hold `count` floats that a convolution could compute as it reads.
private func readsLarge(_ count: Int, _ conv: Conv2D, in workspace: Workspace) -> Bool {
    conv.usesWinograd && count >= 2 << 20 && workspace.tape == nil
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

/// The same sums in the same order for stride 1, without gathering patches: in an image with its padding, a patch's rows
/// are pieces of the image's rows, and those of the next pixel begin one pixel further.
private func rowProducts(
    _ x: Tensor, _ conv: Conv2D, biases: Tensor, residual: Tensor?, into out: Tensor, in workspace: Workspace
) throws {
    let bands = Bands(x, conv, out)
    let scratch = try Tensor(workspace.threads, 1, 1, bands.size, in: workspace)
    let depth = conv.kernel * x.c
    parallelFor(bands.count, threads: workspace.threads) { task, thread in
        let band = scratch.data + thread * bands.size
        let (image, rows) = bands[task]
        bands.copy(task, into: band)
        for y in rows {
            let pixels = ((image * out.h + y) * out.w)..<((image * out.h + y + 1) * out.w)
            startSums(
                out, rows: pixels, columns: 0..<out.c, bias: biases.data + (biases.n == 1 ? 0 : image * out.c),
                residual: residual)
            for ky in 0..<conv.kernel {
                addProduct(
                    band + (y - rows.lowerBound + ky) * bands.width * x.c, lda: x.c, conv.weight, from: ky * depth,
                    k: depth, into: out, rows: pixels, columns: 0..<out.c)
            }
        }
    }
}

/// Rows of an image's result, for stride 1, and the rows with padding that they read.
struct Bands {
    private let x: Tensor
    private let conv: Conv2D
    private let height: Int  // rows of the result
    private let rows: Int  // of it per band
    /// Pixels of a row with its padding.
    let width: Int
    /// Floats that a band reads, and some that a tile may read beyond.
    let size: Int

    init(_ x: Tensor, _ conv: Conv2D, _ out: Tensor) {
        (self.x, self.conv, height) = (x, conv, out.h)
        width = x.w + conv.padBefore + conv.padAfter
        rows = max(1, min(out.h, 256 / width))
        size = (rows + conv.kernel - 1) * width * x.c + 16
    }

    private var perImage: Int { (height + rows - 1) / rows }
    var count: Int { x.n * perImage }
    /// Pixels of a band's result, counting the padding of its rows.
    var pixels: Int { rows * width }

    subscript(_ band: Int) -> (image: Int, rows: Range<Int>) {
        let first = band % perImage * rows
        return (band / perImage, first..<min(first + rows, height))
    }

    func copy(_ band: Int, into target: UnsafeMutablePointer<Float>) {
        let (image, rows) = self[band]
        for i in 0..<(rows.count + conv.kernel - 1) {
            let y = rows.lowerBound + i - conv.padBefore
            let row = target + i * width * x.c
            guard y >= 0 && y < x.h else {
                row.update(repeating: 0, count: width * x.c)
                continue
            }
            row.update(repeating: 0, count: conv.padBefore * x.c)
            (row + conv.padBefore * x.c).update(from: x.data + (image * x.h + y) * x.w * x.c, count: x.w * x.c)
            (row + (conv.padBefore + x.w) * x.c).update(repeating: 0, count: conv.padAfter * x.c)
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
func gatherPatch(
    _ source: Tensor, _ conv: Conv2D, image: Int, y: Int, x: Int, from: Int, _ count: Int,
    into patch: UnsafeMutablePointer<Float>
) {
    var tap = from / conv.inputs
    var channel = from % conv.inputs
    var done = 0
    while done < count {
        let row = y * conv.stride + tap / conv.kernel - conv.padBefore
        let column = x * conv.stride + tap % conv.kernel - conv.padBefore
        let target = patch + done
        // Pixels beside each other follow each other in memory: all taps of a row that are inside at once.
        let left = conv.kernel - tap % conv.kernel
        let taps = column >= 0 && column + left <= source.w ? left : 1
        let run = min(taps * conv.inputs - channel, count - done)
        if row >= 0 && row < source.h && column >= 0 && column < source.w {
            let pixel = source.data + ((image * source.h + row) * source.w + column) * source.c + channel
            target.update(from: pixel, count: run)
        } else {
            target.update(repeating: 0, count: run)
        }
        done += run
        channel = 0
        tap += taps
    }
}
