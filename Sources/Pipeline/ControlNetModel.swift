import Checkpoint
import Kernels
import Networks

/// A ControlNet as a folder of diffusers' has it. Immutable; any number of threads may use it.
public final class ControlNetModel: Sendable {
    let net: ControlNet
    /// Memory of its weights.
    public let bytes: Int

    /// Opens a folder with config.json and the weights.
    public init(_ folder: Folder, _ options: Model.Options = Model.Options()) throws {
        try Model.check(threads: options.threads)
        let json: JSONObject
        do {
            json = try JSONObject(folder, "config.json")
        } catch let error as MCMError where error.kind == .io {
            throw MCMError(.io, "\(error.message), expected a ControlNet's folder")
        }
        try json.checkClass(is: "ControlNetModel")
        let config = try ControlNetConfig(json)
        let loaded = try Loaded(
            CheckpointSource.open(folder, component: "", variant: options.variant),
            WeightOptions(threads: options.threads > 0 ? options.threads : usableCPUs, rounds: options.rounds)
        ) { try ControlNet(config, $0) }
        (net, bytes) = (loaded.network, loaded.bytes)
    }

    /// Throws `.incompatible` unless it goes with the model's network.
    func check(_ model: Model) throws {
        guard let reader = model.unet as? UNet2DCondition else {
            throw MCMError(.incompatible, "the model reads no text, expected one that does for a ControlNet")
        }
        guard net.config.inChannels == model.channels, net.config.textChannels == reader.config.textChannels else {
            throw MCMError(
                .incompatible,
                "the ControlNet reads \(net.config.inChannels) channels of samples and \(net.config.textChannels) of "
                    + "texts, expected the model's \(model.channels) and \(reader.config.textChannels)")
        }
        guard net.config.skipChannels == reader.config.skipChannels else {
            throw MCMError(
                .incompatible,
                "the ControlNet's residuals have \(net.config.skipChannels) channels, expected the model's "
                    + "\(reader.config.skipChannels)")
        }
    }
}

/// A ControlNet at work in a session.
struct Control {
    let model: ControlNetModel
    let pixels: Tensor  // (1 or batch, imageScale * h, imageScale * w, 3), 0 ... 1
    let guessMode: Bool
    /// What it made of texts and image, by whose texts they are; the same in all steps.
    private var made: [Reading.Role: (text: TextKeys, image: ControlNet.Image)] = [:]

    init(_ model: ControlNetModel, pixels: Tensor, guessMode: Bool) {
        (self.model, self.pixels, self.guessMode) = (model, pixels, guessMode)
    }

    /// Whether it acts on the prediction with the prompt alone, as diffusers' pipelines have it.
    var isConditionalOnly: Bool { guessMode || model.net.config.globalPoolConditions }

    mutating func forgetTexts() { made = [:] }

    /// Its residuals for a network that reads `told`.
    mutating func denoiser(
        for told: Reading.Told, scale: Float, store: Workspace, in workspace: Workspace
    ) throws -> ControlDenoiser {
        let net = model.net
        if made[told.role] == nil {
            let copies = told.states.n / pixels.n
            var images = pixels
            if copies > 1 {
                images = try Tensor(copies * pixels.n, pixels.h, pixels.w, pixels.c, in: workspace)
                for i in 0..<copies { (images.data + i * pixels.count).update(from: pixels.data, count: pixels.count) }
            }
            made[told.role] = (try net.text(told.states, in: store), try net.image(images, in: store))
        }
        guard let (text, image) = made[told.role] else { throw MCMError(.state, "no text for a ControlNet") }
        var conditions = told.inputs.conditions
        conditions.timestepCond = []
        return { [guessMode] x, t in
            try net(
                x, timesteps: t, text: text, image: image, conditions: conditions, scale: scale, guessMode: guessMode,
                in: workspace)
        }
    }
}

/// A ControlNet's residuals for a sample and the timesteps of its images.
typealias ControlDenoiser = (_ x: Tensor, _ timesteps: [Float]) throws -> ControlResiduals
