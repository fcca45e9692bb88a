import Checkpoint
import Kernels

/// How a residual block changes the size of its input.
enum Resampling {
    case none, nearestUp, averageDown, firUp, firDown

    func callAsFunction(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
        switch self {
        case .none: x
        case .nearestUp: try upsampleNearest2x(x, in: workspace)
        case .averageDown: try averagePool2x(x, in: workspace)
        case .firUp: try firUpsample2x(x, in: workspace)
        case .firDown: try firDownsample2x(x, in: workspace)
        }
    }
}

/// What the residual and attention blocks of one network have in common.
struct BlockOptions {
    var embedding: Int?  // channels of the time embedding, nil for none
    var activation: Activation
    var epsilon: Double
    var scaleShift = false  // resnet_time_scale_shift == "scale_shift"
    var outputScale: Float = 1  // output_scale_factor: outputs are divided by it
}

/// diffusers' ResnetBlock2D.
struct ResnetBlock2D {
    private let norm1: GroupNorm
    private let conv1: Conv2D
    private let timeEmbProj: Conv2D?
    private let norm2: GroupNorm
    private let conv2: Conv2D
    private let convShortcut: Conv2D?
    private let resampling: Resampling
    private let options: BlockOptions

    /// groups: of the first norm and of the second.
    init(
        _ weights: Weights, _ inputs: Int, _ outputs: Int, groups: (Int, Int), _ options: BlockOptions,
        resampling: Resampling = .none, shortcut: Bool? = nil
    ) throws {
        norm1 = try weights.groupNorm("norm1", inputs, groups: groups.0, epsilon: options.epsilon)
        conv1 = try weights.conv2D("conv1", inputs, outputs)
        timeEmbProj = try options.embedding.map {
            try weights.linear("time_emb_proj", $0, options.scaleShift ? 2 * outputs : outputs)
        }
        norm2 = try weights.groupNorm("norm2", outputs, groups: groups.1, epsilon: options.epsilon)
        conv2 = try weights.conv2D("conv2", outputs, outputs)
        convShortcut =
            shortcut ?? (inputs != outputs) ? try weights.conv2D("conv_shortcut", inputs, outputs, kernel: 1) : nil
        self.resampling = resampling
        self.options = options
    }

    /// x (n, h, w, inputs), embedding (n, 1, 1, embedding), already activated: (n, h', w', outputs). x goes as soon as it
    /// is no longer needed, if the caller lets go of it.
    func callAsFunction(_ x: consuming Tensor, _ embedding: Tensor?, in workspace: Workspace) throws -> Tensor {
        let time: Tensor? =
            if let embedding, let timeEmbProj { try conv2D(embedding, timeEmbProj, in: workspace) } else { nil }
        let (bias, modulation) = options.scaleShift ? (nil, time) : (time, nil)
        let h = try first(x, bias, in: workspace)
        let shortcut = try shortcut(x, in: workspace)
        _ = consume x
        let second = try normalized(h, norm2, modulation: modulation, activation: options.activation, in: workspace)
        let out = try conv2D(second, conv2, residual: shortcut, in: workspace)
        return try out.divided(by: options.outputScale, in: workspace)
    }

    /// bias: (n, 1, 1, outputs).
    private func first(_ x: Tensor, _ bias: Tensor?, in workspace: Workspace) throws -> Tensor {
        let h = try normalized(x, norm1, activation: options.activation, in: workspace)
        if case .none = resampling { return try conv2D(h, conv1, imageBias: bias, in: workspace) }
        return try conv2D(resampling(h.tensor(in: workspace), in: workspace), conv1, imageBias: bias, in: workspace)
    }

    private func shortcut(_ x: Tensor, in workspace: Workspace) throws -> Tensor {
        let input = try resampling(x, in: workspace)
        return try convShortcut.map { try conv2D(input, $0, in: workspace) } ?? input
    }
}

extension Tensor {
    func divided(by scale: Float, in workspace: Workspace) throws -> Tensor {
        scale == 1 ? self : try divide(self, by: [Float](repeating: scale, count: n), in: workspace)
    }
}
