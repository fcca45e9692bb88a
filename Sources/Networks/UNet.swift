import Kernels

/// What a diffusion model's network is to those who call it: UNet2DModel, which sees the sample alone, or
/// UNet2DConditionModel, which reads a text.
public protocol UNet: AnyObject, Sendable {
    associatedtype Config: UNetConfig
    var config: Config { get }

    /// Floats per image that it wants as class input: 0 none, 1 a class or number, else a vector.
    var classInputSize: Int { get }
    /// Rows of its class table, 0 if there is none.
    var classCount: Int { get }
    /// Throws `.invalidArgument` for a class that the table does not have.
    func checkClassInput(_ values: [Float]) throws
    /// Throws for a timestep that it cannot embed.
    func checkTimestep(_ timestep: Int) throws

    /// The prediction for a batch.
    ///   x          (n, h, w, inChannels)
    ///   timesteps  n numbers
    ///   returns    (n, h, w, outChannels)
    func callAsFunction(_ x: Tensor, timesteps: [Float], _ inputs: UNetInputs, in workspace: Workspace) throws -> Tensor
}

public protocol UNetConfig: Sendable {
    var inChannels: Int { get }
    var outChannels: Int { get }
    /// Of a sample; nil if the config does not say.
    var sampleSize: (height: Int, width: Int)? { get }
    /// Height and width of a sample must be multiples of this.
    var sizeMultiple: Int { get }
}

/// What a network may want to know beside the sample and its time.
public struct UNetInputs {
    public var conditions = UNetConditions()
    /// For UNet2DConditionModel only.
    public var text: TextKeys?
    public var control: ControlResiduals?

    public init() {}
}

extension UNet {
    /// Throws `.size` unless the network takes samples of this size.
    public func checkSize(height: Int, width: Int) throws {
        try Networks.checkSize(height: height, width: width, multiple: config.sizeMultiple)
    }
}

extension UNet2DConfig: UNetConfig {}
extension UNet2DConditionConfig: UNetConfig {}

extension UNet2D: UNet {
    public func callAsFunction(
        _ x: Tensor, timesteps: [Float], _ inputs: UNetInputs, in workspace: Workspace
    ) throws -> Tensor {
        try self(x, timesteps: timesteps, classInput: inputs.conditions.classInput, in: workspace)
    }
}

extension UNet2DCondition: UNet {
    public func checkTimestep(_ timestep: Int) throws {}  // all can be embedded

    public func callAsFunction(
        _ x: Tensor, timesteps: [Float], _ inputs: UNetInputs, in workspace: Workspace
    ) throws -> Tensor {
        guard let text = inputs.text else { throw MCMError(.state, "the network reads a text, none is given") }
        return try self(
            x, timesteps: timesteps, text: text, conditions: inputs.conditions, control: inputs.control, in: workspace)
    }
}
