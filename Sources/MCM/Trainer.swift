public import CMCM
import Checkpoint
import Kernels
import Networks
import Pipeline
import Training

// Trainers: made, saved, read. What they learn from is in Training.swift.

/// NULL: the defaults.
private func trainerOptions(
    _ options: UnsafePointer<mcm_trainer_options>?
) throws -> (TrainerOptions, threads: UInt32) {
    let value = try options.map { try checked($0, "options") } ?? .initial
    var result = TrainerOptions()
    guard value.reserved == 0 else {
        throw MCMError(.invalidArgument, "options: reserved is \(value.reserved), expected 0")
    }
    guard value.total_steps <= 1 << 40 else {
        throw MCMError(.invalidArgument, "options: total_steps is \(value.total_steps), expected at most 2^40")
    }
    (result.warmupSteps, result.totalSteps) = (Int(value.warmup_steps), Int(value.total_steps))
    (result.seed, result.learningRate, result.weightDecay) = (value.seed, value.learning_rate, value.weight_decay)
    (result.beta1, result.beta2, result.epsilon) = (value.beta1, value.beta2, value.epsilon)
    (result.clipNorm, result.emaDecay, result.minSNRGamma) = (value.clip_norm, value.ema_decay, value.min_snr_gamma)
    switch value.weighting {
    case MCM_WEIGHTING_UNIFORM: result.weighting = .uniform
    case MCM_WEIGHTING_MIN_SNR: result.weighting = .minSNR
    case MCM_WEIGHTING_NOISE: result.weighting = .noise
    default:
        throw MCMError(.invalidArgument, "options: weighting is \(value.weighting), expected one of MCM_WEIGHTING_*")
    }
    switch value.timesteps {
    case MCM_TIMESTEPS_UNIFORM: result.timesteps = .uniform
    case MCM_TIMESTEPS_WEIGHTED: result.timesteps = .weighted
    default:
        throw MCMError(.invalidArgument, "options: timesteps is \(value.timesteps), expected one of MCM_TIMESTEPS_*")
    }
    guard value.noise_weight_low > 0, value.noise_weight_low <= value.noise_weight_high else {
        throw MCMError(
            .invalidArgument,
            "options: noise_weight_low is \(value.noise_weight_low), expected a positive number up to noise_weight_high, "
                + "\(value.noise_weight_high)")
    }
    result.noiseRange = value.noise_weight_low...value.noise_weight_high
    result.timestepRange = try timesteps(value.first_timestep, value.end_timestep)
    (result.rank, result.world) = (Int(value.rank), Int(value.world))
    if value.dropout_count > 0 {
        result.dropout = Array(try list(value.dropout, Int(value.dropout_count), limit: 64, "options: dropout"))
    }
    return (result, value.threads)
}

private func base(_ model: OpaquePointer?, _ bank: OpaquePointer?, threads: UInt32) throws -> Base {
    if model != nil && bank != nil {
        throw MCMError(.invalidArgument, "model and bank are given, expected one of them to be NULL")
    }
    guard threads <= 256 else {
        throw MCMError(.invalidArgument, "threads is \(threads), expected at most 256")
    }
    if let bank { return Base(try object(bank, Bank.self, "bank"), threads: Int(threads)) }
    return try Base(object(model, Model.self, "model"))
}

@c @implementation public func mcm_trainer_create(
    _ model: OpaquePointer!, _ bank: OpaquePointer!, _ config: UnsafePointer<CChar>!,
    _ options: UnsafePointer<mcm_trainer_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        let (options, threads) = try trainerOptions(options)
        let config = try JSONValue(parsing: string(config, "config"), name: "config")
        out.pointee = handle(try Trainer(base(model, bank, threads: threads), config: config, options))
    }
}

@c @implementation public func mcm_trainer_create_from(
    _ model: OpaquePointer!, _ bank: OpaquePointer!, _ path: UnsafePointer<CChar>!,
    _ options: UnsafePointer<mcm_trainer_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        let (options, threads) = try trainerOptions(options)
        out.pointee = handle(try Trainer(base(model, bank, threads: threads), from: file(path), options))
    }
}

@c @implementation public func mcm_trainer_resume(
    _ model: OpaquePointer!, _ bank: OpaquePointer!, _ path: UnsafePointer<CChar>!,
    _ options: UnsafePointer<mcm_resume_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        let options = try options.map { try checked($0, "options") } ?? .initial
        guard options.reserved == 0 else {
            throw MCMError(.invalidArgument, "options: reserved is \(options.reserved), expected 0")
        }
        guard options.rank == 0 || options.world > 0 else {
            throw MCMError(.invalidArgument, "options: rank is \(options.rank) of world 0, expected both or neither")
        }
        guard options.total_steps <= 1 << 40 else {
            throw MCMError(.invalidArgument, "options: total_steps is \(options.total_steps), expected at most 2^40")
        }
        let trainer = try Trainer(base(model, bank, threads: options.threads), resuming: file(path)) {
            if options.world > 0 { ($0.rank, $0.world) = (Int(options.rank), Int(options.world)) }
            if options.total_steps > 0 { $0.totalSteps = Int(options.total_steps) }
            if options.learning_rate != 0 { $0.learningRate = options.learning_rate }
        }
        out.pointee = handle(trainer)
    }
}

/// mayRun: whether it may be used inside its progress callback.
func trainer(_ handle: OpaquePointer?, mayRun: Bool = false) throws -> Trainer {
    let trainer = try object(handle, Trainer.self, "trainer")
    if !mayRun { try trainer.checkIdle() }
    return trainer
}

@c @implementation public func mcm_trainer_save(_ handle: OpaquePointer!, _ path: UnsafePointer<CChar>!) -> mcm_status {
    call { try trainer(handle, mayRun: true).save(to: string(path, "path")) }
}

@c @implementation public func mcm_trainer_get_buffers(
    _ handle: OpaquePointer!, _ parameters: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>!,
    _ gradients: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>!,
    _ ema: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>!, _ count: UnsafeMutablePointer<Int>!
) -> mcm_status {
    call {
        let trainer = try trainer(handle, mayRun: true)
        parameters?.pointee = trainer.parameters.values.data
        gradients?.pointee = trainer.parameters.gradients.data
        ema?.pointee = trainer.ema?.data
        count?.pointee = trainer.parameters.count
    }
}

@c @implementation public func mcm_trainer_get_parameter(
    _ handle: OpaquePointer!, _ index: UInt32, _ info: UnsafeMutablePointer<mcm_parameter_info>!
) -> mcm_status {
    call {
        let entries = try trainer(handle, mayRun: true).parameters.entries
        var value = try checked(info, "info")
        guard Int(index) < entries.count else {
            throw MCMError(.invalidArgument, "parameter \(index), expected 0 to \(entries.count - 1)")
        }
        let entry = entries[Int(index)]
        let shape = entry.shape.map { UInt64($0) } + [0, 0, 0, 0]
        value.rank = UInt32(min(entry.shape.count, 4))
        value.shape = (shape[0], shape[1], shape[2], shape[3])
        (value.offset, value.count) = (UInt64(entry.range.lowerBound), UInt64(entry.range.count))
        copy(entry.key, into: &value.name)
        info.pointee = value
    }
}

@c @implementation public func mcm_trainer_get_modality(
    _ handle: OpaquePointer!, _ index: UInt32, _ info: UnsafeMutablePointer<mcm_modality_info>!
) -> mcm_status {
    call { try encode(trainer(handle, mayRun: true).modalities, index, into: info) }
}

@c @implementation public func mcm_trainer_get_state(
    _ handle: OpaquePointer!, _ state: UnsafeMutablePointer<mcm_trainer_state>!
) -> mcm_status {
    call {
        let trainer = try trainer(handle, mayRun: true)
        var value = try checked(state, "state")
        value.modality_count = UInt32(trainer.modalities.count)
        value.tensor_count = UInt32(trainer.parameters.entries.count)
        value.total_steps = UInt64(trainer.options.totalSteps)
        (value.step, value.examples) = (UInt64(trainer.step), UInt64(trainer.examples))
        (value.pending, value.parameter_count) = (UInt64(trainer.pending), UInt64(trainer.parameters.count))
        state.pointee = value
    }
}

@c @implementation public func mcm_trainer_get_losses(
    _ handle: OpaquePointer!, _ kind: Int32, _ index: UInt32, _ losses: UnsafeMutablePointer<mcm_losses>!
) -> mcm_status {
    call {
        let trainer = try trainer(handle, mayRun: true)
        var value = try checked(losses, "losses")
        let table: [LossTable.Sums]
        switch kind {
        case MCM_LOSSES_TIMESTEP: table = trainer.losses.byTimestep
        case MCM_LOSSES_GIVEN: table = trainer.losses.given
        case MCM_LOSSES_WITHHELD: table = trainer.losses.withheld
        default: throw MCMError(.invalidArgument, "kind is \(kind), expected one of MCM_LOSSES_*")
        }
        guard Int(index) < table.count else {
            throw MCMError(.invalidArgument, "index is \(index), expected 0 to \(table.count - 1)")
        }
        let sums = table[Int(index)]
        value.count = UInt64(sums.count)
        value.loss = sums.loss / Double(max(sums.count, 1))
        value.base_loss = sums.baseLoss / Double(max(sums.count, 1))
        losses.pointee = value
    }
}

@c @implementation public func mcm_trainer_reset_losses(_ handle: OpaquePointer!) -> mcm_status {
    call { try trainer(handle, mayRun: true).resetLosses() }
}

@c @implementation public func mcm_trainer_get_modulator(
    _ trainer: OpaquePointer!, _ averaged: Int32, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let trainer = try MCM.trainer(trainer, mayRun: true)
        let out = try pointer(out, "out")
        out.pointee = handle(try trainer.modulator(averaged: averaged != 0))
    }
}

@c @implementation public func mcm_trainer_write_modulator(
    _ handle: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ averaged: Int32, _ dtype: Int32
) -> mcm_status {
    call {
        guard let type = [MCM_F32: DType.f32, MCM_F16: .f16][dtype] else {
            throw MCMError(.invalidArgument, "dtype is \(dtype), expected MCM_F32 or MCM_F16")
        }
        try trainer(handle, mayRun: true).writeModule(to: string(path, "path"), averaged: averaged != 0, dtype: type)
    }
}

@c @implementation public func mcm_trainer_free(_ trainer: OpaquePointer!) { release(trainer) }
