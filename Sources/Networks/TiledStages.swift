import Kernels

/// Stages that come in tiles. Rows and columns are treated alike, as "places".
struct TiledStages {
    let stages: ArraySlice<Stage>
    /// Height and width of a tile at the larger of the stages' input and output.
    let tile: Int

    /// x (n, h, w, c) to the stages' result.
    func callAsFunction(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
        defer { workspace.sharedMoments = nil }
        var result: Tensor?
        for image in 0..<x.n {
            let moments = SharedMoments()
            workspace.sharedMoments = moments
            try runSample(of: x, image, moments, in: workspace)
            for rows in pieces(outputSize(x.h)) {
                for columns in pieces(outputSize(x.w)) {
                    moments.rewind()
                    let (inputRows, inputColumns) = (inputs(of: rows, x.h), inputs(of: columns, x.w))
                    let y = try run(crop(x, image, inputRows, inputColumns, in: workspace), in: workspace) { _ in }
                    let out = try result ?? Tensor(x.n, outputSize(x.h), outputSize(x.w), y.c, in: workspace)
                    result = out
                    let (top, left) = (outputSize(inputRows.lowerBound), outputSize(inputColumns.lowerBound))
                    try copyPixels(
                        y, image: 0, rows: (rows.lowerBound - top)..<(rows.upperBound - top),
                        columns: (columns.lowerBound - left)..<(columns.upperBound - left), into: out, image: image,
                        at: (rows.lowerBound, columns.lowerBound), in: workspace)
                }
            }
        }
        guard let result else { throw MCMError(.size, "an image of \(x.shape), expected at least one pixel") }
        return result
    }

    /// Norms along the way take their moments from pieces of the image, spread evenly over it, which take as much
    /// memory as a tile.
    private func runSample(of x: Tensor, _ image: Int, _ moments: SharedMoments, in workspace: Workspace) throws {
        let side = tile >> upsamplings
        let (rows, columns) = (Sample(self, x.h), Sample(self, x.w))
        let count = max(1, side * side / (rows.size * columns.size))
        let aspect = (Double(x.h) / Double(x.w)).squareRoot()
        let down = min(rows.most, max(1, Int((Double(count).squareRoot() * aspect).rounded())))
        let across = min(columns.most, max(1, count / down))
        let crops = try Tensor(down * across, rows.size, columns.size, x.c, in: workspace)
        for i in 0..<crops.n {
            let top = rows.start(i / across, of: down), left = columns.start(i % across, of: across)
            try copyPixels(
                x, image: image, rows: top..<(top + rows.size), columns: left..<(left + columns.size), into: crops,
                image: i, at: (0, 0), in: workspace)
        }
        var core = (rows: rows.core, columns: columns.core)
        _ = try run(crops, in: workspace) { stage in
            moments.core = core
            core.rows = stage.outputSize(core.rows.lowerBound)..<stage.outputSize(core.rows.upperBound)
            core.columns = stage.outputSize(core.columns.lowerBound)..<stage.outputSize(core.columns.upperBound)
        }
    }

    /// Pieces of a sample along one side of the input.
    private struct Sample {
        let size: Int
        /// The places of a piece that count.
        let core: Range<Int>
        let whole, alignment: Int

        init(_ stages: TiledStages, _ whole: Int) {
            let width = 80 >> stages.upsamplings  // that count
            let needed = stages.unclippedInputs(of: 0..<stages.outputSize(width))
            alignment = 1 << stages.downsamplings
            let border = (max(-needed.lowerBound, needed.upperBound - width) + alignment - 1) / alignment * alignment
            self.whole = whole
            if whole > width + 2 * border {
                (size, core) = (width + 2 * border, border..<(border + width))
            } else {
                (size, core) = (whole, 0..<whole)
            }
        }

        /// How many do not overlap where they count.
        var most: Int { whole / core.count }

        func start(_ i: Int, of count: Int) -> Int {
            let center = (2 * i + 1) * whole / (2 * count)
            return max(0, min(center - size / 2, whole - size)) / alignment * alignment
        }
    }

    private func run(_ x: consuming Tensor, in workspace: Workspace, before: (Stage) -> Void) throws -> Tensor {
        var x = x
        for stage in stages {
            before(stage)
            x = try stage(consume x, in: workspace)
        }
        return x
    }

    private func crop(
        _ x: Tensor, _ image: Int, _ rows: Range<Int>, _ columns: Range<Int>, in workspace: Workspace
    ) throws -> Tensor {
        let piece = try Tensor(1, rows.count, columns.count, x.c, in: workspace)
        try copyPixels(x, image: image, rows: rows, columns: columns, into: piece, image: 0, at: (0, 0), in: workspace)
        return piece
    }

    private var upsamplings: Int { stages.count { $0.isUpsampling } }
    private var downsamplings: Int { stages.count { $0.isDownsampling } }

    private func outputSize(_ size: Int) -> Int { stages.reduce(size) { $1.outputSize($0) } }

    /// The output's places in about equal pieces of at most a tile's size.
    private func pieces(_ size: Int) -> [Range<Int>] {
        let most = max(1, tile >> downsamplings)
        let count = (size + most - 1) / most
        return (0..<count).map { ($0 * size / count)..<(($0 + 1) * size / count) }
    }

    /// The input's places that some of the output depend on, from one that downsampling keeps on.
    private func inputs(of outputs: Range<Int>, _ size: Int) -> Range<Int> {
        let needed = unclippedInputs(of: outputs)
        let first = (max(0, needed.lowerBound) >> downsamplings) << downsamplings
        return first..<min(size, needed.upperBound)
    }

    private func unclippedInputs(of outputs: Range<Int>) -> Range<Int> {
        stages.reversed().reduce(outputs) { $1.inputs(of: $0) }
    }
}
