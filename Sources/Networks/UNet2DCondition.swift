import Checkpoint
import Kernels

/// diffusers' UNet2DConditionModel: the network of Stable Diffusion 1, 2 and XL and their kin, which reads a text.
/// Immutable: any number of threads may call it, each with a workspace of its own.
public final class UNet2DCondition: Sendable {
    public let config: UNet2DConditionConfig
    private let parts: Parts

    public typealias Text = TextKeys
    public typealias Conditions = UNetConditions

    private struct Parts {
        let embedding: ConditionEmbedding
        let encoderHidProj: Conv2D?
        let body: UNetBody
        let textAttentions: [Attention]
    }

    public init(_ config: UNet2DConditionConfig, _ weights: Weights) throws {
        self.config = config
        let encoder = config.encoder
        let embedding = try ConditionEmbedding(weights, encoder)
        let body = try UNetBody(
            weights,
            UNetBody.Shape(
                inChannels: encoder.inChannels, outChannels: config.outChannels, convInKernel: encoder.convInKernel,
                convOutKernel: config.convOutKernel, down: encoder.down, up: config.up, mid: encoder.mid,
                outGroups: encoder.normNumGroups, outActivation: encoder.activation,
                centerInputSample: config.centerInputSample),
            encoder.options)
        parts = Parts(
            embedding: embedding,
            encoderHidProj: try config.encoderHidDim.map {
                try weights.linear("encoder_hid_proj", $0, encoder.down[0].transformers?.crossAttentionDim ?? 0)
            },
            body: body, textAttentions: body.textAttentions)
    }

    /// Floats per image that the network wants as class input: 0 none, 1 a class or number, else a vector.
    public var classInputSize: Int { parts.embedding.base.classInputSize }

    /// Rows of the class table, 0 if there is none.
    public var classCount: Int { parts.embedding.base.classCount }

    /// Throws `.invalidArgument` for a class that the table does not have.
    public func checkClassInput(_ values: [Float]) throws { try parts.embedding.base.checkClassInput(values) }

    /// states: what the text encoder makes of a text for each image, (n, 1, tokens, config.textChannels)
    public func text(_ states: Tensor, in workspace: Workspace) throws -> Text {
        try TextKeys(
            states, channels: config.textChannels, parts.encoderHidProj, for: parts.textAttentions, of: self,
            in: workspace)
    }

    /// The prediction for a batch.
    ///   x          (n, h, w, inChannels)
    ///   timesteps  n numbers
    ///   text       of n images
    ///   control    what ControlNets add
    ///   returns    (n, h, w, outChannels)
    public func callAsFunction(
        _ x: Tensor, timesteps: [Float], text: Text, conditions: Conditions = Conditions(),
        control: ControlResiduals? = nil, in workspace: Workspace
    ) throws -> Tensor {
        try checkSize(height: x.h, width: x.w)
        try text.check(x, channels: config.inChannels, timesteps, for: self)
        let embedding = try parts.embedding(timesteps, conditions, in: workspace)
        return try parts.body(x, embedding, text: text.keys, control: control, in: workspace)
    }
}
