public import CMCM
import Checkpoint
import Kernels
import Networks
import Pipeline
import Sampling

@c @implementation public func mcm_modulator_open(
    _ path: UnsafePointer<CChar>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        let path = try string(path, "path")
        out.pointee = handle(try Modulator(SafetensorsFile(MappedFile(path: path), name: path)))
    }
}

@c @implementation public func mcm_modulator_open_memory(
    _ data: UnsafeRawPointer!, _ size: Int, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        guard data != nil, size >= 0 else { throw MCMError(.invalidArgument, "data is NULL or beyond any memory") }
        let file = MemoryFile(borrowing: UnsafeRawBufferPointer(start: data, count: size))
        out.pointee = handle(try Modulator(SafetensorsFile(file, name: "module in memory")))
    }
}

@c @implementation public func mcm_modulator_get_info(
    _ modulator: OpaquePointer!, _ info: UnsafeMutablePointer<mcm_modulator_info>!
) -> mcm_status {
    call {
        let modulator = try object(modulator, Modulator.self, "modulator")
        var value = try checked(info, "info")
        value.modality_count = UInt32(modulator.modalities.count)
        value.prediction_channels = UInt32(modulator.predictionChannels)
        value.prediction_type =
            modulator.base?.predictionType.flatMap { SchedulerConfig.PredictionType(rawValue: $0) }.map(predictionType)
            ?? 0
        value.parameter_count = UInt64(modulator.parameterCount)
        copy(modulator.base?.fingerprint ?? "", into: &value.base_fingerprint)
        info.pointee = value
    }
}

@c @implementation public func mcm_modulator_get_modality(
    _ modulator: OpaquePointer!, _ index: UInt32, _ info: UnsafeMutablePointer<mcm_modality_info>!
) -> mcm_status {
    call { try encode(object(modulator, Modulator.self, "modulator").modalities, index, into: info) }
}

func encode(
    _ modalities: [Modality], _ index: UInt32, into info: UnsafeMutablePointer<mcm_modality_info>?
) throws {
    var value = try checked(info, "info")
    guard Int(index) < modalities.count else {
        throw MCMError(.invalidArgument, "modality \(index), expected 0 to \(modalities.count - 1)")
    }
    let modality = modalities[Int(index)]
    value.channels = UInt32(modality.channels)
    switch modality.encoding {
    case .grey: value.encoding = MCM_ENCODING_GREY
    case .rgb: value.encoding = MCM_ENCODING_RGB
    case .oneHot: value.encoding = MCM_ENCODING_ONE_HOT
    }
    switch modality.resize {
    case .nearest: value.resize = MCM_RESIZE_NEAREST
    case .area: value.resize = MCM_RESIZE_AREA
    case .bilinear: value.resize = MCM_RESIZE_BILINEAR
    }
    copy(modality.name, into: &value.name)
    info?.pointee = value
}

@c @implementation public func mcm_modulator_check(_ modulator: OpaquePointer!, _ model: OpaquePointer!) -> mcm_status {
    call {
        let modulator = try object(modulator, Modulator.self, "modulator")
        try object(model, Model.self, "model").check(modulator)
    }
}

@c @implementation public func mcm_modulator_modulate(
    _ modulator: OpaquePointer!, _ model: OpaquePointer!, _ batch: UInt32, _ width: UInt32, _ height: UInt32,
    _ sample: UnsafePointer<Float>!, _ prediction: UnsafePointer<Float>!, _ count: Int,
    _ timesteps: UnsafePointer<Float>!, _ conditions: UnsafePointer<mcm_condition>!, _ condition_count: UInt32,
    _ weight: Float, _ out: UnsafeMutablePointer<Float>!
) -> mcm_status {
    call {
        let modulator = try object(modulator, Modulator.self, "modulator")
        let model = try object(model, Model.self, "model")
        let (n, h, w) = (Int(batch), Int(height), Int(width))
        let expected = try model.sampleCount(batch: n, height: h, width: w)
        let sample = try floats(sample, count, expected, "sample")
        let prediction = try floats(prediction, count, expected, "prediction")
        let timesteps = try floats(timesteps, n, n, "timesteps")
        let target = try pointer(out, "out")
        let conditions = try structs(
            conditions, Int(condition_count), limit: modulator.modalities.count, "conditions"
        ).map { try condition($0, batch: n) }
        try model.modulate(
            by: modulator, sample, prediction, batch: n, height: h, width: w,
            timesteps: Array(UnsafeBufferPointer(start: timesteps, count: n)), conditions: conditions, weight: weight,
            into: target)
    }
}

@c @implementation public func mcm_modulator_free(_ modulator: OpaquePointer!) { release(modulator) }
