import Kernels
import Networks

/// What a network that reads texts is told of them.
extension Model {
    /// Reads prompts with the model's text encoders.
    public func prompt(_ prompts: [String], _ options: PromptOptions = PromptOptions()) throws -> Prompt {
        guard let textEncoders else {
            throw MCMError(.unsupported, "the model has no text encoder, expected one that reads prompts")
        }
        return try textEncoders.encode(prompts, options, threads: threads)
    }

    /// What the model takes for no prompt.
    func noPrompt(beside prompt: Prompt) throws -> Prompt {
        if kind.forcesZeros { return try prompt.zeros() }
        guard textEncoders != nil else {
            throw MCMError(.state, "the model has no text encoder, expected an encoded negative prompt for guidance")
        }
        return try self.prompt([""])
    }

    /// Of a text's states that its network reads, 0 if it reads none.
    public var textChannels: Int { (unet as? UNet2DCondition)?.config.textChannels ?? 0 }
    /// Whether it has its text encoders.
    public var encodesText: Bool { textEncoders != nil }
    /// Numbers of the guidance embedding that a consistency model is told, 0 for others.
    public var timestepCondCount: Int { (unet as? UNet2DCondition)?.config.timeCondProjDim ?? 0 }

    /// Of a pooled text that its network reads, 0 if it reads none.
    public var pooledChannels: Int { (unet as? UNet2DCondition)?.config.pooledChannels(timeIDs: timeIDCount) ?? 0 }

    /// Numbers that its network is told of an image's sizes: 6 in Stable Diffusion XL, 5 in its refiner, 0 in others.
    public var timeIDCount: Int { !kind.isXL ? 0 : kind.wantsAestheticsScore ? 5 : 6 }

    /// As of an image that was not cut or made smaller.
    func defaultTimeIDs(_ size: (height: Int, width: Int), isNegative: Bool) -> [Float] {
        let whole = [Float(size.height), Float(size.width), 0, 0]
        if kind.wantsAestheticsScore { return whole + [isNegative ? 2.5 : 6] }
        return whole + [Float(size.height), Float(size.width)]
    }
}
