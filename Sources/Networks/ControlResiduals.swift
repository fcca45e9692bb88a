import Kernels

/// What a ControlNet adds: to all that goes from the way down to the way up, and to the middle's output.
public struct ControlResiduals {
    /// In the order of the way down, the first convolution's output first: (n, h', w', c') each, or (n, 1, 1, c') for
    /// all pixels.
    public var skips: [Tensor]
    public var mid: Tensor

    public init(skips: [Tensor], mid: Tensor) { (self.skips, self.mid) = (skips, mid) }

    /// Those of two ControlNets together.
    public func adding(_ other: ControlResiduals, in workspace: Workspace) throws -> ControlResiduals {
        let (mine, theirs) = (shapes, other.shapes)
        guard mine.count == theirs.count, zip(mine, theirs).allSatisfy({ $0.fits($1) || $1.fits($0) }) else {
            throw MCMError(.size, "residuals of shapes \(theirs), expected \(mine), those of another ControlNet")
        }
        return ControlResiduals(
            skips: try zip(skips, other.skips).map { try sum($0, $1, in: workspace) },
            mid: try sum(mid, other.mid, in: workspace))
    }

    func add(to state: inout UNetState, in workspace: Workspace) throws {
        let expected = ControlResiduals(skips: state.skips, mid: state.sample).shapes
        guard shapes.count == expected.count, zip(shapes, expected).allSatisfy({ $0.fits($1) }) else {
            throw MCMError(.size, "residuals of shapes \(shapes), expected \(expected)")
        }
        for i in skips.indices { state.skips[i] = try sum(state.skips[i], skips[i], in: workspace) }
        state.sample = try sum(state.sample, mid, in: workspace)
    }

    /// (n, h, w, c) of each, the middle's last.
    private var shapes: [[Int]] { (skips + [mid]).map { [$0.n, $0.h, $0.w, $0.c] } }
}

extension [Int] {
    /// Whether residuals of this shape can be added to features of the other.
    fileprivate func fits(_ features: [Int]) -> Bool { self == features || self == [features[0], 1, 1, features[3]] }
}

/// x + y, one of which may have one vector for all pixels of an image.
private func sum(_ x: Tensor, _ y: Tensor, in workspace: Workspace) throws -> Tensor {
    if x.shape == y.shape { return try add(x, y, in: workspace) }
    return x.pixels == 1 ? try add(y, vectors: x, in: workspace) : try add(x, vectors: y, in: workspace)
}
