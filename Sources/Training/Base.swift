import Checkpoint
import Kernels
import Networks
import Pipeline
import Sampling

/// What a trainer knows of the frozen model: the model itself, or what a bank of its predictions says of it.
public struct Base: Sendable {
    let model: Model?
    let schedule: NoiseSchedule
    let predictionType: SchedulerConfig.PredictionType
    let channels: Int
    let sampleSize: (height: Int, width: Int)
    let fingerprint: String
    let threads: Int

    public init(_ model: Model) throws {
        guard model.unet.classInputSize == 0 else {
            throw MCMError(.unsupported, "the model takes a class input, expected one without for training")
        }
        guard model.predictionChannels == model.channels else {
            throw MCMError(.unsupported, "the model predicts a variance too, expected one that does not for training")
        }
        self.model = model
        schedule = model.schedule
        predictionType = model.schedulerConfig.predictionType
        (channels, sampleSize, fingerprint) = (model.channels, model.sampleSize, model.fingerprint)
        threads = model.threads
    }

    /// Without the model.
    ///   threads  0: as many as the process may use CPUs
    public init(_ bank: Bank, threads: Int = 0) {
        model = nil
        let header = bank.header
        schedule = NoiseSchedule(alphasCumprod: header.alphasCumprod)
        predictionType = header.predictionType
        channels = header.channels
        sampleSize = (header.height, header.width)
        fingerprint = header.fingerprint
        self.threads = threads > 0 ? threads : usableCPUs
    }

    /// Throws if only its predictions are known.
    public func modelItself() throws -> Model {
        guard let model else { throw MCMError(.state, "the trainer has no model, expected a bank to train from") }
        return model
    }

    /// Tells one noise schedule from another.
    var scheduleDigest: String {
        var digest = Digest()
        for alpha in schedule.alphasCumprod { digest.add(UInt64(alpha.bitPattern)) }
        return digest.text
    }

    /// What a module's file says of its base.
    var json: JSONValue {
        .object([
            "prediction_type": .string(predictionType.rawValue), "channels": .integer(channels),
            "fingerprint": .string(fingerprint), "sample_size": .integer(sampleSize.height),
        ])
    }

    /// Throws for a module, trained on timesteps of a range, that does not fit.
    func check(_ modulator: Modulator, timesteps: Range<Int>) throws {
        for timestep in [timesteps.lowerBound, timesteps.upperBound - 1] {
            try model?.unet.checkTimestep(timestep)
            try modulator.net.checkTimestep(timestep)
        }
        if modulator.predictionChannels != channels {
            throw MCMError(
                .incompatible,
                "the module's number of prediction channels is \(modulator.predictionChannels), expected the model's "
                    + "\(channels)")
        }
    }
}
