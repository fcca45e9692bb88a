import Microkernels

/// A convolution with inputs and outputs exchanged and the kernel turned around.
final class Transposed: Sendable {
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
func conv2DBackward(
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
    let plan = conv.stride == 1 ? Rows(x, conv, gradient) as any PatchRows : Patches(x, conv, gradient)
    let outputs = conv.outputs, width = 128  // columns of dW per task
    let units = plan.units, widths = (outputs + width - 1) / width
    // Units per task: at most 256 KiB of dW, which stays in the L2 cache.
    let group = max(1, min(units.count, (64 << 10) / (plan.depth * min(width, outputs))))
    let groups = (units.count + group - 1) / group
    let chunks = max(1, min(plan.count, 16 / (groups * widths)))
    let padded = (outputs + 15) / 16 * 16

    let sums = try Tensor(chunks, units.count, plan.depth, padded, in: workspace)
    let scratch = try Tensor(workspace.threads, 1, 1, plan.size + plan.pixels * width, in: workspace)
    parallelFor(chunks * groups * widths, threads: workspace.threads) { task, thread in
        let chunk = task % chunks
        let blocks = (chunk * plan.count / chunks)..<((chunk + 1) * plan.count / chunks)
        let first = task / chunks % groups * group
        let column = task / (chunks * groups) * width
        let columns = column..<min(column + width, outputs)
        let rows = scratch.data + thread * scratch.stride, panels = rows + plan.size
        for block in blocks {
            let pixels = plan.copyGradient(block, columns, into: panels)
            for unit in first..<min(first + group, units.count) {
                let (a, lda, count) = plan.rows(block, unit, isFirst: unit == first, into: rows)
                gemmTransposed(
                    rows: (count + gemmTransposedRows - 1) / gemmTransposedRows * gemmTransposedRows, k: pixels,
                    n: (columns.count + 15) / 16 * 16, a: a, lda: lda, b: panels, panelStride: 16 * pixels,
                    c: sums.data + chunk * sums.stride + unit * plan.depth * padded + column, ldc: padded,
                    accumulate: block > blocks.lowerBound)
            }
        }
    }
    // From (ky, kx, input), output to output, (input, ky, kx).
    let taps = conv.kernel * conv.kernel
    parallelFor(units.count, threads: workspace.threads) { unit in
        for (i, row) in units[unit].enumerated() {
            let (tap, input) = (row / conv.inputs, row % conv.inputs)
            let source = sums.data + (unit * plan.depth + i) * padded
            for output in 0..<outputs {
                var sum = source[output]
                for chunk in 1..<chunks { sum += source[chunk * sums.stride + output] }
                target[(output * conv.inputs + input) * taps + tap] += sum
            }
        }
    }
}

/// How the patches of a convolution are come by: in blocks of pixels, and units of rows of dW.
private protocol PatchRows {
    /// Rows of dW, (ky, kx, input), of each unit, `depth` at most.
    var units: [Range<Int>] { get }
    var depth: Int { get }
    /// Blocks, and pixels per block at most.
    var count: Int { get }
    var pixels: Int { get }
    /// Floats that `rows` needs.
    var size: Int { get }

    /// The block's part of the result's gradient, in panels; returns its pixels.
    func copyGradient(_ block: Int, _ columns: Range<Int>, into panels: UnsafeMutablePointer<Float>) -> Int
    /// The unit's columns of the block's patches, (pixels, count) with a row stride.
    func rows(
        _ block: Int, _ unit: Int, isFirst: Bool, into scratch: UnsafeMutablePointer<Float>
    ) -> (UnsafePointer<Float>, stride: Int, count: Int)
}

/// The most rows of dW that are computed at a time.
private let mostRows = 96

/// Rows of dW in pieces of at most so many of each multiple of `size`.
private func pieces(_ total: Int, of size: Int) -> [Range<Int>] {
    stride(from: 0, to: total, by: size).flatMap { first in
        stride(from: first, to: first + size, by: mostRows).map { $0..<min($0 + mostRows, first + size) }
    }
}

/// Of stride 1: pieces of an image's rows with their padding, see `rowProducts`. Gradients of the pixels that padding adds
/// to a row are zero.
private struct Rows: PatchRows {
    let bands: Bands
    let conv: Conv2D
    let gradient: Tensor
    let channels: Int
    let units: [Range<Int>]
    let depth: Int

    init(_ x: Tensor, _ conv: Conv2D, _ gradient: Tensor) {
        (bands, self.conv, self.gradient, channels) = (Bands(x, conv, gradient), conv, gradient, x.c)
        depth = (min(mostRows, conv.kernel * x.c) + gemmTransposedRows - 1) / gemmTransposedRows * gemmTransposedRows
        units = pieces(conv.weight.k, of: conv.kernel * x.c)
    }

    var count: Int { bands.count }
    var pixels: Int { bands.pixels }
    var size: Int { bands.size }

    func copyGradient(_ block: Int, _ columns: Range<Int>, into panels: UnsafeMutablePointer<Float>) -> Int {
        let (image, rows) = bands[block]
        let pixels = (rows.count - 1) * bands.width + gradient.w
        for j in stride(from: 0, to: columns.count, by: 16) {
            let count = min(16, columns.count - j)
            let panel = panels + j * pixels
            if count < 16 || bands.width > gradient.w { panel.update(repeating: 0, count: 16 * pixels) }
            for (i, y) in rows.enumerated() {
                let source =
                    gradient.data + (image * gradient.h + y) * gradient.w * gradient.c + columns.lowerBound + j
                let row = panel + i * bands.width * 16
                for p in 0..<gradient.w { for k in 0..<count { row[p * 16 + k] = source[p * gradient.c + k] } }
            }
        }
        return pixels
    }

    func rows(
        _ block: Int, _ unit: Int, isFirst: Bool, into scratch: UnsafeMutablePointer<Float>
    ) -> (UnsafePointer<Float>, stride: Int, count: Int) {
        if isFirst { bands.copy(block, into: scratch) }
        let piece = units[unit], row = conv.kernel * channels
        return (
            UnsafePointer(scratch + piece.lowerBound / row * bands.width * channels + piece.lowerBound % row), channels,
            piece.count
        )
    }
}

/// Of any stride: patches are gathered.
private struct Patches: PatchRows {
    let x: Tensor
    let conv: Conv2D
    let gradient: Tensor
    let units: [Range<Int>]
    let depth = mostRows, pixels = 256

    init(_ x: Tensor, _ conv: Conv2D, _ gradient: Tensor) {
        (self.x, self.conv, self.gradient) = (x, conv, gradient)
        units = pieces(conv.weight.k, of: conv.weight.k)
    }

    private var total: Int { gradient.n * gradient.pixels }
    var count: Int { (total + pixels - 1) / pixels }
    var size: Int { pixels * depth }

    func copyGradient(_ block: Int, _ columns: Range<Int>, into panels: UnsafeMutablePointer<Float>) -> Int {
        let first = block * pixels, count = min(pixels, total - first)
        packPanels(
            gradient.data + first * gradient.c + columns.lowerBound, rows: count, columns: columns.count,
            stride: gradient.c, into: panels)
        return count
    }

    func rows(
        _ block: Int, _ unit: Int, isFirst: Bool, into scratch: UnsafeMutablePointer<Float>
    ) -> (UnsafePointer<Float>, stride: Int, count: Int) {
        let piece = units[unit]
        for row in (block * pixels)..<min((block + 1) * pixels, total) {
            let pixel = row % gradient.pixels
            gatherPatch(
                x, conv, image: row / gradient.pixels, y: pixel / gradient.w, x: pixel % gradient.w,
                from: piece.lowerBound, piece.count, into: scratch + (row - block * pixels) * depth)
        }
        return (UnsafePointer(scratch), depth, piece.count)
    }
}
