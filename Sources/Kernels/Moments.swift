import Microkernels

/// Means and sums of squared deviations of each channel, over the pixels of each image or over those of all.
struct Moments {
    /// (n or 1, 2, 2, c): each float of the last two sizes is half of a double; means, then deviations
    private let doubles: Tensor
    /// That each was taken over.
    let pixels: Int

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

/// The moments that the group norms of a computation in pieces share, so that all pieces are normalised as one. They are
/// taken from a sample: a batch of pieces that runs first, whose images count as one. Every piece must meet the same
/// norms in the same order.
public final class SharedMoments {
    /// The part of each piece whose pixels have all their neighbours: the others do not count.
    public var core: (rows: Range<Int>, columns: Range<Int>) = (0..<0, 0..<0)
    private var layers: [Moments] = []
    private var place: Int?  // nil while the sample runs

    public init() {}

    /// A piece follows.
    public func rewind() { place = 0 }

    func next(_ x: Tensor, in workspace: Workspace) throws -> Moments {
        if let i = place {
            try require(i < layers.count && layers[i].channels == x.c, "a piece meets other norms than the sample")
            place = i + 1
            return layers[i]
        }
        let (rows, columns) = core
        try require(
            !rows.isEmpty && rows.upperBound <= x.h && !columns.isEmpty && columns.upperBound <= x.w,
            "moments of rows \(rows) and columns \(columns) of \(x.shape)")
        let parts = try Tensor(1, x.n * rows.count, 2, x.c, in: workspace)
        parallelFor(parts.h, threads: workspace.threads) { task in
            let row = task / rows.count * x.h + rows.lowerBound + task % rows.count
            channelMoments(
                x.data + (row * x.w + columns.lowerBound) * x.c, pixels: columns.count, channels: x.c,
                into: parts.data + task * 2 * x.c)
        }
        layers.append(
            try Moments(parts, block: columns.count, pixels: parts.h * columns.count, in: workspace))
        return layers[layers.count - 1]
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
