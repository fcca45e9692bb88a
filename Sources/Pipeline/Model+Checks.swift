import Checkpoint
import Kernels
import Networks

/// Whether things fit: the components of a model, and what is given to it.
extension Model {
    /// Throws unless the network's channels are those of samples and of what belongs to them.
    func checkChannels(_ json: JSONObject) throws {
        let config = unet.config, learned = schedulerConfig.varianceType.isLearned
        let channels = latents?.config.sampleChannels ?? config.inChannels
        guard config.outChannels == (learned ? 2 : 1) * channels else {
            throw Self.misfit(
                json, "out_channels", config.outChannels,
                "\((learned ? 2 : 1) * channels): \(learned ? "twice" : "as many as") "
                    + "\(latents == nil ? "\"in_channels\"" : "the autoencoder's") with the scheduler's variance_type "
                    + "\"\(schedulerConfig.varianceType.rawValue)\"")
        }
        // An inpainting network also reads a mask and the image's latents where the mask is not.
        guard config.inChannels == channels || config.inChannels == 2 * channels + 1 && kind.isText else {
            throw Self.misfit(
                json, "in_channels", config.inChannels, "\(channels), or \(2 * channels + 1) for inpainting",
                kind: .unsupported)
        }
    }

    /// Throws unless the text encoders make what the network reads.
    func checkText(_ json: JSONObject) throws {
        guard let reader = unet as? UNet2DCondition, let textEncoders else { return }
        guard reader.config.textChannels == textEncoders.channels else {
            throw Self.misfit(
                json, "cross_attention_dim", reader.config.textChannels,
                "\(textEncoders.channels), as the text encoders have it")
        }
        let pooled = textEncoders.pooledChannels
        if kind.isXL, pooledChannels > 0, pooledChannels != pooled {
            throw json.error(
                "projection_class_embeddings_input_dim",
                expected: "one for a pooled text of \(pooled) numbers beside \(timeIDCount) embedded sizes")
        }
    }

    /// An option, said or not, that does not go with other components.
    private static func misfit(
        _ json: JSONObject, _ key: String, _ found: Int, _ expected: String, kind: MCMError.Kind = .format
    ) -> MCMError {
        MCMError(kind, "\(json.name): \"\(key)\" is \(found), expected \(expected)")
    }

    /// Throws unless the network can read the prompt for a batch.
    func check(_ prompt: Prompt, _ name: String, batch: Int) throws {
        guard readsText else { throw MCMError(.incompatible, "the model reads no text, \(name) is of no use to it") }
        guard prompt.count == 1 || prompt.count == batch else {
            throw MCMError(.size, "\(name) is for \(prompt.count) images, expected 1 or the batch size \(batch)")
        }
        let pooled = pooledChannels
        guard prompt.channels == textChannels, prompt.pooledChannels == pooled || pooled == 0 else {
            throw MCMError(
                .incompatible,
                "\(name) has \(prompt.channels) channels and \(prompt.pooledChannels) pooled ones, expected "
                    + "\(textChannels) and \(pooled)")
        }
    }

    /// Throws `.incompatible` unless the module was made for predictions like this model's.
    ///   otherBase   accept a module that was trained on other weights
    public func check(_ modulator: Modulator, otherBase: Bool = false) throws {
        func fail(_ what: String, _ found: String, _ expected: String) -> MCMError {
            MCMError(.incompatible, "the module's \(what) is \(found), expected the model's \(expected)")
        }
        if modulator.predictionChannels != predictionChannels || predictionChannels != channels {
            throw fail(
                "number of prediction channels", "\(modulator.predictionChannels)",
                predictionChannels == channels
                    ? "\(predictionChannels)" : "\(predictionChannels), which include a learned variance")
        }
        guard let base = modulator.base else { return }
        if let type = base.predictionType, type != schedulerConfig.predictionType.rawValue {
            throw fail("prediction type", "\"\(type)\"", "\"\(schedulerConfig.predictionType.rawValue)\"")
        }
        if let baseChannels = base.channels, baseChannels != channels {
            throw fail("base's number of channels", "\(baseChannels)", "\(channels)")
        }
        if let other = base.fingerprint, other != fingerprint, !otherBase {
            throw fail("base's fingerprint", other, "\(fingerprint): it was trained on other weights")
        }
    }
}
