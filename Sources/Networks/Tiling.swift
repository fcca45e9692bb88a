import Kernels

/// Whether an autoencoder works on an image in tiles, which bounds the memory that it takes.
///
/// Only the levels of more than a quarter of the image's size come in tiles; what is below, and all attention, is computed
/// whole. A tile is computed with all the pixels around it that its own depend on, so tiles fit together without
/// blending. What all pixels depend on, the statistics of group norms, is taken from a sample of the image and is the
/// same for all tiles: there are no seams, and what differs from an image computed whole differs evenly.
public struct Tiling: Sendable {
    /// Height and width of a tile, in pixels of the image.
    let tile: Int
    /// Images of more pixels come in tiles.
    let limit: Int

    public static let off = Tiling(tile: 512, limit: .max)
    /// Tiles of 512 x 512 for images of more than 768 x 768 pixels.
    public static let automatic = automatic(above: 768)

    /// Tiles of 512 x 512 for images that have more pixels than a square of this size.
    public static func automatic(above size: Int) -> Tiling {
        Tiling(tile: 512, limit: checkedProduct([size, size]) ?? .max)
    }

    /// Tiles of about this height and width, at least 64, in pixels of the image.
    public static func size(_ size: Int) -> Tiling {
        let tile = max(64, size)
        return Tiling(tile: tile, limit: checkedProduct([tile, tile]) ?? .max)
    }
}

/// All stages one after the other. Large images come one at a time, and some of their stages in tiles.
///   inTiles      the stages that may come in tiles; they hold no attention
///   x            (n, h, w, c)
///   imagePixels  of one image at its full size
func run(
    _ stages: [Stage], inTiles: Range<Int>, _ x: Tensor, imagePixels: Int, _ tiling: Tiling, in workspace: Workspace
) throws -> Tensor {
    func whole(_ stages: ArraySlice<Stage>, _ x: Tensor) throws -> Tensor {
        var x = x
        for stage in stages { x = try stage(consume x, in: workspace) }
        return x
    }
    let batch = max(1, (512 * 512) / max(1, imagePixels))
    if x.n <= batch && (imagePixels <= tiling.limit || inTiles.isEmpty) { return try whole(stages[...], x) }

    var out: Tensor?
    for first in stride(from: 0, to: x.n, by: batch) {
        let images = x.images(first..<min(first + batch, x.n))
        var y = try whole(stages[..<inTiles.lowerBound], images)
        y =
            imagePixels > tiling.limit && !inTiles.isEmpty
            ? try TiledStages(stages: stages[inTiles], tile: tiling.tile)(y, in: workspace)
            : try whole(stages[inTiles], y)
        y = try whole(stages[inTiles.upperBound...], y)
        if x.n <= batch { return y }
        let all = try out ?? Tensor(x.n, y.h, y.w, y.c, in: workspace)
        (all.data + first * y.stride).update(from: y.data, count: y.count)
        out = all
    }
    guard let out else { throw MCMError(.size, "no image, expected at least one") }
    return out
}
