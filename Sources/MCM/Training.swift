public import CMCM
import Checkpoint
import Kernels
import Networks
import Pipeline
import Training

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
private func trainer(_ handle: OpaquePointer?, mayRun: Bool = false) throws -> Trainer {
    let trainer = try object(handle, Trainer.self, "trainer")
    if !mayRun { try trainer.checkIdle() }
    return trainer
}

@c @implementation public func mcm_trainer_save(_ handle: OpaquePointer!, _ path: UnsafePointer<CChar>!) -> mcm_status {
    call { try trainer(handle, mayRun: true).save(to: string(path, "path")) }
}

private func batch(_ batch: UnsafePointer<mcm_batch>?, for trainer: Trainer) throws -> Batch {
    let value = try checked(batch, "batch")
    let n = Int(value.count)
    guard value.reserved == 0 else {
        throw MCMError(.invalidArgument, "batch: reserved is \(value.reserved), expected 0")
    }
    guard (1...65536).contains(n) else {
        throw MCMError(.size, "batch: count is \(n), expected 1 to 65536")
    }
    let conditions = try structs(
        value.conditions, Int(value.condition_count), limit: trainer.modalities.count, "batch: conditions"
    ).map { try condition($0, batch: n) }
    if value.images != nil {
        guard value.samples == nil else {
            throw MCMError(.invalidArgument, "batch: images and samples are given, expected one of them to be NULL")
        }
        let images = try structs(value.images, n, limit: n, "batch: images")
        return try trainer.batch(
            images: images.enumerated().map { try imageView($1, "batch: image \($0)") }, conditions: conditions)
    }
    let (h, w) = (Int(value.height), Int(value.width))
    guard (1...65536).contains(h), (1...65536).contains(w) else {
        throw MCMError(.size, "batch: samples are \(w) x \(h), expected sides of 1 to 65536")
    }
    let expected = try trainer.sampleCount(batch: n, height: h, width: w)
    return try trainer.batch(
        samples: floats(value.samples, value.sample_count, expected, "batch: samples"), n: n, height: h, width: w,
        conditions: conditions)
}

private func write(
    _ report: Trainer.Report, _ trainer: Trainer, to target: UnsafeMutablePointer<mcm_train_report>?
) throws {
    guard let target else { return }
    target.pointee = encode(report, trainer)
}

private func encode(_ report: Trainer.Report, _ trainer: Trainer) -> mcm_train_report {
    var value = mcm_train_report.initial
    (value.loss, value.weighted_loss, value.base_loss) = (report.loss, report.weightedLoss, report.baseLoss)
    (value.gradient_norm, value.learning_rate) = (report.gradientNorm, report.learningRate)
    (value.step, value.examples) = (UInt64(trainer.step), UInt64(trainer.examples))
    (value.base_seconds, value.module_seconds) = (report.baseSeconds, report.moduleSeconds)
    value.optimizer_seconds = report.optimizerSeconds
    return value
}

/// Runs a call that reports; the report's size is checked before anything happens.
private func reporting(
    _ handle: OpaquePointer?, _ report: UnsafeMutablePointer<mcm_train_report>?, mayRun: Bool = false,
    _ body: (Trainer) throws -> Trainer.Report
) -> mcm_status {
    call {
        let trainer = try trainer(handle, mayRun: mayRun)
        if let report { _ = try checked(report, "report") }
        try write(body(trainer), trainer, to: report)
    }
}

@c @implementation public func mcm_trainer_step(
    _ handle: OpaquePointer!, _ value: UnsafePointer<mcm_batch>!, _ report: UnsafeMutablePointer<mcm_train_report>!
) -> mcm_status {
    reporting(handle, report) { try $0.step(batch(value, for: $0)) }
}

@c @implementation public func mcm_trainer_accumulate(
    _ handle: OpaquePointer!, _ value: UnsafePointer<mcm_batch>!, _ report: UnsafeMutablePointer<mcm_train_report>!
) -> mcm_status {
    reporting(handle, report) { try $0.accumulate(batch(value, for: $0)) }
}

@c @implementation public func mcm_trainer_evaluate(
    _ handle: OpaquePointer!, _ value: UnsafePointer<mcm_batch>!, _ averaged: Int32,
    _ report: UnsafeMutablePointer<mcm_train_report>!
) -> mcm_status {
    reporting(handle, report, mayRun: true) {
        try $0.evaluate(batch(value, for: $0), averaged: averaged != 0)
    }
}

@c @implementation public func mcm_trainer_apply(
    _ handle: OpaquePointer!, _ report: UnsafeMutablePointer<mcm_train_report>!
) -> mcm_status {
    reporting(handle, report) { trainer in
        var report = Trainer.Report()
        try trainer.apply(&report)
        return report
    }
}

@c @implementation public func mcm_trainer_clear(_ handle: OpaquePointer!) -> mcm_status {
    call { try trainer(handle).clear() }
}

private func examples(_ dataset: OpaquePointer?, _ bank: OpaquePointer?) throws -> (Dataset, Bank?) {
    try (object(dataset, Dataset.self, "dataset"), bank.map { try object($0, Bank.self, "bank") })
}

private func source(_ trainer: Trainer, _ dataset: OpaquePointer?, _ bank: OpaquePointer?) throws -> Source {
    let (dataset, bank) = try examples(dataset, bank)
    return try trainer.source(dataset, bank)
}

@c @implementation public func mcm_trainer_step_dataset(
    _ handle: OpaquePointer!, _ dataset: OpaquePointer!, _ bank: OpaquePointer!, _ count: UInt32,
    _ report: UnsafeMutablePointer<mcm_train_report>!
) -> mcm_status {
    reporting(handle, report) { try $0.step(Int(count), from: source($0, dataset, bank)) }
}

@c @implementation public func mcm_trainer_accumulate_dataset(
    _ handle: OpaquePointer!, _ dataset: OpaquePointer!, _ bank: OpaquePointer!, _ count: UInt32,
    _ report: UnsafeMutablePointer<mcm_train_report>!
) -> mcm_status {
    reporting(handle, report) { try $0.accumulate(Int(count), from: source($0, dataset, bank)) }
}

@c @implementation public func mcm_trainer_evaluate_dataset(
    _ handle: OpaquePointer!, _ dataset: OpaquePointer!, _ bank: OpaquePointer!, _ count: UInt32, _ averaged: Int32,
    _ report: UnsafeMutablePointer<mcm_train_report>!
) -> mcm_status {
    reporting(handle, report, mayRun: true) { trainer in
        let (dataset, bank) = try examples(dataset, bank)
        return try trainer.evaluate(
            Int(count), of: Source(dataset, bank: bank, for: trainer), averaged: averaged != 0)
    }
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
        let trainer = try object(trainer, Trainer.self, "trainer")
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

@c @implementation public func mcm_trainer_train(
    _ handle: OpaquePointer!, _ dataset: OpaquePointer!, _ bank: OpaquePointer!,
    _ options: UnsafePointer<mcm_train_options>!, _ callback: mcm_train_progress!, _ user: UnsafeMutableRawPointer!
) -> mcm_status {
    call {
        let trainer = try trainer(handle)
        let value = try options.map { try checked($0, "options") } ?? .initial
        var loop = Trainer.LoopOptions()
        guard value.until_step <= 1 << 40 else {
            throw MCMError(.invalidArgument, "options: until_step is \(value.until_step), expected at most 2^40")
        }
        (loop.batch, loop.accumulate) = (Int(value.batch), Int(value.accumulate))
        (loop.untilStep, loop.saveEvery) = (Int(value.until_step), Int(value.save_every))
        if let path = value.save_path { loop.savePath = try string(path, "options: save_path") }
        try trainer.train(source(trainer, dataset, bank), loop) { report in
            var value = encode(report, trainer)
            return callback?(user, handle, &value) ?? 0 == 0
        }
    }
}

@c @implementation public func mcm_trainer_free(_ trainer: OpaquePointer!) { release(trainer) }
