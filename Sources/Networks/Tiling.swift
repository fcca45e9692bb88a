import Kernels

/// Whether an autoencoder works on an image in tiles, which takes a quarter of the memory and up to twice the time.
///
/// What is at a quarter of the image's size or less, and all attention, is computed whole all the same; what is larger
/// comes in tiles that know all of the image that they depend on (TiledStages): nothing is blended and there are no seams.
public struct Tiling: Sendable {
    /// Height and width of a tile.
    let tile: Int
    /// Images of more pixels come in tiles.
    let limit: Int

    public static var off: Tiling { Tiling(tile: 256, limit: .max) }
    /// In tiles of 256 x 256 above 768 x 768 pixels.
    public static var automatic: Tiling { automatic(above: 768) }

    /// In tiles of 256 x 256 for images that have more pixels than a square of this size.
    public static func automatic(above size: Int) -> Tiling {
        Tiling(tile: 256, limit: checkedProduct([max(0, size), max(0, size)]) ?? .max)
    }

    /// In tiles of at most this height and width (at least 32), if the image is larger than one.
    public static func size(_ size: Int) -> Tiling {
        let tile = max(32, size)
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
    // What an earlier computation took is in the way of one that takes much.
    if imagePixels >= 256 * 256 { workspace.trim() }
    let isTiled = imagePixels > tiling.limit && !inTiles.isEmpty
    let batch = isTiled ? 1 : max(1, (512 * 512) / max(1, imagePixels))
    var out: Tensor?
    for first in stride(from: 0, to: x.n, by: batch) {
        var y = x.images(first..<min(first + batch, x.n))
        for (i, stage) in stages.enumerated() where !(isTiled && inTiles.contains(i)) || i == inTiles.lowerBound {
            if isTiled && i == inTiles.lowerBound {
                y = try TiledStages(stages: stages[inTiles], tile: tiling.tile)(consume y, in: workspace)
            } else {
                y = try stage(consume y, in: workspace)
            }
        }
        if x.n <= batch { return y }
        let all = try out ?? Tensor(x.n, y.h, y.w, y.c, in: workspace)
        (all.data + first * y.stride).update(from: y.data, count: y.count)
        out = all
    }
    guard let out else { throw MCMError(.size, "no image, expected at least one") }
    return out
}
