import Checkpoint
import Kernels
import Networks

/// A trainer in a file: a safetensors file with its flat buffers, and everything else in the metadata. Who goes on from
/// it gets the same bits as who never stopped.
extension Trainer {
    private static let format = "mcm-trainer"

    /// Writes the file at once or not at all: a process that ends meanwhile leaves the file that was there.
    public func save(to path: String) throws {
        for (name, buffer) in buffers { try checkFinite(buffer, name) }
        try SafetensorsWriter.write(
            buffers.map { .init(name: $0, shape: [$1.count], values: $1.values) },
            metadata: [
                "format": Self.format, "version": "1", "config": config.text, "options": options.json.text,
                "noise_schedule": base.scheduleDigest, "step": "\(step)", "examples": "\(examples)",
                "pending": "\(pending)",
            ], to: path)
    }

    /// What is saved, by its name in the file.
    private var buffers: [(name: String, buffer: FloatBuffer)] {
        var buffers = [
            ("parameters", parameters.values), ("first_moments", firstMoments), ("second_moments", secondMoments),
        ]
        if let ema { buffers.append(("ema", ema)) }
        if pending > 0 { buffers.append(("gradients", parameters.gradients)) }
        return buffers
    }

    /// What is not finite could not be read again, and would take the place of a file that could.
    private func checkFinite(_ buffer: FloatBuffer, _ name: String) throws {
        for entry in parameters.entries {
            if let bad = buffer.values[entry.range].first(where: { !$0.isFinite }) {
                throw MCMError(
                    .state,
                    "\(name): \"\(entry.key)\" holds \(bad) after step \(step), expected finite numbers")
            }
        }
    }

    /// Goes on from a file. The base must be the one that was trained on.
    ///   change  options that are to be others than as saved
    public convenience init(
        _ base: Base, resuming file: SafetensorsFile, changing change: (inout TrainerOptions) -> Void = { _ in }
    ) throws {
        guard file.metadata["format"] == Self.format, file.metadata["version"] == "1" else {
            throw MCMError(
                .format, "\(file.name): is no trainer's file, expected metadata \"format\" = \"\(Self.format)\"")
        }
        func json(_ key: String) throws -> JSONValue {
            try JSONValue(parsing: file.metadata[key] ?? "", name: "\(file.name): \(key)")
        }
        func number(_ key: String) throws -> Int {
            guard let text = file.metadata[key], let value = Int(text), (0...(1 << 48)).contains(value) else {
                throw MCMError(
                    .format,
                    "\(file.name): metadata \"\(key)\" is \(file.metadata[key] ?? "missing"), expected a number")
            }
            return value
        }
        let config = try json("config"), name = "\(file.name): config"
        let trained = try JSONObject(config, name: name).optionalObject("base")
        let fingerprint = try trained?.optionalString("fingerprint")
        guard fingerprint == base.fingerprint else {
            throw MCMError(
                .incompatible,
                "\(file.name): the base is \(fingerprint ?? "not named"), expected \(base.fingerprint), which it was trained on"
            )
        }
        guard try trained?.optionalString("prediction_type") == base.predictionType.rawValue,
            file.metadata["noise_schedule"] == base.scheduleDigest
        else {
            throw MCMError(
                .incompatible, "\(file.name): the base has another noise schedule or prediction type, expected the same"
            )
        }
        let saved = try TrainerOptions(JSONObject(json("options"), name: "\(file.name): options"))
        let count = try JSONObject(config, name: name).objects("modalities", count: 1...64).count
        do {
            try saved.check(modalities: count, numTrainTimesteps: base.schedule.numTrainTimesteps)
        } catch let error as MCMError {
            throw MCMError(.format, "\(file.name): \(error.message)")
        }
        var options = saved
        change(&options)
        try self.init(base, config: config, name: name, InitialWeights(seed: 0), options)
        (step, examples, pending) = (try number("step"), try number("examples"), try number("pending"))
        if pending > 0 && (options.rank, options.world) != (saved.rank, saved.world) {
            throw MCMError(
                .state,
                "\(file.name): gradients of \(pending) examples of rank \(saved.rank) wait, expected none for another rank"
            )
        }
        let source = try CheckpointSource(file)
        for (name, buffer) in buffers {
            try source.withElements(name, shape: [parameters.count]) { $0.widen(into: buffer.data) }
            if let bad = buffer.values.firstIndex(where: { !$0.isFinite }) {
                throw MCMError(
                    .format,
                    "\(file.name): tensor \"\(name)\" holds \(buffer.data[bad]) at element \(bad), expected finite numbers"
                )
            }
        }
        try source.finish()
    }

    /// Writes the module's file.
    ///   averaged  whether with the moving average of its weights, if there is one
    ///   dtype     `.f16` or `.f32`
    public func writeModule(to path: String, averaged: Bool, dtype: DType) throws {
        let values = averaged ? ema ?? parameters.values : parameters.values
        try checkFinite(values, averaged && ema != nil ? "ema" : "parameters")
        let tensors = try parameters.entries.map { entry in
            let elements = values.values[entry.range]
            if dtype == .f16, let bad = elements.first(where: { !Float16($0).isFinite }) {
                throw MCMError(.state, "parameter \"\(entry.key)\" holds \(bad), which F16 does not; write F32")
            }
            return SafetensorsWriter.Tensor(name: entry.key, shape: entry.shape, dtype: dtype, values: elements)
        }
        try SafetensorsWriter.write(
            tensors, metadata: ["format": "mcm", "version": "1", "config": config.text], to: path)
    }
}

extension TrainerOptions {
    var json: JSONValue {
        func number(_ value: Float) -> JSONValue { .number(Double(value)) }
        return .object([
            "learning_rate": number(learningRate), "weight_decay": number(weightDecay), "beta1": number(beta1),
            "beta2": number(beta2), "epsilon": number(epsilon), "clip_norm": number(clipNorm),
            "ema_decay": number(emaDecay), "warmup_steps": .integer(warmupSteps), "total_steps": .integer(totalSteps),
            "weighting": .string(weighting.rawValue), "min_snr_gamma": number(minSNRGamma),
            "noise_weight_low": number(noiseRange.lowerBound), "noise_weight_high": number(noiseRange.upperBound),
            "timesteps": .string(timesteps.rawValue), "first_timestep": .integer(timestepRange?.lowerBound ?? 0),
            "end_timestep": .integer(timestepRange?.upperBound ?? 0), "dropout": .array(dropout.map(number)),
            "seed": .string("\(seed)"), "rank": .integer(rank), "world": .integer(world),
        ])
    }

    init(_ json: JSONObject) throws {
        self.init()
        func number(_ key: String) throws -> Float { Float(try json.double(key)) }
        learningRate = try number("learning_rate")
        weightDecay = try number("weight_decay")
        (beta1, beta2, epsilon) = (try number("beta1"), try number("beta2"), try number("epsilon"))
        (clipNorm, emaDecay) = (try number("clip_norm"), try number("ema_decay"))
        warmupSteps = try json.int("warmup_steps", in: 0...(1 << 40))
        totalSteps = try json.int("total_steps", in: 0...(1 << 40))
        weighting = try json.choice("weighting", default: .noise)
        minSNRGamma = try number("min_snr_gamma")
        let (low, high) = (try number("noise_weight_low"), try number("noise_weight_high"))
        guard low <= high else { throw json.error("noise_weight_low", expected: "at most noise_weight_high") }
        noiseRange = low...high
        timesteps = try json.choice("timesteps", default: .uniform)
        let (first, end) = (
            try json.int("first_timestep", in: 0...(1 << 30)), try json.int("end_timestep", in: 0...(1 << 30))
        )
        timestepRange = end > first ? first..<end : nil
        dropout = try json.doubles("dropout").map { Float($0) }
        guard let value = UInt64(try json.string("seed")) else { throw json.error("seed", expected: "an integer") }
        seed = value
        (rank, world) = (try json.int("rank"), try json.int("world"))
        try json.rejectUnknown()
    }
}
