/// An image that waits, whole, while pieces of it are computed on: floats, or their upper halves (bfloat16), which round
/// to 8 bits and halve the memory.
public struct StoredImage {
    public enum Element { case float, bfloat16 }

    public let h, w, c: Int
    private let element: Element
    private let storage: Tensor

    public init(_ h: Int, _ w: Int, _ c: Int, _ element: Element, in workspace: Workspace) throws {
        (self.h, self.w, self.c, self.element) = (h, w, c, element)
        storage =
            switch element {
            case .float: try Tensor(1, h, w, c, in: workspace)
            case .bfloat16: try Tensor(1, h, w, (c + 1) / 2, in: workspace)  // at least as many halves as floats
            }
    }

    /// x (1, h, w, c), sharing its floats.
    public init(_ x: Tensor) throws {
        try require(x.n == 1, "\(x.n) images are stored as one")
        (h, w, c, element, storage) = (x.h, x.w, x.c, .float, x)
    }

    /// (1, h, w, c), sharing the floats of one that holds floats.
    public var tensor: Tensor { storage }

    /// A rectangle of pixels: (1, rows.count, columns.count, c).
    public func read(_ rows: Range<Int>, _ columns: Range<Int>, in workspace: Workspace) throws -> Tensor {
        try check(rows, columns)
        let piece = try Tensor(1, rows.count, columns.count, c, in: workspace)
        parallelFor(rows.count, threads: workspace.threads) { i in
            let first = ((rows.lowerBound + i) * w + columns.lowerBound) * c
            let target = piece.data + i * columns.count * c
            switch element {
            case .float: target.update(from: storage.data + first, count: columns.count * c)
            case .bfloat16:
                let source = halves + first
                for j in 0..<(columns.count &* c) { target[j] = Float(bitPattern: UInt32(source[j]) << 16) }
            }
        }
        return piece
    }

    /// Writes pixels `rows` and `columns`, which lie in the piece from `at` on.
    ///   piece  (1, h', w', c)
    public func write(
        _ piece: Tensor, at: (row: Int, column: Int), _ rows: Range<Int>, _ columns: Range<Int>,
        in workspace: Workspace
    ) throws {
        try check(rows, columns)
        try require(
            piece.n == 1 && piece.c == c && at.row >= 0 && at.row + rows.count <= piece.h && at.column >= 0
                && at.column + columns.count <= piece.w,
            "\(rows.count) x \(columns.count) pixels from \(at) on of \(piece.shape), for \(c) channels")
        parallelFor(rows.count, threads: workspace.threads) { i in
            let first = ((rows.lowerBound + i) * w + columns.lowerBound) * c
            let source = piece.data + ((at.row + i) * piece.w + at.column) * c
            switch element {
            case .float: (storage.data + first).update(from: source, count: columns.count * c)
            case .bfloat16:
                let target = halves + first
                for j in 0..<(columns.count &* c) {
                    let bits = source[j].bitPattern
                    let rounded = (bits &+ 0x7fff &+ (bits >> 16 & 1)) >> 16  // to nearest, ties to even
                    target[j] = UInt16(truncatingIfNeeded: source[j].isNaN ? bits >> 16 | 0x40 : rounded)
                }
            }
        }
    }

    private var halves: UnsafeMutablePointer<UInt16> {
        UnsafeMutableRawPointer(storage.data).assumingMemoryBound(to: UInt16.self)
    }

    private func check(_ rows: Range<Int>, _ columns: Range<Int>) throws {
        try require(
            rows.lowerBound >= 0 && rows.upperBound <= h && columns.lowerBound >= 0 && columns.upperBound <= w,
            "rows \(rows) and columns \(columns) of an image of \(h) x \(w)")
    }
}
