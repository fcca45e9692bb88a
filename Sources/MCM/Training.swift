public import CMCM
import Checkpoint
import Kernels
import Networks
import Pipeline
import Training

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
    let expected = try trainer.base.modelItself().sampleCount(batch: n, height: h, width: w)
    return try trainer.batch(
        samples: floats(value.samples, value.sample_count, expected, "batch: samples"), n: n, height: h, width: w,
        conditions: conditions)
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
        let result = try body(trainer)
        report?.pointee = encode(result, trainer)
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
