public import CMCM
import Checkpoint
import Kernels
import Pipeline
import Sampling

@c @implementation public func mcm_model_open(
    _ path: UnsafePointer<CChar>!, _ options: UnsafePointer<mcm_model_options>!,
    _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        out.pointee = handle(try Model(path: string(path, "path"), modelOptions(options)))
    }
}

@c @implementation public func mcm_model_open_memory(
    _ files: UnsafePointer<mcm_memory_file>!, _ file_count: Int, _ options: UnsafePointer<mcm_model_options>!,
    _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        var folder: [String: UnsafeRawBufferPointer] = [:]
        for file in try list(files, file_count, limit: 1 << 16, "files") {
            let name = try string(file.name, "files: name")
            guard file.size >= 0 else { throw MCMError(.invalidArgument, "\(name): size is beyond any memory") }
            guard file.data != nil || file.size == 0 else { throw MCMError(.invalidArgument, "\(name): data is NULL") }
            guard folder.updateValue(.init(start: file.data, count: file.size), forKey: name) == nil else {
                throw MCMError(.invalidArgument, "\(name) is given twice")
            }
        }
        out.pointee = handle(try Model(.memory(folder), modelOptions(options)))
    }
}

/// NULL: the defaults.
func modelOptions(_ options: UnsafePointer<mcm_model_options>?) throws -> Model.Options {
    guard let options else { return Model.Options() }
    let value = try checked(options, "options")
    guard value.threads <= 256 else {
        throw MCMError(.invalidArgument, "options: threads is \(value.threads), expected at most 256")
    }
    guard value.cache_bytes <= UInt64(machineBytes) else {
        throw MCMError(
            .invalidArgument,
            "options: cache_bytes is \(value.cache_bytes), expected at most the machine's memory, \(machineBytes)")
    }
    guard value.reserved == 0 else {
        throw MCMError(.invalidArgument, "options: reserved is \(value.reserved), expected 0")
    }
    var result = Model.Options(threads: Int(value.threads), cacheBytes: Int(value.cache_bytes))
    result.variant = try value.variant.map { try string($0, "options: variant") }
    result.tokenizer = try value.tokenizer.map { try string($0, "options: tokenizer") }
    if value.prediction_type != 0 {
        let types = SchedulerConfig.PredictionType.allCases
        guard let type = types.first(where: { predictionType($0) == value.prediction_type }) else {
            throw MCMError(
                .invalidArgument, "options: prediction_type is \(value.prediction_type), expected MCM_PREDICTION_* or 0"
            )
        }
        result.predictionType = type
    }
    (result.rounds, result.onDemand) = (value.int8_weights != 0, value.on_demand != 0)
    return result
}

@c @implementation public func mcm_model_get_memory(
    _ model: OpaquePointer!, _ memory: UnsafeMutablePointer<mcm_memory>!
) -> mcm_status {
    call {
        let model = try object(model, Model.self, "model")
        var value = try checked(memory, "memory")
        value.threads = UInt32(model.threads)
        (value.weights, value.cache) = (UInt64(model.memory.weights), UInt64(model.memory.cache))
        value.arena = UInt64(model.idle.bytes)
        memory.pointee = value
    }
}

@c @implementation public func mcm_model_get_info(
    _ model: OpaquePointer!, _ info: UnsafeMutablePointer<mcm_model_info>!
) -> mcm_status {
    call {
        let model = try object(model, Model.self, "model")
        var value = try checked(info, "info")
        value.prediction_type = predictionType(model.schedulerConfig.predictionType)
        value.width = UInt32(model.sampleSize.width)
        value.height = UInt32(model.sampleSize.height)
        value.channels = UInt32(model.channels)
        value.prediction_channels = UInt32(model.predictionChannels)
        value.num_train_timesteps = UInt32(model.schedulerConfig.numTrainTimesteps)
        value.size_multiple = UInt32(model.unet.config.sizeMultiple)
        value.class_input_size = UInt32(model.unet.classInputSize)
        value.class_count = UInt32(model.unet.classCount)
        value.parameter_count = UInt64(model.parameterCount)
        value.memory_bytes = UInt64(model.memory.weights)
        copy(model.fingerprint, into: &value.fingerprint)
        value.scale = UInt32(model.reduction)
        value.image_channels = UInt32(model.imageChannels)
        value.text_channels = UInt32(model.textChannels)
        value.pooled_channels = UInt32(model.pooledChannels)
        value.input_channels = UInt32(model.unet.config.inChannels)
        value.time_id_count = UInt32(model.timeIDCount)
        value.encodes_text = model.encodesText ? 1 : 0
        value.rounding_error = Float(model.roundingError)
        info.pointee = value
    }
}

func predictionType(_ type: SchedulerConfig.PredictionType) -> Int32 {
    switch type {
    case .epsilon: MCM_PREDICTION_EPSILON
    case .sample: MCM_PREDICTION_SAMPLE
    case .vPrediction: MCM_PREDICTION_V
    }
}

@c @implementation public func mcm_model_predict(
    _ model: OpaquePointer!, _ batch: UInt32, _ width: UInt32, _ height: UInt32, _ sample: UnsafePointer<Float>!,
    _ count: Int, _ timesteps: UnsafePointer<Float>!, _ class_input: UnsafePointer<Float>!,
    _ class_input_count: Int, _ prediction: UnsafeMutablePointer<Float>!, _ prediction_count: Int
) -> mcm_status {
    call {
        let model = try object(model, Model.self, "model")
        try predict(
            model, Int(batch), Int(height), Int(width), sample, count, timesteps, prediction, prediction_count
        ) { inputs in
            inputs.classInput = try classInput(class_input, class_input_count, Int(batch), model)
        }
    }
}

@c @implementation public func mcm_model_predict_with(
    _ model: OpaquePointer!, _ batch: UInt32, _ width: UInt32, _ height: UInt32, _ sample: UnsafePointer<Float>!,
    _ count: Int, _ timesteps: UnsafePointer<Float>!, _ options: UnsafePointer<mcm_predict_options>!,
    _ prediction: UnsafeMutablePointer<Float>!, _ prediction_count: Int
) -> mcm_status {
    call {
        let model = try object(model, Model.self, "model")
        let n = Int(batch)
        try predict(model, n, Int(height), Int(width), sample, count, timesteps, prediction, prediction_count) {
            guard let options else { return }
            let value = try checked(options, "options")
            $0.classInput = try classInput(value.class_input, Int(value.class_input_count), n, model)
            $0.prompt = try value.prompt.map { try object($0, Prompt.self, "prompt") }
            $0.timeIDs = try value.time_ids.map {
                let count = n * model.timeIDCount
                return Array(UnsafeBufferPointer(start: try floats($0, count, count, "time_ids"), count: count))
            }
            let condition = n * model.timestepCondCount
            $0.timestepCond =
                try value.timestep_cond.map {
                    let values = try floats($0, value.timestep_cond_count, condition, "timestep_cond")
                    return Array(UnsafeBufferPointer(start: values, count: condition))
                } ?? []
        }
    }
}

private func predict(
    _ model: Model, _ n: Int, _ h: Int, _ w: Int, _ sample: UnsafePointer<Float>?, _ count: Int,
    _ timesteps: UnsafePointer<Float>?, _ prediction: UnsafeMutablePointer<Float>?, _ prediction_count: Int,
    _ fill: (inout Model.PredictionInputs) throws -> Void
) throws {
    let expected = try model.sampleCount(batch: n, height: h, width: w, channels: model.unet.config.inChannels)
    let predicted = try model.sampleCount(batch: n, height: h, width: w, channels: model.predictionChannels)
    let sample = try floats(sample, count, expected, "sample")
    let timesteps = try floats(timesteps, n, n, "timesteps")
    let target = try output(prediction, prediction_count, predicted, "prediction")
    var inputs = Model.PredictionInputs()
    try fill(&inputs)
    try model.predict(
        sample, batch: n, height: h, width: w, timesteps: Array(UnsafeBufferPointer(start: timesteps, count: n)),
        inputs,
        into: target)
}

/// NULL and 0 for a model that takes none.
private func classInput(
    _ values: UnsafePointer<Float>?, _ count: Int, _ batch: Int, _ model: Model
) throws -> [Float] {
    let size = batch * model.unet.classInputSize
    if values == nil, size == 0 {
        guard count == 0 else { throw MCMError(.invalidArgument, "class_input is NULL") }
        return []
    }
    return Array(UnsafeBufferPointer(start: try floats(values, count, size, "class_input"), count: size))
}

@c @implementation public func mcm_model_encode(
    _ model: OpaquePointer!, _ images: UnsafePointer<mcm_image>!, _ batch: UInt32,
    _ sample: UnsafeMutablePointer<Float>!, _ count: Int
) -> mcm_status {
    call {
        let model = try object(model, Model.self, "model")
        let first = try imageView(pointer(images, "images"), "image 0")
        let scale = model.reduction
        guard first.width % scale == 0, first.height % scale == 0 else {
            throw MCMError(.size, "an image of \(first.width) x \(first.height), expected multiples of \(scale)")
        }
        // Before more images are looked at: they are as many as the samples say.
        let expected = try model.sampleCount(
            batch: Int(batch), height: first.height / scale, width: first.width / scale)
        let target = try output(sample, count, expected, "sample")
        let all = try structs(images, Int(batch), limit: Int(batch), "images")
        let views = try all.enumerated().map { try imageView($1, "image \($0)") }
        try model.encode(views, into: target)
    }
}

@c @implementation public func mcm_model_decode(
    _ model: OpaquePointer!, _ width: UInt32, _ height: UInt32, _ sample: UnsafePointer<Float>!, _ count: Int,
    _ pixels: UnsafeMutablePointer<UInt8>!, _ size: Int
) -> mcm_status {
    call {
        let model = try object(model, Model.self, "model")
        let expected = try model.sampleCount(batch: 1, height: Int(height), width: Int(width))
        guard count == expected else { throw MCMError(.size, "sample: a count of \(count), expected \(expected)") }
        let bytes = try model.sampleCount(
            batch: 1, height: Int(height), width: Int(width),
            channels: model.imageChannels * model.reduction * model.reduction)
        let target = try output(pixels, size, bytes, "pixels")
        try model.decode(try pointer(sample, "sample"), height: Int(height), width: Int(width), into: target)
    }
}

@c @implementation public func mcm_model_free(_ model: OpaquePointer!) { release(model) }
