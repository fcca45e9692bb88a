import Checkpoint
import Kernels

extension Trainer {
    public struct LoopOptions: Sendable {
        public var batch = 64
        /// Batches per step.
        public var accumulate = 1
        /// 0: the options' totalSteps.
        public var untilStep = 0
        public var savePath: String?
        /// Steps between saves; 0: only at the end.
        public var saveEvery = 1000

        public init() {}
    }

    /// Trains on a source until a number of steps is taken.
    ///   progress  is told of each step and returns whether to go on; if not, `.cancelled` is thrown
    public func train(_ source: Source, _ loop: LoopOptions, progress: (Report) -> Bool) throws {
        let end = loop.untilStep > 0 ? loop.untilStep : options.totalSteps
        guard end > 0 else {
            throw MCMError(.invalidArgument, "until_step is 0 and so is total_steps, expected one of them to be set")
        }
        guard (1...65536).contains(loop.accumulate) else {
            throw MCMError(.invalidArgument, "\(loop.accumulate) batches per step, expected 1 to 65536")
        }
        if options.totalSteps > 0 && end > options.totalSteps {
            throw MCMError(
                .invalidArgument,
                "until_step is \(end), expected at most total_steps, \(options.totalSteps), when the learning rate is 0"
            )
        }
        try checkMayStep()
        try checkIdle()
        if let path = loop.savePath { try checkWritable(path) }
        isRunning = true
        defer { isRunning = false }
        if step >= end, let path = loop.savePath { try save(to: path) }
        while step < end {
            let report = try step(loop, source)
            let goesOn = progress(report)
            if let path = loop.savePath, !goesOn || step == end || loop.saveEvery > 0 && step % loop.saveEvery == 0 {
                try save(to: path)
            }
            if !goesOn { throw MCMError(.cancelled, "cancelled after step \(step) of \(end)") }
        }
    }

    /// One step of several batches, or none.
    private func step(_ loop: LoopOptions, _ source: Source) throws -> Report {
        try step {
            var sum = Report()
            for _ in 0..<loop.accumulate {
                sum.add(try accumulate(loop.batch, from: source), 1 / Float(loop.accumulate))
            }
            return sum
        }
    }
}

extension Trainer.Report {
    fileprivate mutating func add(_ other: Self, _ share: Float) {
        loss += share * other.loss
        weightedLoss += share * other.weightedLoss
        baseLoss += share * other.baseLoss
        baseSeconds += other.baseSeconds
        moduleSeconds += other.moduleSeconds
    }
}
