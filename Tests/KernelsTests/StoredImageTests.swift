import TestSupport
import Testing

@testable import Kernels

@Suite struct StoredImageTests {
    @Test(arguments: [(5, 7, 3), (9, 4, 16)]) func piecesComeBackRounded(h: Int, w: Int, c: Int) throws {
        let workspace = try poisoned(threads: 3)
        let x = try random(1, h, w, c, seed: 60, in: workspace)
        for (i, value) in [Float.infinity, .nan, 0, -0.0, 1e-40, .greatestFiniteMagnitude].enumerated() {
            x.data[i] = value
        }
        for (element, stored) in [(StoredImage.Element.float, PanelElement.f32), (.bfloat16, .bf16)] {
            let image = try StoredImage(h, w, c, element, in: workspace)
            // In two pieces, each with a border that is not written.
            for rows in [0..<2, 2..<h] {
                let first = max(0, rows.lowerBound - 1)
                let piece = try StoredImage(x).read(first..<rows.upperBound, 0..<w, in: workspace)
                try image.write(piece, at: (rows.lowerBound - first, 0), rows, 0..<w, in: workspace)
            }
            let expected = rounded(values(x), to: stored)
            #expect(sameBits(values(try image.read(0..<h, 0..<w, in: workspace)), expected))
            let part = try image.read(1..<3, 2..<4, in: workspace)
            for (row, y) in (1..<3).enumerated() {
                let found = values(part)[(row * 2 * c)..<((row + 1) * 2 * c)]
                #expect(sameBits(Array(found), Array(expected[((y * w + 2) * c)..<((y * w + 4) * c)])))
            }
        }
    }

    @Test func whatLiesOutsideIsAnError() throws {
        let workspace = Workspace(threads: 1)
        let image = try StoredImage(4, 4, 2, .float, in: workspace)
        let piece = try random(1, 2, 2, 2, seed: 61, in: workspace)
        for (rows, columns) in [(-1..<1, 0..<2), (3..<5, 0..<2), (0..<2, 3..<5)] {
            #expect(throws: MCMError.self) { try image.read(rows, columns, in: workspace) }
            #expect(throws: MCMError.self) { try image.write(piece, at: (0, 0), rows, columns, in: workspace) }
        }
        #expect(throws: MCMError.self) { try image.write(piece, at: (1, 0), 0..<2, 0..<2, in: workspace) }
        #expect(throws: MCMError.self) { try image.write(piece, at: (0, -1), 0..<2, 0..<2, in: workspace) }
        #expect(throws: MCMError.self) {
            try StoredImage(4, 4, 3, .float, in: workspace).write(piece, at: (0, 0), 0..<2, 0..<2, in: workspace)
        }
        #expect(throws: MCMError.self) { try StoredImage(random(2, 1, 1, 1, seed: 62, in: workspace)) }
    }

    /// A norm of pieces that overlap is that of the whole image.
    @Test func piecesShareTheirMoments() throws {
        let workspace = try poisoned(threads: 2)
        let x = try random(1, 20, 9, 12, seed: 63, in: workspace)
        let norm = try GroupNorm(groups: 3, epsilon: 1e-5, weight: randn(12, seed: 64), bias: randn(12, seed: 65))
        let expected = values(try groupNorm(x, norm, in: workspace))
        let moments = SharedMoments()
        workspace.sharedMoments = moments
        let pieces = [(0..<9, 0..<8), (7..<20, 1..<13)]  // rows of the image, and those of the piece that count
        for (rows, core) in pieces {
            moments.beginPiece()
            moments.core = (core, 0..<9)
            #expect(throws: SharedMoments.Measured.self) {
                try groupNorm(StoredImage(x).read(rows, 0..<9, in: workspace), norm, in: workspace)
            }
        }
        try moments.endPass()
        #expect(throws: MCMError.self) { try moments.endPass() }
        for (rows, core) in pieces {
            moments.beginPiece()
            let y = try groupNorm(StoredImage(x).read(rows, 0..<9, in: workspace), norm, in: workspace)
            let first = (rows.lowerBound + core.lowerBound) * 9 * 12
            let found = values(y)[(core.lowerBound * 9 * 12)..<(core.upperBound * 9 * 12)]
            #expect(try relativeError(Array(found), Array(expected[first..<(first + found.count)])) < 1e-6)
        }
        moments.core = (0..<30, 0..<9)
        #expect(throws: MCMError.self) { try groupNorm(x, norm, in: workspace) }
    }
}
