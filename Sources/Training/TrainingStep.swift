import Glibc
import Kernels
import Networks
import Pipeline
import Sampling

extension Trainer {
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

    // MARK: Gradients

    /// Adds the batch's gradients to those accumulated.
    public func accumulate(_ batch: Batch) throws -> Report { try accumulate(batch, nil) }

    func accumulate(_ batch: Batch, _ predictions: Predictions?) throws -> Report {
        savedGradients.data.update(from: parameters.gradients.data, count: parameters.count)
        do {
            let draws = (0..<batch.x0.n).map { draw(examples + options.rank * batch.x0.n + $0) }
            let tape = Tape()
            let forward = try forward(batch, draws, predictions, currentModulator(), tape: tape)
            var (report, seen, slope) = try losses(of: forward, batch)
            let start = seconds()
            try tape.backward(from: forward.residual, slope, in: workspace)
            report.moduleSeconds += seconds() - start
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

    /// The losses of a batch, without learning from it. Timesteps, spread over their range, and noise are the same in
    /// every call, and no condition is withheld.
    ///   averaged  whether with the moving average of the weights, if there is one
    public func evaluate(_ batch: Batch, averaged: Bool) throws -> Report {
        try evaluate(batch, nil, averaged: averaged)
    }

    func evaluate(_ batch: Batch, _ predictions: Predictions?, averaged: Bool) throws -> Report {
        let n = batch.x0.n, seed = mix(options.seed, 0x4556_414c)
        let draws = (0..<n).map { i in
            Draw(
                timestep: plan.timestep((Double(i) + 0.5) / Double(n)), isGiven: modalities.map { _ in true },
                seed: mix(seed, UInt64(i)))
        }
        return try losses(of: forward(batch, draws, predictions, modulator(averaged: averaged), tape: nil), batch).0
    }

    /// What one example meets.
    private struct Draw {
        var timestep: Int
        let isGiven: [Bool]  // per modality
        var seed: UInt64  // of the noise
    }

    private func draw(_ example: Int) -> Draw {
        var generator = Generator(seed: mix(options.seed, UInt64(example)))
        let timestep = plan.timestep(generator.uniform64())
        let isGiven = modalities.indices.map { m in
            generator.uniform() >= options.dropout[min(m, options.dropout.count - 1)]
        }
        return Draw(timestep: timestep, isGiven: isGiven, seed: mix(options.seed, ~UInt64(example)))
    }

    /// What the model and the module make of noisy examples, each (n, h, w, channels): e' = e + residual.
    private struct Forward {
        let draws: [Draw]
        let noise, e, residual: Tensor
        let baseSeconds, moduleSeconds: Double
    }

    /// The model's prediction: (n, h, w, channels).
    private func predict(_ x: Tensor, _ timesteps: [Float], _ batch: Batch) throws -> Tensor {
        let model = try base.modelItself()
        var given = Model.PredictionInputs()
        given.prompt = batch.prompt
        let inputs = try model.inputs(given, batch: x.n, height: x.h, width: x.w, in: workspace)
        return try model.unet(x, timesteps: timesteps, inputs, in: workspace)
    }

    private func forward(
        _ batch: Batch, _ drawn: [Draw], _ predictions: Predictions?, _ modulator: Modulator, tape: Tape?
    ) throws -> Forward {
        let x0 = batch.x0, (n, h, w) = (x0.n, x0.h, x0.w)
        try base.model?.unet.checkSize(height: h, width: w)
        try modulator.net.checkSize(height: h, width: w)
        var draws = drawn
        if let predictions {
            for i in 0..<n { (draws[i].timestep, draws[i].seed) = (predictions.timesteps[i], predictions.seeds[i]) }
        }
        let noise = try Tensor(n, h, w, x0.c, in: workspace), x = try Tensor(n, h, w, x0.c, in: workspace)
        let order = try Tensor(1, x0.c, h, w, in: workspace)
        for i in 0..<n {
            var generator = Generator(seed: draws[i].seed)
            generator.normal(into: order.data, count: order.count)
            fromNCHW(order.data, into: noise.image(i))
            base.schedule.addNoise(
                x0.image(i).data, noise.image(i).data, timestep: draws[i].timestep, count: x0.stride,
                into: x.image(i).data)
        }

        let timesteps = draws.map { Float($0.timestep) }, start = seconds()
        let e = try predictions?.e ?? predict(x, timesteps, batch)
        let predicted = seconds()
        let conditions = try modulator.conditions(batch.planes, n: n, h: h, w: w, in: workspace) {
            draws[$0].isGiven[$1]
        }
        workspace.tape = tape
        let residual = try modulator.residual(x, e, timesteps: timesteps, conditions: conditions, in: workspace)
        workspace.tape = nil
        return Forward(
            draws: draws, noise: noise, e: e, residual: residual, baseSeconds: predicted - start,
            moduleSeconds: seconds() - predicted)
    }

    /// The squared error of e', for each example, and `slope`, the gradient of their weighted sum by the residual.
    private func losses(
        of forward: Forward, _ batch: Batch
    ) throws -> (Report, [LossTable.Example], slope: Tensor) {
        let x0 = batch.x0, n = x0.n, (noise, e, residual) = (forward.noise, forward.e, forward.residual)
        let slope = try Tensor(n, x0.h, x0.w, x0.c, in: workspace)
        var report = Report(), seen: [LossTable.Example] = []
        for (i, draw) in forward.draws.enumerated() {
            let prediction = Prediction(base.predictionType, alpha: base.schedule.alphasCumprod[draw.timestep])
            let weight = plan.weight(draw.timestep)
            let scale = 2 * weight / Float(x0.stride)
            var loss = 0.0, baseLoss = 0.0
            for j in (i * x0.stride)..<((i + 1) * x0.stride) {
                let target = prediction.target(x0: x0.data[j], noise: noise.data[j])
                let difference = e.data[j] + residual.data[j] - target
                slope.data[j] = scale * difference
                loss += Double(difference) * Double(difference)
                baseLoss += Double(e.data[j] - target) * Double(e.data[j] - target)
            }
            (loss, baseLoss) = (loss / Double(x0.stride), baseLoss / Double(x0.stride))
            guard (loss * Double(weight)).isFinite else {
                throw MCMError(
                    .state,
                    "the loss of an example is \(loss.isNaN ? "nan" : "\(loss)") in step \(step + 1), at timestep \(draw.timestep)"
                )
            }
            seen.append(
                .init(
                    timestep: draw.timestep, isGiven: zip(draw.isGiven, batch.planes).map { $0 && $1 != nil },
                    loss: loss, baseLoss: baseLoss))
            report.weightedLoss += weight * Float(loss) / Float(n)
            report.loss += Float(loss) / Float(n)
            report.baseLoss += Float(baseLoss) / Float(n)
        }
        (report.baseSeconds, report.moduleSeconds) = (forward.baseSeconds, forward.moduleSeconds)
        return (report, seen, slope)
    }

    // MARK: Steps

    /// Takes a step along the mean of the accumulated gradients.
    public func apply(_ report: inout Report) throws {
        guard pending > 0 else { throw MCMError(.state, "no gradient is accumulated") }
        guard options.totalSteps == 0 || step < options.totalSteps else {
            throw MCMError(
                .state,
                "all \(options.totalSteps) steps are taken: the learning rate is 0, resume with more total_steps")
        }
        let start = seconds(), count = parameters.count
        let mean = 1 / Float(pending)
        let norm = squaredNorm(parameters.gradients.data, count: count).squareRoot() * Double(mean)
        let clip = options.clipNorm > 0 && norm > Double(options.clipNorm) ? options.clipNorm / Float(norm) : 1
        // The second moments are its squares.
        guard Float(norm).isFinite, Float(norm) * clip < Float.greatestFiniteMagnitude.squareRoot() else {
            throw MCMError(
                .state,
                "the gradient or its square is not finite in step \(step + 1), its norm is \(norm): a smaller learning rate "
                    + "may help, or clear the gradient")
        }
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
    public func step(_ batch: Batch) throws -> Report { try step { try accumulate(batch) } }

    /// The same with whatever `accumulate` accumulates.
    func step(_ accumulate: () throws -> Report) throws -> Report {
        try checkMayStep()
        let (before, table) = (examples, losses)
        do {
            var report = try accumulate()
            try apply(&report)
            return report
        } catch {
            clear()
            (examples, losses) = (before, table)
            throw error
        }
    }

    /// Throws unless a step may begin with the gradients of this process alone.
    func checkMayStep() throws {
        guard pending == 0 else { throw MCMError(.state, "gradients of \(pending) examples wait to be applied") }
        guard options.world == 1 else {
            throw MCMError(
                .state,
                "the trainer is one of \(options.world) that share a step: accumulate, average the gradients, then apply"
            )
        }
    }
}

private func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
