public import CMCM
import Checkpoint
import Kernels
import Networks
import Pipeline
import Sampling

@c @implementation public func mcm_model_open(
    _ folder: UnsafePointer<CChar>!, _ options: UnsafePointer<mcm_model_options>!,
    _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        out.pointee = handle(try Model(.disk(string(folder, "folder")), modelOptions(options)))
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
private func modelOptions(_ options: UnsafePointer<mcm_model_options>?) throws -> Model.Options {
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
    return Model.Options(threads: Int(value.threads), cacheBytes: Int(value.cache_bytes))
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
        let (n, h, w) = (Int(batch), Int(height), Int(width))
        let expected = try model.sampleCount(batch: n, height: h, width: w)
        let predicted = try model.sampleCount(batch: n, height: h, width: w, channels: model.predictionChannels)
        let sample = try floats(sample, count, expected, "sample")
        let timesteps = try floats(timesteps, n, n, "timesteps")
        let target = try output(prediction, prediction_count, predicted, "prediction")
        let size = n * model.unet.classInputSize
        let classInput =
            size == 0 && class_input == nil ? nil : try floats(class_input, class_input_count, size, "class_input")
        if class_input == nil && class_input_count != 0 { throw MCMError(.invalidArgument, "class_input is NULL") }
        var conditions = UNetConditions()
        conditions.classInput = Array(UnsafeBufferPointer(start: classInput, count: size))
        try model.predict(
            sample, batch: n, height: h, width: w, timesteps: Array(UnsafeBufferPointer(start: timesteps, count: n)),
            conditions, into: target)
    }
}

@c @implementation public func mcm_model_encode(
    _ model: OpaquePointer!, _ images: UnsafePointer<mcm_image>!, _ batch: UInt32,
    _ sample: UnsafeMutablePointer<Float>!, _ count: Int
) -> mcm_status {
    call {
        let model = try object(model, Model.self, "model")
        let first = try imageView(pointer(images, "images"), "image 0")
        // Before more images are looked at: they are as many as the samples say.
        let expected = try model.sampleCount(batch: Int(batch), height: first.height, width: first.width)
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
        let target = try output(pixels, size, expected, "pixels")
        try model.decode(try pointer(sample, "sample"), height: Int(height), width: Int(width), into: target)
    }
}

@c @implementation public func mcm_model_free(_ model: OpaquePointer!) { release(model) }
