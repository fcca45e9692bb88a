public import CMCM
import Checkpoint
import Kernels
import Pipeline
import Training

@c @implementation public func mcm_dataset_open(
    _ path: UnsafePointer<CChar>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        out.pointee = handle(try Dataset(file(path)))
    }
}

@c @implementation public func mcm_dataset_get_info(
    _ dataset: OpaquePointer!, _ info: UnsafeMutablePointer<mcm_dataset_info>!
) -> mcm_status {
    call {
        let dataset = try object(dataset, Dataset.self, "dataset")
        var value = try checked(info, "info")
        (value.width, value.height) = (UInt32(dataset.width), UInt32(dataset.height))
        (value.channels, value.count) = (UInt32(dataset.channels), UInt64(dataset.count))
        value.modality_count = UInt32(dataset.modalities.count)
        copy(dataset.fingerprint, into: &value.fingerprint)
        info.pointee = value
    }
}

@c @implementation public func mcm_dataset_get_modality(
    _ dataset: OpaquePointer!, _ index: UInt32, _ info: UnsafeMutablePointer<mcm_modality_info>!
) -> mcm_status {
    call {
        let modalities = try object(dataset, Dataset.self, "dataset").modalities
        var value = try checked(info, "info")
        guard Int(index) < modalities.count else {
            throw MCMError(.invalidArgument, "modality \(index), expected 0 to \(modalities.count - 1)")
        }
        copy(modalities[Int(index)].name, into: &value.name)
        value.channels = UInt32(modalities[Int(index)].channels)
        (value.encoding, value.resize) = (0, 0)
        info.pointee = value
    }
}

@c @implementation public func mcm_dataset_encode(
    _ dataset: OpaquePointer!, _ model: OpaquePointer!, _ path: UnsafePointer<CChar>!,
    _ callback: mcm_dataset_progress!, _ user: UnsafeMutableRawPointer!
) -> mcm_status {
    call {
        try object(dataset, Dataset.self, "dataset").encode(
            object(model, Model.self, "model"), to: string(path, "path")
        ) { done, count in callback?(user, UInt64(done), UInt64(count)) ?? 0 == 0 }
    }
}

@c @implementation public func mcm_dataset_free(_ dataset: OpaquePointer!) { release(dataset) }

@c @implementation public func mcm_bank_record(
    _ model: OpaquePointer!, _ dataset: OpaquePointer!, _ path: UnsafePointer<CChar>!,
    _ options: UnsafePointer<mcm_bank_options>!, _ callback: mcm_bank_progress!, _ user: UnsafeMutableRawPointer!
) -> mcm_status {
    call {
        let value = try checked(options, "options")
        var options = Bank.RecordingOptions()
        guard let count = Int(exactly: value.count) else {
            throw MCMError(.invalidArgument, "options: count is \(value.count), expected a possible number of records")
        }
        (options.count, options.batch, options.seed) = (count, Int(value.batch), value.seed)
        options.timesteps = try timesteps(value.first_timestep, value.end_timestep)
        try Bank.record(
            object(model, Model.self, "model"), object(dataset, Dataset.self, "dataset"), to: string(path, "path"),
            options
        ) { done, count in callback?(user, UInt64(done), UInt64(count)) ?? 0 == 0 }
    }
}

@c @implementation public func mcm_bank_open(
    _ path: UnsafePointer<CChar>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        let path = try string(path, "path")
        out.pointee = handle(try Bank(MappedFile(path: path), name: path))
    }
}

@c @implementation public func mcm_bank_get_info(
    _ bank: OpaquePointer!, _ info: UnsafeMutablePointer<mcm_bank_info>!
) -> mcm_status {
    call {
        let bank = try object(bank, Bank.self, "bank")
        var value = try checked(info, "info")
        (value.width, value.height) = (UInt32(bank.shape.width), UInt32(bank.shape.height))
        (value.channels, value.count) = (UInt32(bank.shape.channels), UInt64(bank.count))
        value.first_timestep = UInt32(bank.timesteps.lowerBound)
        value.end_timestep = UInt32(bank.timesteps.upperBound)
        copy(bank.fingerprint, into: &value.base_fingerprint)
        copy(bank.imageFingerprint, into: &value.image_fingerprint)
        info.pointee = value
    }
}

@c @implementation public func mcm_bank_free(_ bank: OpaquePointer!) { release(bank) }

func file(_ path: UnsafePointer<CChar>?) throws -> SafetensorsFile {
    let path = try string(path, "path")
    return try SafetensorsFile(MappedFile(path: path), name: path)
}

/// 0 and 0: nil.
func timesteps(_ first: UInt32, _ end: UInt32) throws -> Range<Int>? {
    if first == 0 && end == 0 { return nil }
    guard first < end else {
        throw MCMError(
            .invalidArgument, "options: timesteps are \(first) to \(end), expected first_timestep < end_timestep")
    }
    return Int(first)..<Int(end)
}
