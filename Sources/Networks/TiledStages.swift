import Kernels

/// Stages of which only a tile is computed at a time.
///
/// They go by groups of few norms, each from an image that is stored whole to another. The moments of a group's norms
/// are found by computing all tiles up to the first norm, then up to the second; then all tiles are computed to the end.
/// Moments are so those of the whole image, and a tile is computed with all the pixels around it that its own depend on:
/// the result differs from that of an untiled computation by the rounding of what is stored alone.
struct TiledStages {
    let stages: ArraySlice<Stage>
    /// Height and width of a tile at most.
    let tile: Int
    /// Of what is stored between groups.
    var element = StoredImage.Element.bfloat16

    /// x (1, h, w, c) to the stages' result.
    func callAsFunction(_ x: consuming Tensor, in workspace: Workspace) throws -> Tensor {
        var image = try StoredImage(consume x)
        let groups = groups
        for (i, group) in groups.enumerated() {
            image = try group.run(image, storing: i == groups.count - 1 ? .float : element, tile, in: workspace)
        }
        return image.tensor
    }

    /// A group ends with a stage that has norms: what changes the size comes before, so that all norms of a group work
    /// at the size of its result.
    private var groups: [Group] {
        var groups: [Group] = [], current: [Stage] = []
        for stage in stages {
            current.append(stage)
            if stage.norms > 0 {
                groups.append(Group(stages: current))
                current = []
            }
        }
        return current.isEmpty ? groups : groups + [Group(stages: current)]
    }
}

private struct Group {
    let stages: [Stage]

    func run(
        _ image: StoredImage, storing element: StoredImage.Element, _ tile: Int, in workspace: Workspace
    ) throws -> StoredImage {
        let (h, w) = (outputSize(image.h), outputSize(image.w))
        let tiles = pieces(h, tile).flatMap { rows in pieces(w, tile).map { Tile(self, image, rows, $0) } }
        let moments = SharedMoments()
        workspace.sharedMoments = moments
        defer { workspace.sharedMoments = nil }
        for _ in 0..<stages.reduce(0, { $0 + $1.norms }) {
            for tile in tiles {
                moments.beginPiece()
                moments.core = tile.core
                do {
                    _ = try run(tile.read(image, in: workspace), in: workspace)
                } catch is SharedMoments.Measured {}
            }
            try moments.endPass()
        }

        var out: StoredImage?
        for tile in tiles {
            moments.beginPiece()
            let y = try run(tile.read(image, in: workspace), in: workspace)
            let target = try out ?? StoredImage(h, w, y.c, element, in: workspace)
            out = target
            try target.write(
                y, at: (tile.core.rows.lowerBound, tile.core.columns.lowerBound), tile.rows, tile.columns,
                in: workspace)
        }
        guard let out else { throw MCMError(.size, "an image of \(image.h) x \(image.w), expected a larger one") }
        return out
    }

    private func run(_ x: consuming Tensor, in workspace: Workspace) throws -> Tensor {
        var x = x
        for stage in stages { x = try stage(consume x, in: workspace) }
        return x
    }

    func outputSize(_ size: Int) -> Int { stages.reduce(size) { $1.outputSize($0) } }

    private func pieces(_ size: Int, _ most: Int) -> [Range<Int>] {
        let count = (size + most - 1) / most
        return (0..<count).map { ($0 * size / count)..<(($0 + 1) * size / count) }
    }

    /// The input's rows (or columns) that some of the output's depend on.
    func inputs(of outputs: Range<Int>, _ size: Int) -> Range<Int> {
        let needed = stages.reversed().reduce(outputs) { $1.inputs(of: $0) }
        // From one that downsampling keeps on.
        let alignment = stages.reduce(1) { $1.isDownsampling ? 2 * $0 : $0 }
        return (max(0, needed.lowerBound) / alignment * alignment)..<min(size, needed.upperBound)
    }

    /// A part of the output.
    struct Tile {
        let rows, columns: Range<Int>
        /// Where it lies in what is computed for it.
        let core: (rows: Range<Int>, columns: Range<Int>)
        private let inputRows, inputColumns: Range<Int>

        init(_ group: Group, _ image: StoredImage, _ rows: Range<Int>, _ columns: Range<Int>) {
            (self.rows, self.columns) = (rows, columns)
            (inputRows, inputColumns) = (group.inputs(of: rows, image.h), group.inputs(of: columns, image.w))
            let top = group.outputSize(inputRows.lowerBound), left = group.outputSize(inputColumns.lowerBound)
            core = (
                (rows.lowerBound - top)..<(rows.upperBound - top),
                (columns.lowerBound - left)..<(columns.upperBound - left)
            )
        }

        func read(_ image: StoredImage, in workspace: Workspace) throws -> Tensor {
            try image.read(inputRows, inputColumns, in: workspace)
        }
    }
}
