import Microkernels

/// A 3 x 3 convolution of stride 1 and padding 1 by F(4x4, 3x3): see Microkernels/Winograd.swift for the equations.
///
/// There are two ways through it, which give the same bits. Many tiles meeting few filters are taken tile block by tile
/// block: all filters are transformed once and read from the last-level cache, while a block's transformed input and
/// products stay in the L2 cache of one core. Otherwise it goes filter block by filter block: the input is transformed
/// for all, and each block of output channels transforms its own filters, a group of inputs at a time, in the L2 cache.
/// That costs less than reading them transformed, four times their size, from memory.
///   reading  what is convolved in place of x, computed band by band
///   biases   (n or 1, 1, 1, outputs)
func winograd(
    _ x: Tensor, _ reading: Reading, _ conv: Conv2D, biases: Tensor, residual: Tensor?, into out: Tensor,
    in workspace: Workspace
) throws {
    let convolution = WinogradConvolution(
        x: x, reading: reading, conv: conv, biases: biases, residual: residual, out: out)
    if convolution.goesByTiles(threads: workspace.threads) {
        try convolution.computeByTiles(in: workspace)
    } else {
        try convolution.computeByFilters(in: workspace)
    }
}

private struct WinogradConvolution {
    let x: Tensor
    let reading: Reading
    let conv: Conv2D
    let biases: Tensor
    let residual: Tensor?
    let out: Tensor

    var blocking: WinogradBlocking { WinogradBlocking(inputs: x.c, outputs: out.c) }
    /// Of 4 x 4 output pixels; `tiles` of all images.
    var tilesDown: Int { (out.h + 3) / 4 }
    var tilesAcross: Int { (out.w + 3) / 4 }
    var tiles: Int { x.n * tilesDown * tilesAcross }

    // MARK: Tile block by tile block

    /// Tiles whose transformed input and products take about 640 KiB of the L2 cache, in whole tiles of the product.
    private var residentTiles: Int {
        max(12, (160 << 10) / (winogradPlaces * (blocking.groups * blocking.depth + winogradColumns)) / 12 * 12)
    }

    func goesByTiles(threads: Int) -> Bool {
        blocking.totalCount <= 2 << 20 && tiles >= 2 * threads * residentTiles
    }

    func computeByTiles(in workspace: Workspace) throws {
        let blocking = blocking
        let own = try Tensor(1, 1, 1, conv.transformed == nil ? blocking.totalCount : 0, in: workspace)
        if conv.transformed == nil {
            parallelFor(blocking.columnBlocks * blocking.groups, threads: workspace.threads) { task in
                blocking.transform(
                    conv.weight, task / blocking.groups, task % blocking.groups,
                    into: own.data + task * blocking.filterCount)
            }
        }
        let filters = conv.transformed?.data ?? UnsafePointer(own.data)
        let count = residentTiles
        let input = Places(count: count, width: blocking.depth), product = Places(count: count, width: winogradColumns)
        let transformed = try Tensor(workspace.threads, 1, blocking.groups, input.size, in: workspace)
        let products = try Tensor(workspace.threads, 1, 1, product.size, in: workspace)
        let bands = try bands(in: workspace)
        parallelFor((tiles + count - 1) / count, threads: workspace.threads) { task, thread in
            let tiles = (task * count)..<min((task + 1) * count, self.tiles)
            let v = transformed.data + thread * transformed.stride, m = products.data + thread * product.size
            transformInput(tiles, band: bands.data + thread * bands.stride, into: v, input)
            for block in 0..<blocking.columnBlocks {
                for group in 0..<blocking.groups {
                    let u = filters + (block * blocking.groups + group) * blocking.filterCount
                    for place in 0..<winogradPlaces {
                        multiply(block, group, place, v, input, rows: tiles.count, u, into: m, product)
                    }
                }
                transformOutput(tiles, block, m, product)
            }
        }
    }

    // MARK: Filter block by filter block

    func computeByFilters(in workspace: Workspace) throws {
        let blocking = blocking
        // At most 4 MiB of transformed input, but enough tiles to pay for transforming the filters.
        let most = max(64, (1 << 20) / (winogradPlaces * blocking.groups * blocking.depth))
        let chunks = (tiles + most - 1) / most
        let chunk = (tiles + chunks - 1) / chunks
        let step = max(1, min(8, chunk / (4 * workspace.threads)))
        let rows = tilesPerTask(chunk, threads: workspace.threads)

        let input = Places(count: chunk, width: blocking.depth), product = Places(count: rows, width: winogradColumns)
        let transformed = try Tensor(1, 1, blocking.groups, input.size, in: workspace)
        let filterSize = conv.transformed == nil ? blocking.filterCount : 0
        let filters = try Tensor(workspace.threads, 1, 1, filterSize, in: workspace)
        let products = try Tensor(workspace.threads, 1, 1, product.size, in: workspace)
        let bands = try bands(in: workspace)

        for first in stride(from: 0, to: tiles, by: chunk) {
            let count = min(chunk, tiles - first)
            parallelFor((count + step - 1) / step, threads: workspace.threads) { task, thread in
                let tiles = (task * step)..<min((task + 1) * step, count)
                transformInput(
                    (first + tiles.lowerBound)..<(first + tiles.upperBound), band: bands.data + thread * bands.stride,
                    into: transformed.data + tiles.lowerBound * blocking.depth, input)
            }
            let blocks = (count + rows - 1) / rows
            parallelFor(blocking.columnBlocks * blocks, threads: workspace.threads) { task, thread in
                let tiles = (task % blocks * rows)..<min((task % blocks + 1) * rows, count)
                let block = task / blocks
                let v = transformed.data + tiles.lowerBound * blocking.depth
                let m = products.data + thread * product.size
                for group in 0..<blocking.groups {
                    let u: UnsafePointer<Float>
                    if let kept = conv.transformed {
                        u = kept.data + (block * blocking.groups + group) * blocking.filterCount
                    } else {
                        let scratch = filters.data + thread * filterSize
                        blocking.transform(conv.weight, block, group, into: scratch)
                        u = UnsafePointer(scratch)
                    }
                    // The filters that this thread is likely to transform next come from memory meanwhile.
                    let next = group + 1 < blocking.groups ? block : (task + workspace.threads) / blocks
                    let nextGroup = (group + 1) % blocking.groups
                    for place in 0..<winogradPlaces {
                        if conv.transformed == nil && next < blocking.columnBlocks {
                            blocking.prefetch(conv.weight, next, nextGroup, share: place)
                        }
                        multiply(block, group, place, v, input, rows: tiles.count, u, into: m, product)
                    }
                }
                transformOutput((first + tiles.lowerBound)..<(first + tiles.upperBound), block, m, product)
            }
        }
    }

    /// The split that ends first, if a task costs its tiles and, for transforming the filters, three more. At most 128
    /// tiles, whose products fit into the L2 cache.
    private func tilesPerTask(_ tiles: Int, threads: Int) -> Int {
        let columnBlocks = blocking.columnBlocks
        let fewest = (tiles + 127) / 128
        func rows(_ splits: Int) -> Int { min(tiles, ((tiles + splits - 1) / splits + 3) / 4 * 4) }
        func cost(_ splits: Int) -> Int { (columnBlocks * splits + threads - 1) / threads * (rows(splits) + 3) }
        let best = (fewest...(fewest + 2 * threads)).min { cost($0) < cost($1) }
        return rows(best ?? fewest)
    }

    // MARK: Steps

    /// One place's products for some tiles and a block of output channels; those of all groups add up.
    @inline(__always)
    private func multiply(
        _ block: Int, _ group: Int, _ place: Int, _ v: UnsafePointer<Float>, _ input: Places, rows: Int,
        _ u: UnsafePointer<Float>, into m: UnsafeMutablePointer<Float>, _ product: Places
    ) {
        let depth = blocking.inputs(group).count
        gemm(
            rows: rows, k: depth, n: (blocking.columns(block).count + 15) / 16 * 16,
            a: v + group * input.size + place * input.stride, lda: input.width, b: u + place * blocking.filterStride,
            panelStride: depth * 16, c: m + place * product.stride, ldc: product.width, accumulate: group > 0)
    }

    private func transformOutput(
        _ tiles: Range<Int>, _ block: Int, _ m: UnsafePointer<Float>, _ product: Places
    ) {
        let columns = blocking.columns(block)
        for tile in tiles {
            let (image, y, x) = position(tile)
            let pixel = ((image * out.h + y) * out.w + x) * out.c + columns.lowerBound
            winogradOutput(
                m + (tile - tiles.lowerBound) * product.width, placeStride: product.stride, channels: columns.count,
                bias: biases.data + (biases.n == 1 ? 0 : image * out.c) + columns.lowerBound,
                residual: residual.map { UnsafePointer($0.data + pixel) }, into: out.data + pixel,
                rowStride: out.w * out.c, c: out.c, rows: min(4, out.h - y), columns: min(4, out.w - x))
        }
    }

    private func transformInput(
        _ tiles: Range<Int>, band: UnsafeMutablePointer<Float>, into v: UnsafeMutablePointer<Float>, _ input: Places
    ) {
        var tile = tiles.lowerBound
        while tile < tiles.upperBound {
            let run = min(tiles.upperBound - tile, tilesAcross - tile % tilesAcross, Self.longestRun)
            let (source, rowStride) = pixels(run, from: tile, band)
            for i in 0..<run {
                winogradInput(
                    source + 4 * i * x.c, rowStride: rowStride, c: x.c, rows: 0..<6, columns: 0..<6,
                    depth: input.width, into: v + (tile - tiles.lowerBound + i) * input.width,
                    placeStride: input.stride, groupStride: input.size)
            }
            tile += run
        }
    }

    /// Tiles beside each other whose pixels are prepared at a time.
    private static let longestRun = 8

    /// Per thread, six rows of pixels of a run of tiles.
    private func bands(in workspace: Workspace) throws -> Tensor {
        try Tensor(workspace.threads, 6, 4 * min(tilesAcross, Self.longestRun) + 2, x.c, in: workspace)
    }

    /// The six rows of pixels under `count` tiles beside each other: those of x, or, where they are to be computed or
    /// reach over the image's border, a copy.
    private func pixels(
        _ count: Int, from tile: Int, _ band: UnsafeMutablePointer<Float>
    ) -> (UnsafePointer<Float>, rowStride: Int) {
        let (image, y, left) = position(tile)
        let width = 4 * count + 2
        // What is convolved has the result's size.
        let rows = max(y - 1, 0)..<min(y + 5, out.h), columns = max(left - 1, 0)..<min(left - 1 + width, out.w)
        let isInside = rows.count == 6 && columns.count == width
        if isInside, case .asIs = reading {
            return (
                UnsafePointer(x.data + ((image * x.h + rows.lowerBound) * x.w + columns.lowerBound) * x.c), x.w * x.c
            )
        }
        if !isInside { band.update(repeating: 0, count: 6 * width * x.c) }
        for row in rows {
            let target = band + ((row - (y - 1)) * width + columns.lowerBound - (left - 1)) * x.c
            read(image, row, columns, into: target)
        }
        return (UnsafePointer(band), width * x.c)
    }

    /// Pixels of a row of what is convolved.
    private func read(_ image: Int, _ row: Int, _ columns: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        switch reading {
        case .asIs:
            let pixel = image * x.pixels + row * x.w + columns.lowerBound
            target.update(from: x.data + pixel * x.c, count: columns.count * x.c)
        case .upsampled:
            let source = x.data + (image * x.pixels + row / 2 * x.w) * x.c
            for column in columns {
                (target + (column - columns.lowerBound) * x.c).update(from: source + column / 2 * x.c, count: x.c)
            }
        case .normalized(let normalized):
            normalized.compute(
                image: image, pixel: row * x.w + columns.lowerBound, count: columns.count, into: target)
        }
    }

    /// A tile's image and first output pixel.
    private func position(_ tile: Int) -> (image: Int, y: Int, x: Int) {
        let inImage = tile % (tilesDown * tilesAcross)
        return (tile / (tilesDown * tilesAcross), inImage / tilesAcross * 4, inImage % tilesAcross * 4)
    }
}

/// A matrix (count, width) for each of the 36 places.
private struct Places {
    let width: Int
    /// Floats from one place to the next: one cache line more than needed, for places a multiple of 4096 bytes apart
    /// would share a set of the L1 cache.
    let stride: Int

    init(count: Int, width: Int) {
        self.width = width
        stride = count * width + 16
    }

    var size: Int { winogradPlaces * stride }
}
