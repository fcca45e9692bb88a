import Glibc
import Synchronization

/// Floats as a file stores them: row-major, 16 or 32 bits, not necessarily aligned.
public struct StoredFloats {
    public let element: PanelElement
    public let base: UnsafeRawPointer
    public let count: Int
    /// Where gradients of these parameters are added, in the same order, while they are trained: the memory of whoever
    /// trains, which outlives the layers made of them. nil for parameters that stay.
    public let gradient: UnsafeMutablePointer<Float>?

    public init(
        _ element: PanelElement, _ base: UnsafeRawPointer, count: Int, gradient: UnsafeMutablePointer<Float>? = nil
    ) {
        (self.element, self.base, self.count, self.gradient) = (element, base, count, gradient)
    }

    /// One element.
    public subscript(_ i: Int) -> Float {
        switch element {
        case .f32: base.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)
        case .f16: Float(base.loadUnaligned(fromByteOffset: 2 * i, as: Float16.self))
        case .bf16: Float(bitPattern: UInt32(base.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)) << 16)
        case .i8: Float(base.loadUnaligned(fromByteOffset: i, as: Int8.self))
        }
    }

    /// Some of them.
    public subscript(_ range: Range<Int>) -> StoredFloats {
        StoredFloats(
            element, base + range.lowerBound * element.size, count: range.count,
            gradient: gradient.map { $0 + range.lowerBound })
    }

    /// All of them, widened.
    public func widen(into target: UnsafeMutablePointer<Float>) {
        switch element {
        case .f32: UnsafeMutableRawPointer(target).copyMemory(from: base, byteCount: 4 * count)
        case .f16:
            for i in 0..<count { target[i] = Float(base.loadUnaligned(fromByteOffset: 2 &* i, as: Float16.self)) }
        case .bf16:
            for i in 0..<count {
                target[i] = Float(bitPattern: UInt32(base.loadUnaligned(fromByteOffset: 2 &* i, as: UInt16.self)) << 16)
            }
        case .i8: for i in 0..<count { target[i] = self[i] }
        }
    }

    /// The first element that is infinite or NaN.
    public var firstNonFinite: Int? { firstNonFinite(in: 0..<count) }

    func firstNonFinite(in range: Range<Int>) -> Int? {
        // Without the sign, infinity and NaN are the largest bit patterns. The loops vectorise.
        var largest: UInt32 = 0
        let limit: UInt32
        if element == .f32 {
            for i in range {
                largest = max(largest, base.loadUnaligned(fromByteOffset: 4 &* i, as: UInt32.self) & 0x7fff_ffff)
            }
            limit = 0x7f80_0000
        } else {
            var top: UInt16 = 0
            for i in range { top = max(top, base.loadUnaligned(fromByteOffset: 2 &* i, as: UInt16.self) & 0x7fff) }
            largest = UInt32(top)
            limit = element == .f16 ? 0x7c00 : 0x7f80
        }
        return largest < limit ? nil : range.first { !self[$0].isFinite }
    }
}

extension PanelElement {
    /// Bytes per element.
    public var size: Int {
        switch self {
        case .f32: 4
        case .f16, .bf16: 2
        case .i8: 1
        }
    }
}

/// The constant factor B (k, n) of products A * B, packed for `gemm`: panels of 16 columns, [n / 16][k][16], the last
/// one padded with zeros. Packed once when a model is loaded, so that no product packs anything; elements keep the
/// width that they have in the file.
public final class PackedMatrix: @unchecked Sendable {  // immutable after init
    public let k, n: Int
    public let element: PanelElement
    let panels: UnsafeMutableRawPointer
    public let bytes: Int
    /// Of the columns, padded with zeros, for integers.
    let scales: FloatBuffer?
    /// Sums of squares of the elements, and of what rounding to integers changed them by.
    public private(set) var squares = (all: 0.0, error: 0.0)
    /// (n, inputs, taps), as `filters` was: see StoredFloats.
    let gradient: UnsafeMutablePointer<Float>?
    private let owner: FloatBuffer  // of the memory

    /// Packs filters.
    ///   filters    (n, inputs, taps), as PyTorch stores the weights of convolutions; taps is 1 for linear layers
    ///   inputMajor whether rows of B (taps * inputs, n) are ordered (input, tap) or (tap, input)
    ///   rounds     whether elements become 8-bit integers with a scale per column, the largest one 127
    /// Throws `.format` naming the element where one is not finite.
    public init(
        _ filters: StoredFloats, n: Int, inputs: Int, taps: Int = 1, inputMajor: Bool = true, rounds: Bool = false,
        threads: Int, in memory: WeightMemory = WeightMemory()
    ) throws {
        guard let k = checkedProduct([inputs, taps]), let count = checkedProduct([n, k]),
            let size = checkedProduct([(n + 15) / 16, k, 16])
        else {
            throw MCMError(.outOfMemory, "a matrix of \(inputs) x \(taps) x \(n) exceeds the address space")
        }
        try require(count == filters.count, "\(filters.count) elements fill a matrix of \(k) x \(n)")
        let element = rounds ? .i8 : filters.element
        (self.k, self.n, self.element, bytes) = (k, n, element, size * element.size)
        gradient = filters.gradient
        scales = rounds ? try FloatBuffer(count: (n + 15) / 16 * 16) : nil
        (panels, owner) = try memory.allocate(bytes)
        let sums = try rounds ? FloatBuffer(count: 2 * n) : nil
        let firstBad = Atomic<Int>(.max)
        // Each panel is written by one thread.
        nonisolated(unsafe) let panels = panels, source = filters.base
        parallelFor((n + 15) / 16, threads: threads) { panel in
            let rows = (panel * 16)..<min(panel * 16 + 16, n)
            if let bad = filters.firstNonFinite(in: (rows.lowerBound * k)..<(rows.upperBound * k)) {
                firstBad.min(bad, ordering: .relaxed)
            }
            let from = source + rows.lowerBound * k * filters.element.size
            let to = panels + panel * 16 * k * element.size
            if let scales, let sums {
                if rows.count < 16 { to.initializeMemory(as: UInt8.self, repeating: 0, count: 16 * k) }
                for row in rows {
                    round(
                        filters[(row * k)..<((row + 1) * k)], inputs: inputMajor ? k : inputs,
                        taps: inputMajor ? 1 : taps, into: to.assumingMemoryBound(to: Int8.self) + row % 16,
                        scale: scales.data + row, squares: sums.data + 2 * row)
                }
            } else if element == .f32 {
                pack(
                    UInt32.self, from, rows: rows.count, inputs: inputMajor ? k : inputs, taps: inputMajor ? 1 : taps,
                    into: to)
            } else {
                pack(
                    UInt16.self, from, rows: rows.count, inputs: inputMajor ? k : inputs, taps: inputMajor ? 1 : taps,
                    into: to)
            }
        }
        let bad = firstBad.load(ordering: .relaxed)
        if bad != .max {
            throw MCMError(.format, "holds \(filters[bad]) at element \(bad), expected finite numbers")
        }
        if let sums {
            for row in 0..<n {
                squares.all += Double(sums.data[2 * row])
                squares.error += Double(sums.data[2 * row + 1])
            }
        }
    }
}

/// A filter (inputs, taps) as integers, into one column of its panel: [tap][input][16].
///   squares  receives the sum of the elements' squares, and that of their changes'
private func round(
    _ filter: StoredFloats, inputs: Int, taps: Int, into column: UnsafeMutablePointer<Int8>,
    scale: UnsafeMutablePointer<Float>, squares: UnsafeMutablePointer<Float>
) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: max(filter.count, 1)) { values in
        guard let values = values.baseAddress else { return }
        filter.widen(into: values)
        var largest: Float = 0
        for i in 0..<filter.count { largest = max(largest, abs(values[i])) }
        guard largest > 0, largest.isFinite else { return column.fill(0, count: filter.count) }
        scale.pointee = largest / 127
        var all = 0.0, error = 0.0
        for input in 0..<inputs {
            for tap in 0..<taps {
                let value = values[input &* taps &+ tap]
                let rounded = (value / scale.pointee).rounded(.toNearestOrEven)
                let integer = Int8(max(-127, min(127, rounded)))
                column[(tap &* inputs &+ input) &* 16] = integer
                let change = Double(Float(integer) * scale.pointee - value)
                all += Double(value) * Double(value)
                error += change * change
            }
        }
        (squares[0], squares[1]) = (Float(all), Float(error))
    }
}

extension UnsafeMutablePointer<Int8> {
    /// Every sixteenth.
    fileprivate func fill(_ value: Int8, count: Int) { for i in 0..<count { self[16 * i] = value } }
}

/// One panel from up to 16 rows of (inputs, taps): [tap][input][16].
private func pack<Bits: FixedWidthInteger & BitwiseCopyable>(
    _: Bits.Type, _ from: UnsafeRawPointer, rows: Int, inputs: Int, taps: Int, into to: UnsafeMutableRawPointer
) {
    let size = MemoryLayout<Bits>.size
    let k = inputs &* taps
    let panel = to.assumingMemoryBound(to: Bits.self)
    if rows < 16 { panel.update(repeating: 0, count: 16 * k) }
    for input in 0..<inputs {
        for tap in 0..<taps {
            let row = panel + (tap &* inputs &+ input) &* 16
            let column = from + (input &* taps &+ tap) &* size
            for lane in 0..<rows { row[lane] = column.loadUnaligned(fromByteOffset: lane &* k &* size, as: Bits.self) }
        }
    }
}

/// Rows that one task multiplies at a time: their part of A, 96 x gemmDepth floats, stays in the L2 cache.
let gemmRows = 96

/// How a product of `rows` x `columns` is cut into tasks. Elements do not depend on it.
struct ProductTasks {
    let rows, columns, rowBlock, columnBlock: Int

    /// Blocks of `gemmRows` rows and all columns; smaller ones where there would be too few to share out.
    init(rows: Int, columns: Int, threads: Int) {
        let wanted = threads == 1 ? 1 : 4 * threads
        var rowBlock = min(rows, gemmRows)
        // A block of 48 rows still reads B rarely enough.
        if rows > 48, (rows + rowBlock - 1) / rowBlock < wanted { rowBlock = 48 }
        let rowBlocks = max(1, (rows + rowBlock - 1) / max(1, rowBlock))
        let columnBlocks = max(1, min((wanted + rowBlocks - 1) / rowBlocks, columns / 64))
        (self.rows, self.columns, self.rowBlock) = (rows, columns, max(1, rowBlock))
        columnBlock = max(32, ((columns + columnBlocks - 1) / columnBlocks + 31) / 32 * 32)
    }

    private var columnBlocks: Int { (columns + columnBlock - 1) / columnBlock }
    var count: Int { (rows + rowBlock - 1) / rowBlock * columnBlocks }

    /// Tasks that follow each other share columns, so that B's part is in a cache for the second.
    subscript(_ task: Int) -> (rows: Range<Int>, columns: Range<Int>) {
        let rowBlocks = (rows + rowBlock - 1) / rowBlock
        let row = task % rowBlocks * rowBlock, column = task / rowBlocks * columnBlock
        return (row..<min(row + rowBlock, rows), column..<min(column + columnBlock, columns))
    }
}

/// What the sums of a block of `out` start with: bias + residual.
///   rows  pixels of `out`, counted through all images
///   bias  (c) or nil for zeros
func startSums(
    _ out: Tensor, rows: Range<Int>, columns: Range<Int>, bias: UnsafePointer<Float>?, residual: Tensor?
) {
    let first = columns.lowerBound, count = columns.count
    for row in rows {
        let target = out.data + row * out.c + first
        switch (bias, residual) {
        case (let bias?, let residual?):
            let source = residual.data + row * out.c + first
            for j in 0..<count { target[j] = bias[first + j] + source[j] }
        case (let bias?, nil): target.update(from: bias + first, count: count)
        case (nil, let residual?): target.update(from: residual.data + row * out.c + first, count: count)
        case (nil, nil): target.update(repeating: 0, count: count)
        }
    }
}

/// out += a B for a block of `out`.
///   a  row `rows.lowerBound` of A, from column k0 on, with row stride `lda`
///   k  the rows of B that take part: k0 ..< k0 + k
func addProduct(
    _ a: UnsafePointer<Float>, lda: Int, _ b: PackedMatrix, from k0: Int = 0, k: Int, into out: Tensor,
    rows: Range<Int>, columns: Range<Int>
) {
    let panel = (columns.lowerBound / 16 * b.k + k0) * 16
    gemm(
        rows: rows.count, k: k, n: columns.count, a: a, lda: lda, b: b.panels + panel * b.element.size,
        element: b.element, scales: b.scales.map { $0.data + columns.lowerBound }, panelStride: b.k * 16,
        c: out.data + rows.lowerBound * out.c + columns.lowerBound,
        ldc: out.c, accumulate: true)
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
