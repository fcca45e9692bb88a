import Checkpoint
import Glibc
import Kernels
import Networks
import Pipeline
import Sampling

/// Learns a conditioning module for a frozen model (Ham et al. 2023, section 3): x_t from an example and noise, the
/// model's prediction e of it, the module's e' from both and the conditions, and the squared error of e' as loss. No
/// gradient goes through the model. One thread at a time.
///
/// What an example meets (timestep, noise, which conditions are withheld) follows from the seed and the example's number
/// alone, so that a run repeats bit for bit, with any number of threads, and goes on exactly where it stopped.
public final class Trainer {
    public let base: Base
    public let options: TrainerOptions
    /// Of the module, as its file has it, with the base that it is trained on.
    let config: JSONValue
    public let parameters: Parameters
    public let modalities: [Modality]
    let plan: TimestepPlan
    let firstMoments, secondMoments: FloatBuffer
    let ema: FloatBuffer?
    /// What was accumulated before the call that is running, to go back to.
    private let savedGradients: FloatBuffer
    let workspace: Workspace

    /// Steps taken, and examples seen by all processes together.
    public internal(set) var step = 0
    public internal(set) var examples = 0
    /// Examples whose gradients are accumulated.
    public internal(set) var pending = 0
    public internal(set) var losses: LossTable
    /// While `train` runs.
    var isRunning = false
    private var source: Source?

    /// A module of random weights for a config as a module file has it; see docs/format.md.
    public convenience init(_ base: Base, config: JSONValue, _ options: TrainerOptions) throws {
        try self.init(base, config: config, InitialWeights(seed: options.seed), options)
    }

    /// Goes on from a module file's weights.
    public convenience init(_ base: Base, from file: SafetensorsFile, _ options: TrainerOptions) throws {
        guard let text = file.metadata["config"], file.metadata["format"] == "mcm", file.metadata["version"] == "1"
        else {
            throw MCMError(
                .format,
                "\(file.name): is no module file, expected the metadata \"format\" = \"mcm\" and \"version\" = \"1\"")
        }
        let config = try JSONValue(parsing: text, name: "\(file.name): config")
        try self.init(base, config: config, CheckpointSource(file), options)
    }

    init(_ base: Base, config: JSONValue, _ source: any TensorSource, _ options: TrainerOptions) throws {
        self.base = base
        self.options = options
        guard case .object(var members) = config else {
            throw MCMError(.format, "config: is no object, expected the config of a module")
        }
        members["base"] = base.json
        let config = JSONValue.object(members)
        self.config = config
        var modulator: Modulator?
        parameters = try Parameters(from: source) { modulator = try Self.modulator(config, $0) }
        guard let modulator else { throw MCMError(.state, "the module has no network") }
        try base.check(modulator)
        modalities = modulator.modalities
        try options.check(modalities: modalities.count, numTrainTimesteps: base.schedule.numTrainTimesteps)
        plan = TimestepPlan(options, base.schedule, base.predictionType)
        firstMoments = try FloatBuffer(count: parameters.count)
        secondMoments = try FloatBuffer(count: parameters.count)
        savedGradients = try FloatBuffer(count: parameters.count)
        ema = options.emaDecay > 0 ? try FloatBuffer(count: parameters.count) : nil
        ema?.data.update(from: parameters.values.data, count: parameters.count)
        workspace = Workspace(threads: base.threads)
        losses = LossTable(modalities: modalities.count, timesteps: base.schedule.numTrainTimesteps)
    }

    private static func modulator(_ config: JSONValue, _ source: any TensorSource) throws -> Modulator {
        try Modulator(JSONObject(config, name: "config"), source)
    }

    /// The module as it is now, for sampling.
    ///   averaged  whether with the moving average of its weights, if there is one
    public func modulator(averaged: Bool) throws -> Modulator {
        try Self.modulator(config, parameters.source(averaged ? ema ?? parameters.values : parameters.values))
    }

    private func currentModulator() throws -> Modulator {
        do {
            return try Self.modulator(config, parameters)
        } catch let error as MCMError where error.kind == .format {  // a parameter that is not finite
            throw MCMError(.state, "\(error.message), in step \(step + 1)")
        }
    }

    // MARK: A step

    /// Predictions of the model that need not be made again: see Bank.
    struct Predictions {
        let timesteps: [Int]
        let seeds: [UInt64]  // of the noise
        let e: Tensor  // (n, h, w, channels)
    }

    /// What was learned from a batch; losses are means over its examples.
    public struct Report: Sendable {
        /// Of the module's prediction, weighted by timestep, and plain; and of the model's own prediction, plain.
        public var weightedLoss: Float = 0
        public var loss: Float = 0
        public var baseLoss: Float = 0
        public var gradientNorm: Float = 0
        public var learningRate: Float = 0
        /// Spent on the model's prediction, on the module's way forward and back, and on the optimiser.
        public var baseSeconds = 0.0
        public var moduleSeconds = 0.0
        public var optimizerSeconds = 0.0

        public init() {}
    }

    /// Adds the batch's gradients to those accumulated.
    public func accumulate(_ batch: Batch) throws -> Report { try accumulate(batch, nil) }

    func accumulate(_ batch: Batch, _ predictions: Predictions?) throws -> Report {
        savedGradients.data.update(from: parameters.gradients.data, count: parameters.count)
        do {
            let (report, seen) = try addGradients(batch, predictions)
            examples += batch.x0.n * options.world
            pending += batch.x0.n
            losses.add(seen)
            return report
        } catch {
            workspace.tape = nil
            parameters.gradients.data.update(from: savedGradients.data, count: parameters.count)
            throw error
        }
    }

    /// Forgets what was accumulated.
    public func clear() {
        parameters.gradients.data.update(repeating: 0, count: parameters.count)
        pending = 0
    }

    /// What one example meets.
    private struct Draw {
        let timestep: Int
        let isGiven: [Bool]  // per modality
        var noise: Generator
    }

    private func draw(_ example: Int) -> Draw {
        var generator = Generator(seed: mix(options.seed, UInt64(example)))
        let timestep = plan.timestep(generator.uniform64())
        let isGiven = modalities.indices.map { m in
            generator.uniform() >= options.dropout[min(m, options.dropout.count - 1)]
        }
        return Draw(timestep: timestep, isGiven: isGiven, noise: Generator(seed: mix(options.seed, ~UInt64(example))))
    }

    private func addGradients(
        _ batch: Batch, _ predictions: Predictions?
    ) throws -> (Report, [LossTable.Example]) {
        let x0 = batch.x0, (n, h, w) = (x0.n, x0.h, x0.w)
        try base.model?.unet.checkSize(height: h, width: w)
        // A module whose layers know where their gradients go; made anew, since parameters have changed.
        let modulator = try currentModulator()
        try modulator.net.checkSize(height: h, width: w)

        var draws = (0..<n).map { draw(examples + options.rank * n + $0) }
        let timesteps = predictions?.timesteps ?? draws.map(\.timestep)
        let noise = try Tensor(n, h, w, x0.c, in: workspace), x = try Tensor(n, h, w, x0.c, in: workspace)
        let order = try Tensor(1, x0.c, h, w, in: workspace)
        for i in 0..<n {
            if let predictions { draws[i].noise = Generator(seed: predictions.seeds[i]) }
            draws[i].noise.normal(into: order.data, count: order.count)
            fromNCHW(order.data, into: noise.image(i))
            base.schedule.addNoise(
                x0.image(i).data, noise.image(i).data, timestep: timesteps[i], count: x0.stride, into: x.image(i).data)
        }

        var report = Report()
        let numbers = timesteps.map { Float($0) }
        let start = seconds()
        guard let e = try predictions?.e ?? base.model?.unet(x, timesteps: numbers, in: workspace) else {
            throw MCMError(.state, "the trainer has no model, expected predictions from a bank")
        }
        let predicted = seconds()
        let conditions = try modulator.conditions(batch.planes, n: n, h: h, w: w, in: workspace) {
            draws[$0].isGiven[$1]
        }
        let tape = Tape()
        workspace.tape = tape
        let residual = try modulator.residual(x, e, timesteps: numbers, conditions: conditions, in: workspace)
        workspace.tape = nil

        // The loss of each example and its gradient by the residual r, e' = e + r.
        let slope = try Tensor(n, h, w, x0.c, in: workspace)
        var seen: [LossTable.Example] = []
        for i in 0..<n {
            let target = PredictionTarget(
                base.predictionType, alpha: base.schedule.alphasCumprod[timesteps[i]])
            let weight = plan.weight(timesteps[i])
            let scale = 2 * weight / Float(x0.stride)
            var loss = 0.0, baseLoss = 0.0
            for j in (i * x0.stride)..<((i + 1) * x0.stride) {
                let goal = target(x0.data[j], noise.data[j])
                let difference = e.data[j] + residual.data[j] - goal
                slope.data[j] = scale * difference
                loss += Double(difference) * Double(difference)
                baseLoss += Double(e.data[j] - goal) * Double(e.data[j] - goal)
            }
            loss /= Double(x0.stride)
            guard (loss * Double(weight)).isFinite else {
                throw MCMError(
                    .state, "the loss of an example is \(loss) in step \(step + 1), at timestep \(timesteps[i])")
            }
            seen.append(
                .init(
                    timestep: timesteps[i], isGiven: zip(draws[i].isGiven, batch.planes).map { $0 && $1 != nil },
                    loss: loss, baseLoss: baseLoss / Double(x0.stride)))
            report.weightedLoss += weight * Float(loss) / Float(n)
            report.loss += Float(loss) / Float(n)
            report.baseLoss += Float(baseLoss / Double(x0.stride)) / Float(n)
        }
        try tape.backward(from: residual, slope, in: workspace)
        (report.baseSeconds, report.moduleSeconds) = (predicted - start, seconds() - predicted)
        return (report, seen)
    }

    /// Takes a step along the mean of the accumulated gradients.
    public func apply(_ report: inout Report) throws {
        guard pending > 0 else { throw MCMError(.state, "no gradient is accumulated") }
        let start = seconds(), count = parameters.count
        let mean = 1 / Float(pending)
        let norm = squaredNorm(parameters.gradients.data, count: count).squareRoot() * Double(mean)
        guard norm.isFinite else {
            throw MCMError(
                .state,
                "the gradient is not finite in step \(step + 1): a smaller learning rate may help, or clear the gradient"
            )
        }
        let clip = options.clipNorm > 0 && norm > Double(options.clipNorm) ? options.clipNorm / Float(norm) : 1
        let rate = options.learningRate(step)
        let decay = min(options.emaDecay, Float(step + 2) / Float(step + 11))
        for entry in parameters.entries {
            let rule = AdamW(
                learningRate: rate, beta1: options.beta1, beta2: options.beta2, epsilon: options.epsilon,
                weightDecay: entry.shape.count > 1 ? options.weightDecay : 0)
            let first = entry.range.lowerBound
            parallelBlocks(entry.range.count, in: workspace) { block in
                let begin = first + block.lowerBound
                rule.apply(
                    parameters.values.data + begin, parameters.gradients.data + begin, firstMoments.data + begin,
                    secondMoments.data + begin, count: block.count, step: step + 1, scale: mean * clip)
                if let ema {
                    average(parameters.values.data + begin, into: ema.data + begin, count: block.count, decay: decay)
                }
            }
        }
        clear()
        step += 1
        (report.gradientNorm, report.learningRate) = (Float(norm), rate)
        report.optimizerSeconds = seconds() - start
    }

    /// Accumulates and applies; if either fails, neither has happened.
    public func step(_ batch: Batch) throws -> Report { try step(batch, nil) }

    func step(_ batch: Batch, _ predictions: Predictions?) throws -> Report {
        guard pending == 0 else { throw MCMError(.state, "gradients of \(pending) examples wait to be applied") }
        let (before, table) = (examples, losses)
        var report = try accumulate(batch, predictions)
        do {
            try apply(&report)
        } catch {
            clear()
            (examples, losses) = (before, table)
            throw error
        }
        return report
    }

    /// Throws while `train` runs: its callback may look, but not train.
    public func checkIdle() throws {
        if isRunning { throw MCMError(.state, "the trainer is running: not allowed inside its progress callback") }
    }

    /// A source of examples, the same as in the last call if it has not changed: shuffling takes time.
    public func withSource<R>(_ dataset: Dataset, _ bank: Bank?, _ body: (inout Source) throws -> R) throws -> R {
        var source =
            try self.source.flatMap { $0.dataset === dataset && $0.bank === bank ? $0 : nil }
            ?? Source(dataset, bank: bank, for: self)
        self.source = nil  // it is not copied when it changes
        defer { self.source = source }
        return try body(&source)
    }

    /// The floats of a batch of samples. Throws `.size` for a size that the model does not take, or no machine holds.
    public func sampleCount(batch: Int, height: Int, width: Int) throws -> Int {
        try base.model?.unet.checkSize(height: height, width: width)
        guard let count = checkedProduct([batch, height, width, base.channels]), count <= 1 << 31 else {
            throw MCMError(.size, "\(batch) samples of \(width) x \(height), expected at most 2^31 floats in all")
        }
        return count
    }

    public func resetLosses() { losses = LossTable(modalities: modalities.count, timesteps: losses.timesteps) }
}

/// What a prediction should have been: noise, x_0 or v = sqrt(abar) noise - sqrt(1 - abar) x_0.
private struct PredictionTarget {
    private let fromX0, fromNoise: Float

    init(_ type: SchedulerConfig.PredictionType, alpha: Float) {
        switch type {
        case .epsilon: (fromX0, fromNoise) = (0, 1)
        case .sample: (fromX0, fromNoise) = (1, 0)
        case .vPrediction: (fromX0, fromNoise) = (-(1 - alpha).squareRoot(), alpha.squareRoot())
        }
    }

    @inline(__always) func callAsFunction(_ x0: Float, _ noise: Float) -> Float { fromX0 * x0 + fromNoise * noise }
}

/// A number that looks random, from a seed and a counter (SplitMix64; Steele, Lea and Flood 2014).
func mix(_ seed: UInt64, _ counter: UInt64) -> UInt64 {
    var z = seed &* 0xd1342543de82ef95 &+ (counter &+ 1) &* 0x9e37_79b9_7f4a_7c15
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
}

func cosine(_ x: Double) -> Double { cos(x) }

private func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
