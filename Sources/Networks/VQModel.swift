import Checkpoint
import Kernels

/// diffusers' VQModel, of latent diffusion: latents are replaced by the nearest vectors of a codebook. Immutable: any
/// number of threads may call it, each with a workspace of its own.
public final class VQModel: Autoencoder {
    public let config: AutoencoderConfig
    private let encoder: Encoder
    private let decoder: Decoder
    private let quantizer: VectorQuantizer
    private let quantConv, postQuantConv: Conv2D

    public init(_ config: AutoencoderConfig, _ weights: Weights) throws {
        self.config = config
        let (c, d) = (config.latentChannels, config.vqEmbedDim)
        encoder = try Encoder(weights["encoder"], config, outputs: c)
        decoder = try Decoder(weights["decoder"], config)
        quantizer = try VectorQuantizer(weights["quantize"], count: config.numVQEmbeddings, dimension: d)
        quantConv = try weights.conv2D("quant_conv", c, d, kernel: 1)
        postQuantConv = try weights.conv2D("post_quant_conv", d, c, kernel: 1)
    }

    /// Latents, not quantized.
    ///   image    (n, h, w, inChannels), -1 ... 1
    ///   returns  (n, h / reduction, w / reduction, vqEmbedDim)
    public func encode(_ image: Tensor, tiling: Tiling = .automatic, in workspace: Workspace) throws -> Tensor {
        try conv2D(encoder(image, tiling: tiling, in: workspace), quantConv, in: workspace)
    }

    public func encode(_ image: Tensor, noise: Tensor?, tiling: Tiling, in workspace: Workspace) throws -> Tensor {
        try encode(image, tiling: tiling, in: workspace)
    }

    public func decode(_ latents: Tensor, tiling: Tiling = .automatic, in workspace: Workspace) throws -> Tensor {
        try decode(latents, quantized: false, tiling: tiling, in: workspace)
    }

    ///   latents    (n, h, w, vqEmbedDim)
    ///   quantized  take the latents as they are (diffusers' force_not_quantize)
    public func decode(
        _ latents: Tensor, quantized: Bool, tiling: Tiling = .automatic, in workspace: Workspace
    ) throws -> Tensor {
        try config.checkLatents(latents, channels: config.vqEmbedDim)
        let z = quantized ? latents : try quantize(latents, in: workspace)
        return try decoder(conv2D(z, postQuantConv, in: workspace), tiling: tiling, in: workspace)
    }

    /// Each pixel's nearest vector of the codebook.
    ///   latents  (n, h, w, vqEmbedDim)
    ///   returns  the same shape
    public func quantize(_ latents: Tensor, in workspace: Workspace) throws -> Tensor {
        try config.checkLatents(latents, channels: config.vqEmbedDim)
        let nearest = try lookUp(quantizer.indices(latents, in: workspace), latents, in: workspace)
        // As diffusers has it, rounding included.
        for i in 0..<nearest.count { nearest.data[i] = latents.data[i] + (nearest.data[i] - latents.data[i]) }
        return nearest
    }

    /// The places in the codebook of each pixel's nearest vector, image by image, row by row.
    ///   latents  (n, h, w, vqEmbedDim)
    public func indices(_ latents: Tensor, in workspace: Workspace) throws -> [Int32] {
        try config.checkLatents(latents, channels: config.vqEmbedDim)
        return try quantizer.indices(latents, in: workspace).buffer.map { Int32($0) }
    }

    /// Latents from places in the codebook (diffusers' get_codebook_entry): (n, h, w, vqEmbedDim).
    ///   indices  n * h * w of them
    public func latents(_ indices: [Int], _ n: Int, _ h: Int, _ w: Int, in workspace: Workspace) throws -> Tensor {
        guard checkedProduct([n, h, w]) == indices.count else {
            throw MCMError(.size, "\(indices.count) places in the codebook, expected \(n) x \(h) x \(w)")
        }
        for index in indices where !(0..<config.numVQEmbeddings).contains(index) {
            throw MCMError(
                .invalidArgument, "place \(index) in the codebook, expected 0 to \(config.numVQEmbeddings - 1)")
        }
        let places = try Tensor(n, h, w, 1, in: workspace)
        for (i, index) in indices.enumerated() { places.data[i] = Float(index) }
        return try lookUp(places, places, in: workspace)
    }

    /// indices: one float per pixel of `like`.
    private func lookUp(_ indices: Tensor, _ like: Tensor, in workspace: Workspace) throws -> Tensor {
        let d = config.vqEmbedDim
        let out = try Tensor(like.n, like.h, like.w, d, in: workspace)
        for pixel in 0..<(out.n * out.pixels) {
            (out.data + pixel * d).update(from: quantizer.embedding.data + Int(indices.data[pixel]) * d, count: d)
        }
        return out
    }
}

/// diffusers' VectorQuantizer.
struct VectorQuantizer: Sendable {
    /// (count, dimension)
    let embedding: FloatBuffer
    /// Takes (-2 z, |z|^2, 1) to the squared distance to each vector e, whose filter is (e, 1, |e|^2): the product, and
    /// the order of its sum, by which torch.cdist computes many distances.
    private let distances: Conv2D
    private let dimension: Int

    init(_ weights: Weights, count: Int, dimension: Int) throws {
        self.dimension = dimension
        embedding = try weights.table("embedding", count, dimension)
        guard let size = checkedProduct([count, dimension + 2]) else {
            throw MCMError(.outOfMemory, "a codebook of \(count) x \(dimension) exceeds the address space")
        }
        let filters = try FloatBuffer(count: size)
        for i in 0..<count {
            let (vector, filter) = (embedding.data + i * dimension, filters.data + i * (dimension + 2))
            filter.update(from: vector, count: dimension)
            filter[dimension] = 1
            filter[dimension + 1] = Self.square(vector, dimension)
        }
        distances = try Conv2D(
            weight: StoredFloats(.f32, filters.data, count: size), bias: nil, inputs: dimension + 2, outputs: count,
            kernel: 1, padBefore: 0, padAfter: 0, threads: weights.threads)
    }

    /// |x|^2, summed in torch's order: near ties depend on it.
    static func square(_ x: UnsafePointer<Float>, _ count: Int) -> Float {
        let lanes = count >= 8 ? 8 : 1
        let vectors = count / lanes
        func sum(ofLane lane: Int) -> Float {
            var sums = SIMD4<Float>()
            for i in 0..<vectors {
                let value = x[i * lanes + lane]
                sums[i < vectors / 4 * 4 ? i % 4 : 0] += value * value
            }
            return sums[0] + sums[1] + sums[2] + sums[3]
        }
        if lanes == 1 { return sum(ofLane: 0) }
        let rest = (vectors * lanes..<count).reduce(Float(0)) { $0 + x[$1] * x[$1] }
        return (0..<lanes).reduce(rest) { $0 + sum(ofLane: $1) }
    }

    /// The nearest vector's place for each pixel, the first of several: (n, h, w, 1), whole numbers below 2^24.
    ///   z  (n, h, w, dimension)
    func indices(_ z: Tensor, in workspace: Workspace) throws -> Tensor {
        let out = try Tensor(z.n, z.h, z.w, 1, in: workspace)
        let codes = distances.outputs
        let block = max(1, min(out.count, (2 << 20) / codes))  // pixels whose distances exist at a time
        for first in stride(from: 0, to: out.count, by: block) {
            let count = min(block, out.count - first)
            let rows = try Tensor(1, 1, count, dimension + 2, in: workspace)
            for i in 0..<count {
                let (pixel, row) = (z.data + (first + i) * dimension, rows.data + i * (dimension + 2))
                for j in 0..<dimension { row[j] = -2 * pixel[j] }
                row[dimension] = Self.square(pixel, dimension)
                row[dimension + 1] = 1
            }
            let squares = try conv2D(rows, distances, in: workspace)
            parallelFor(count, threads: workspace.threads) { i in
                let row = squares.data + i * codes
                var least = Float.infinity
                for j in 0..<codes { least = min(least, row[j]) }
                // torch compares roots, in which near squares become equal.
                let root = max(least, 0).squareRoot()
                out.data[first + i] = Float((0..<codes).first { max(row[$0], 0).squareRoot() == root } ?? 0)
            }
        }
        return out
    }
}
