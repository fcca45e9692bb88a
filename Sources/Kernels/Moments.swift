import Microkernels

/// Means and sums of squared deviations of each channel, over the pixels of each image or over those of all.
struct Moments {
    /// (n or 1, 2, 2, c): each float of the last two sizes is half of a double; means, then deviations
    private let doubles: Tensor
    /// That each was taken over.
    private(set) var pixels: Int

    /// From those of blocks of pixels.
    ///   parts   (n, blocks, 2, c): means, then squared deviations; all blocks but the last have `block` pixels
    ///   pixels  per image
    fileprivate init(_ parts: Tensor, block: Int, pixels: Int, in workspace: Workspace) throws {
        let doubles = try Tensor(parts.n, 2, 2, parts.c, in: workspace)
        (self.doubles, self.pixels) = (doubles, pixels)
        parallelFor(parts.n, threads: workspace.threads) { image in
            withImage(image) { means, deviations in
                combineMoments(
                    parts.data + image * parts.stride, blocks: parts.h, block: block, pixels: pixels,
                    channels: parts.c, means: means, deviations: deviations)
            }
        }
    }

    /// Lends an image's means (c) and squared deviations (c).
    func withImage(
        _ image: Int, _ body: (UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>) -> Void
    ) {
        let c = doubles.c
        UnsafeMutableRawPointer(doubles.data + (doubles.n == 1 ? 0 : image * doubles.stride)).withMemoryRebound(
            to: Double.self, capacity: 2 * c
        ) { body($0, $0 + c) }
    }

    var channels: Int { doubles.c }

    /// Those of one more piece of the image (Chan, Golub, LeVeque).
    fileprivate mutating func add(_ piece: Moments) throws {
        try require(channels == piece.channels, "\(piece.channels) channels are added to \(channels)")
        let total = Double(pixels + piece.pixels), share = Double(piece.pixels) / total
        withImage(0) { means, deviations in
            piece.withImage(0) { otherMeans, otherDeviations in
                for j in 0..<channels {
                    let difference = otherMeans[j] - means[j]
                    means[j] += share * difference
                    deviations[j] += otherDeviations[j] + difference * difference * Double(pixels) * share
                }
            }
        }
        pixels += piece.pixels
    }
}

/// Of each image of x (n, h, w, c).
func imageMoments(_ x: Tensor, in workspace: Workspace) throws -> Moments {
    // Rows of pixels per task: by shape alone, for the partial sums to be the same for any number of threads.
    let block = max(1, min(x.pixels, (1 << 14) / x.c))
    let blocks = (x.pixels + block - 1) / block
    let parts = try Tensor(x.n, blocks, 2, x.c, in: workspace)
    parallelFor(x.n * blocks, threads: workspace.threads) { task in
        let first = task % blocks * block
        channelMoments(
            x.data + (task / blocks * x.pixels + first) * x.c, pixels: min(block, x.pixels - first), channels: x.c,
            into: parts.data + task * 2 * x.c)
    }
    return try Moments(parts, block: block, pixels: x.pixels, in: workspace)
}

/// The moments that the group norms of a computation in pieces share, for all pieces to be normalised as one. They are
/// found norm by norm: all pieces are computed up to the first norm, then again up to the second, and so on. Every piece
/// must meet the same norms in the same order.
public final class SharedMoments {
    /// Thrown where a piece meets the norm whose moments are being found: no need to go on.
    public struct Measured: Error {}

    /// The part of a piece whose pixels count: those of all pieces are the whole image's.
    public var core: (rows: Range<Int>, columns: Range<Int>) = (0..<0, 0..<0)
    private var norms: [Moments] = []
    private var place = 0
    private var sum: Moments?  // of the next norm, over the pieces so far

    public init() {}

    /// A piece follows.
    public func beginPiece() { place = 0 }

    /// All pieces have met the norm.
    public func endPass() throws {
        guard let sum else { throw MCMError(.format, "no piece meets norm \(norms.count)") }
        norms.append(sum)
        self.sum = nil
    }

    func next(_ x: Tensor, in workspace: Workspace) throws -> Moments {
        try require(x.n == 1, "\(x.n) images are a piece")
        if place < norms.count {
            let moments = norms[place]
            try require(moments.channels == x.c, "a piece meets other norms than the one before")
            place += 1
            return moments
        }
        let (rows, columns) = core
        try require(
            !rows.isEmpty && rows.lowerBound >= 0 && rows.upperBound <= x.h && !columns.isEmpty
                && columns.lowerBound >= 0 && columns.upperBound <= x.w,
            "moments of rows \(rows) and columns \(columns) of \(x.shape)")
        let parts = try Tensor(1, rows.count, 2, x.c, in: workspace)
        parallelFor(rows.count, threads: workspace.threads) { i in
            channelMoments(
                x.data + ((rows.lowerBound + i) * x.w + columns.lowerBound) * x.c, pixels: columns.count,
                channels: x.c, into: parts.data + i * 2 * x.c)
        }
        let piece = try Moments(parts, block: columns.count, pixels: rows.count * columns.count, in: workspace)
        try sum?.add(piece)
        sum = sum ?? piece
        throw Measured()
    }
}

/// Means and squared deviations of each channel over an image from those of its blocks of pixels.
///   parts  (blocks, 2, channels): all blocks but the last have `block` pixels
private func combineMoments(
    _ parts: UnsafePointer<Float>, blocks: Int, block: Int, pixels: Int, channels: Int,
    means: UnsafeMutablePointer<Double>, deviations: UnsafeMutablePointer<Double>
) {
    means.update(repeating: 0, count: channels)
    deviations.update(repeating: 0, count: channels)
    for k in 0..<blocks {
        let share = Double(min(block, pixels - k * block)) / Double(pixels)
        let part = parts + k * 2 * channels
        for j in 0..<channels { means[j] += share * Double(part[j]) }
    }
    for k in 0..<blocks {
        let count = Double(min(block, pixels - k * block))
        let part = parts + k * 2 * channels
        for j in 0..<channels {
            let difference = Double(part[j]) - means[j]
            deviations[j] += Double(part[channels + j]) + count * difference * difference
        }
    }
}
