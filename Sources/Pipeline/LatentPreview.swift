import Kernels

/// A linear map from samples to colours, fitted to a model's autoencoder: what an image will be like, at once and at the
/// sample's size.
struct LatentPreview {
    /// Per colour, a factor for each channel of a sample and a constant.
    private let factors: [[Double]]

    /// Least squares over images of latents that the autoencoder is asked for: areas of one value with noise on top.
    init(_ latents: LatentSpace, in workspace: Workspace) throws {
        let (size, count, c) = (8, 4, latents.channels)
        let samples = try Tensor(count, size, size, c, in: workspace)
        var generator = Generator(seed: 0)
        var areas = [Float](repeating: 0, count: count * 4 * c)
        generator.normal(into: &areas, count: areas.count)
        generator.normal(into: samples.data, count: samples.count)
        func rows(_ body: (_ image: Int, _ y: Int, _ x: Int) -> Void) {
            for i in 0..<count * size * size { body(i / (size * size), i / size % size, i % size) }
        }
        rows { n, y, x in
            let area = n * 4 + y / (size / 2) * 2 + x / (size / 2)
            for k in 0..<c {
                let value = samples.image(n).data + (y * size + x) * c + k
                value.pointee = areas[area * c + k] + 0.25 * value.pointee
            }
        }
        let images = try latents.decode(samples, tiling: .off, in: workspace)
        let r = latents.reduction
        var equations = LeastSquares(unknowns: c + 1, sides: images.c)
        rows { n, y, x in
            var colour = [Double](repeating: 0, count: images.c)
            for i in 0..<r * r {
                let pixel = images.image(n).data + ((y * r + i / r) * images.w + x * r + i % r) * images.c
                for k in 0..<images.c { colour[k] += Double(pixel[k]) / Double(r * r) }
            }
            let sample = samples.image(n).data + (y * size + x) * c
            equations.add((0..<c).map { Double(sample[$0]) } + [1], colour)
        }
        factors = equations.solution()
    }

    /// sample (1, h, w, channels) to interleaved bytes: (h, w, colours).
    func callAsFunction(_ sample: Tensor, into pixels: UnsafeMutablePointer<UInt8>) {
        let c = sample.c
        for i in 0..<sample.pixels {
            for (k, factor) in factors.enumerated() {
                let value = (0..<c).reduce(factor[c]) { $0 + factor[$1] * Double(sample.data[i * c + $1]) }
                pixels[i * factors.count + k] = pixel(Float(value))
            }
        }
    }
}

/// Linear equations with more rows than unknowns, for several right-hand sides.
struct LeastSquares {
    private let unknowns: Int
    private var normal: [[Double]]  // (unknowns, unknowns + sides): A^T A | A^T b

    init(unknowns: Int, sides: Int) {
        self.unknowns = unknowns
        normal = [[Double]](repeating: [Double](repeating: 0, count: unknowns + sides), count: unknowns)
    }

    mutating func add(_ row: [Double], _ sides: [Double]) {
        let all = row + sides
        for i in 0..<unknowns {
            for j in all.indices { normal[i][j] += row[i] * all[j] }
        }
    }

    /// Of each side the unknowns, by elimination with pivots; 0 for an unknown that no row tells of.
    func solution() -> [[Double]] {
        var a = normal
        for column in 0..<unknowns {
            let pivot = (column..<unknowns).max { abs(a[$0][column]) < abs(a[$1][column]) } ?? column
            a.swapAt(column, pivot)
            guard abs(a[column][column]) > 1e-12 else { continue }
            for row in 0..<unknowns where row != column {
                let factor = a[row][column] / a[column][column]
                for j in column..<a[row].count { a[row][j] -= factor * a[column][j] }
            }
        }
        return (unknowns..<(a.first?.count ?? unknowns)).map { side in
            (0..<unknowns).map { abs(a[$0][$0]) > 1e-12 ? a[$0][side] / a[$0][$0] : 0 }
        }
    }
}
