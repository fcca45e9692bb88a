import Checkpoint
import Kernels
import Pipeline

/// Where a trainer draws examples from.
public struct Source {
    let dataset: Dataset
    let bank: Bank?
    fileprivate let shuffle: Shuffle

    /// bank: of predictions for the data set's images; nil to run the model.
    public init(_ dataset: Dataset, bank: Bank?, for trainer: Trainer) throws {
        try dataset.check(trainer.base)
        let (known, found) = (trainer.modalities.map(\.name), dataset.modalities.map(\.name))
        guard known.contains(where: found.contains) else {
            let names = { (list: [String]) in list.map { "\"\($0)\"" }.joined(separator: ", ") }
            throw MCMError(
                .incompatible,
                "\(dataset.name): has conditions \(found.isEmpty ? "of no modality" : names(found)), expected some of the "
                    + "module's, \(names(known))")
        }
        if let bank {
            if bank.fingerprint != trainer.base.fingerprint {
                throw MCMError(
                    .incompatible,
                    "\(bank.name): was recorded from the base \(bank.fingerprint), expected \(trainer.base.fingerprint)"
                )
            }
            if bank.imageFingerprint != dataset.fingerprint {
                throw MCMError(
                    .incompatible,
                    "\(bank.name): was recorded for other images than those of \(dataset.name)")
            }
            let shape = bank.shape
            if shape != (dataset.channels, dataset.height, dataset.width) {
                throw MCMError(
                    .incompatible,
                    "\(bank.name): predictions are \(shape.channels) x \(shape.height) x \(shape.width), expected "
                        + "\(dataset.channels) x \(dataset.height) x \(dataset.width)")
            }
            if bank.header.alphasCumprod != trainer.base.schedule.alphasCumprod
                || bank.header.predictionType != trainer.base.predictionType
            {
                throw MCMError(
                    .incompatible,
                    "\(bank.name): was recorded with another noise schedule or prediction type than the trainer's")
            }
            if trainer.options.timesteps != .uniform {
                throw MCMError(.invalidArgument, "timesteps of a bank are drawn evenly, expected that option")
            }
            let range = trainer.plan.range
            if bank.timesteps.lowerBound < range.lowerBound || bank.timesteps.upperBound > range.upperBound {
                throw MCMError(
                    .incompatible,
                    "\(bank.name): has timesteps \(bank.timesteps.lowerBound) to \(bank.timesteps.upperBound - 1), expected "
                        + "those of the trainer's options, \(range.lowerBound) to \(range.upperBound - 1)")
            }
        } else {
            _ = try trainer.base.modelItself()
        }
        self.dataset = dataset
        self.bank = bank
        shuffle = Shuffle(seed: trainer.options.seed, count: bank?.count ?? dataset.count)
    }
}

extension Trainer {
    /// Accumulates the gradients of the next n examples of a source. Which they are follows from the seed and from how
    /// many were drawn before.
    public func accumulate(_ n: Int, from source: Source) throws -> Report {
        let drawn = try draw(n, from: source)
        return try accumulate(drawn.batch, drawn.predictions)
    }

    /// The same, then a step.
    public func step(_ n: Int, from source: Source) throws -> Report {
        try step { try accumulate(n, from: source) }
    }

    /// The losses of a source's first n examples; see `evaluate`.
    public func evaluate(_ n: Int, of source: Source, averaged: Bool) throws -> Report {
        let count = source.bank?.count ?? source.dataset.count
        guard (1...min(count, 65536)).contains(n) else {
            throw MCMError(.invalidArgument, "\(n) examples, expected 1 to \(min(count, 65536))")
        }
        let examples = try examples(Array(0..<n), of: source)
        return try evaluate(examples.batch, examples.predictions, averaged: averaged)
    }

    private func draw(_ n: Int, from source: Source) throws -> (batch: Batch, predictions: Predictions?) {
        guard (1...65536).contains(n) else {
            throw MCMError(.invalidArgument, "a batch of \(n) examples, expected 1 to 65536")
        }
        return try examples(try (0..<n).map { try source.shuffle(examples + options.rank * n + $0) }, of: source)
    }

    private func examples(
        _ numbers: [Int], of source: Source
    ) throws -> (batch: Batch, predictions: Predictions?) {
        guard let bank = source.bank else { return (try source.dataset.batch(numbers, for: self), nil) }
        let shape = bank.shape
        let e = try Tensor(numbers.count, shape.height, shape.width, shape.channels, in: workspace)
        let records = try numbers.enumerated().map { try bank.record($1, into: e.image($0)) }
        guard let last = records.map(\.image).max(), last < source.dataset.count else {
            throw MCMError(.format, "\(bank.name): names an image that \(source.dataset.name) does not have")
        }
        let batch = try source.dataset.batch(records.map(\.image), for: self)
        return (batch, Predictions(timesteps: records.map(\.timestep), seeds: records.map(\.seed), e: e))
    }
}
