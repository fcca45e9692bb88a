import Checkpoint
import Kernels
import Networks
import Pipeline
import Sampling

/// Learns a conditioning module for a frozen model (Ham et al. 2023, section 3): x_t from an example and noise, the
/// model's prediction e of it, the module's e' from both and the conditions, and the squared error of e' as loss. No
/// gradient goes through the model. One thread at a time.
///
/// What an example meets (timestep, noise, which conditions are withheld) follows from the seed and the example's number
/// alone, so that a run repeats bit for bit, with any number of threads, and goes on exactly where it stopped.
public final class Trainer {
    public let base: Base
    public let options: TrainerOptions
    /// Of the module, as its file has it, with the base that it is trained on.
    let config: JSONValue
    public let parameters: Parameters
    public let modalities: [Modality]
    let plan: TimestepPlan
    let firstMoments, secondMoments: FloatBuffer
    /// Moving average of the parameters, over min(ema_decay, (step + 2) / (step + 11)) of itself in each step.
    public let ema: FloatBuffer?
    /// What was accumulated before the call that is running, to go back to.
    let savedGradients: FloatBuffer
    let workspace: Workspace

    /// Steps taken, and examples seen by all processes together.
    public internal(set) var step = 0
    public internal(set) var examples = 0
    /// Examples whose gradients are accumulated.
    public internal(set) var pending = 0
    public internal(set) var losses: LossTable
    /// While `train` runs.
    var isRunning = false
    private var lastSource: Source?

    /// A module of random weights for a config as a module file has it; see docs/format.md.
    ///   name  of the config in messages
    public convenience init(
        _ base: Base, config: JSONValue, name: String = "config", _ options: TrainerOptions
    ) throws {
        try self.init(base, config: config, name: name, InitialWeights(seed: options.seed), options)
    }

    /// Goes on from a module file's weights.
    public convenience init(_ base: Base, from file: SafetensorsFile, _ options: TrainerOptions) throws {
        let config = try Modulator.config(of: file), name = "\(file.name): config"
        let type = try JSONObject(config, name: name).optionalObject("base")?
            .optionalString("prediction_type")
        if let type, type != base.predictionType.rawValue {
            throw MCMError(
                .incompatible,
                "\(file.name): the base's prediction_type is \(type), expected \(base.predictionType.rawValue)")
        }
        try self.init(base, config: config, name: name, CheckpointSource(file), options)
    }

    ///   name  of the config in messages
    init(
        _ base: Base, config: JSONValue, name: String, _ source: any TensorSource, _ options: TrainerOptions
    ) throws {
        self.base = base
        self.options = options
        guard case .object(var members) = config else {
            throw MCMError(.format, "\(name): is no object, expected the config of a module")
        }
        members["base"] = base.json
        let config = JSONValue.object(members)
        self.config = config
        var modulator: Modulator?
        parameters = try Parameters(from: source) {
            modulator = try Modulator(JSONObject(config, name: name), $0, threads: base.threads)
        }
        guard let modulator else { throw MCMError(.state, "the module has no network") }
        modalities = modulator.modalities
        try options.check(modalities: modalities.count, numTrainTimesteps: base.schedule.numTrainTimesteps)
        plan = TimestepPlan(options, base.schedule, base.predictionType)
        try base.check(modulator, timesteps: plan.range)
        firstMoments = try FloatBuffer(count: parameters.count)
        secondMoments = try FloatBuffer(count: parameters.count)
        savedGradients = try FloatBuffer(count: parameters.count)
        ema = options.emaDecay > 0 ? try FloatBuffer(count: parameters.count) : nil
        ema?.data.update(from: parameters.values.data, count: parameters.count)
        workspace = Workspace(threads: base.threads)
        losses = LossTable(modalities: modalities.count, timesteps: base.schedule.numTrainTimesteps)
    }

    /// The module as it is now, for sampling.
    ///   averaged  whether with the moving average of its weights, if there is one
    public func modulator(averaged: Bool) throws -> Modulator {
        try modulator(parameters.source(averaged ? ema ?? parameters.values : parameters.values))
    }

    /// A module whose layers know where their gradients go; made anew for each batch, since parameters change.
    func currentModulator() throws -> Modulator { try modulator(parameters) }

    private func modulator(_ source: any TensorSource) throws -> Modulator {
        do {
            return try Modulator(JSONObject(config, name: "config"), source, threads: base.threads)
        } catch let error as MCMError where error.kind == .format {  // a parameter that is not finite
            throw MCMError(.state, "\(error.message), in step \(step + 1)")
        }
    }

    /// Throws while `train` runs: its callback may look, but not train.
    public func checkIdle() throws {
        if isRunning { throw MCMError(.state, "the trainer is running: not allowed inside its progress callback") }
    }

    /// A source of examples, the same as in the last call if it has not changed: shuffling takes time.
    public func source(_ dataset: Dataset, _ bank: Bank?) throws -> Source {
        if let lastSource, lastSource.dataset === dataset, lastSource.bank === bank { return lastSource }
        let source = try Source(dataset, bank: bank, for: self)
        lastSource = source
        return source
    }

    public func resetLosses() { losses = LossTable(modalities: modalities.count, timesteps: losses.timesteps) }
}

/// A number that looks random, from a seed and a counter (SplitMix64; Steele, Lea and Flood 2014).
func mix(_ seed: UInt64, _ counter: UInt64) -> UInt64 {
    var z = seed &* 0xd1342543de82ef95 &+ (counter &+ 1) &* 0x9e37_79b9_7f4a_7c15
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
}
