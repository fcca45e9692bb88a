import Checkpoint
import Kernels
import TestSupport

/// Golden weights, rounded.
final class RoundedWeights: TensorSource {
    private let golden = GoldenWeights()
    private let rounding, stored: PanelElement

    init(to rounding: PanelElement, as stored: PanelElement) { (self.rounding, self.stored) = (rounding, stored) }

    func contains(_ key: String) -> Bool { true }
    func finish() throws {}
    func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        try golden.withElements(key, shape: shape) { elements in
            let values = (0..<elements.count).map { elements[$0] }
            return try withStored(rounded(values, to: rounding), as: stored, body)
        }
    }
}

/// Zeros for tensors of up to a million elements.
final class BoundedZeros: TensorSource {
    func contains(_ key: String) -> Bool { true }
    func finish() throws {}
    func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        guard let count = checkedProduct(shape), count <= 1 << 20 else {
            throw MCMError(.format, "tensor \(key) of shape \(shape) is too large")
        }
        return try [Float](repeating: 0, count: count).withUnsafeBytes {
            guard let base = $0.baseAddress else { throw MCMError(.format, "tensor \(key) is empty") }
            return try body(StoredFloats(.f32, base, count: count))
        }
    }
}

/// Values of all kinds, for options that are replaced by them.
let anyValues: [JSONValue] = [
    .null, .bool(true), .bool(false), .integer(0), .integer(1), .integer(-1), .integer(3), .integer(8),
    .integer(.max), .integer(.min), .number(0.5), .number(1e300), .string(""), .string("silu"), .string("x\ny"),
    .array([]), .array([.integer(8), .integer(16)]), .array([.integer(1), .integer(1), .integer(1)]),
    .array([.array([.integer(1), .integer(2)]), .integer(1)]), .array([.bool(true), .bool(false)]),
    .array([.string("DownBlock2D"), .string("CrossAttnDownBlock2D")]), .object(["a": .integer(1)]),
]

/// The config of a network of two levels that reads a text, some of whose options are replaced.
///   upBlocks  those of a UNet, or none
func tinyCondition(
    _ options: [String: JSONValue] = [:],
    upBlocks: [JSONValue]? = [.string("UpBlock2D"), .string("CrossAttnUpBlock2D")]
) throws -> JSONObject {
    let json = try JSONValue(
        parsing: """
            {"block_out_channels": [8, 8], "norm_num_groups": 2, "layers_per_block": 1, "cross_attention_dim": 16,
             "attention_head_dim": 2, "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}
            """, name: "tiny")
    guard case .object(var members) = json else { throw MCMError(.format, "no object") }
    if let upBlocks { members["up_block_types"] = .array(upBlocks) }
    return try JSONObject(.object(members.merging(options) { $1 }), name: "unet/config.json")
}

func zeros(_ n: Int, _ h: Int, _ w: Int, _ c: Int, in workspace: Workspace) throws -> Tensor {
    let x = try Tensor(n, h, w, c, in: workspace)
    x.buffer.update(repeating: 0)
    return x
}

/// torch.randn(n, c, h, w) of a fresh generator, in our order.
func noise(_ n: Int, _ c: Int, _ h: Int, _ w: Int, seed: UInt64, in workspace: Workspace) throws -> Tensor {
    let x = try Tensor(n, h, w, c, in: workspace)
    fromNCHW(randn(x.count, seed: seed), into: x)
    return x
}

/// (n, c, h, w)
func nchw(_ x: Tensor) -> [Float] {
    var values = [Float](repeating: 0, count: x.count)
    toNCHW(x, into: &values)
    return values
}

extension Tensor {
    /// One image, or all.
    func picked(_ image: Int?) -> Tensor { image.map { self.image($0) } ?? self }
}

extension [Float] {
    /// The numbers of one image of n, or all.
    func picked(_ image: Int?, of n: Int) -> [Float] {
        guard let image else { return self }
        let size = count / n
        return Array(self[(image * size)..<((image + 1) * size)])
    }
}
