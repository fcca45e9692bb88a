import Kernels

/// Pseudo numerical methods of Liu et al. 2022, as diffusers' PNDMScheduler: a linear multistep method on predictions
/// of the noise, begun by three Runge-Kutta steps of four evaluations, or, with skip_prk_steps, at lower orders.
///
/// With skip_prk_steps the second evaluation repeats the first step, for which the list has the second timestep twice.
/// diffusers repeats the first step of a run begun later too, though no timestep is there twice: from then on the
/// sample is one step noisier than the timesteps say. So it is here: folders name this class, and images must be equal.
struct PNDMScheduler: Scheduler {
    let schedule: NoiseSchedule
    let timesteps: [Int]
    private let config: SchedulerConfig
    private let stride: Int
    /// Evaluations that belong to Runge-Kutta steps.
    private let prkCount: Int
    /// The last four predictions of the multistep method, the sample that a step began with, and two evaluations within
    /// a Runge-Kutta step; and a place for the combined prediction.
    let historyCount = 8

    init(_ config: SchedulerConfig, _ schedule: NoiseSchedule, steps: Int, begin: Int) throws {
        guard config.predictionType != .sample else {
            throw MCMError(
                .unsupported,
                "prediction_type is \"sample\", expected \"epsilon\" or \"v_prediction\" for "
                    + SchedulerKind.pndm.rawValue)
        }
        (self.config, self.schedule) = (config, schedule)
        stride = config.numTrainTimesteps / max(steps, 1)
        let spaced = try spacedTimesteps(config, steps: steps)
        if config.skipPRKSteps {
            // The second step is taken twice: first to see where it leads, then with the mean of both slopes.
            prkCount = 0
            timesteps = try begun(steps > 1 ? [spaced[0], spaced[1]] + spaced[1...] : spaced, at: begin)
        } else {
            guard steps >= 4 else {
                throw MCMError(
                    .invalidArgument, "\(steps) steps, expected at least 4 of a PNDMScheduler without skip_prk_steps")
            }
            guard begin == 0 else {
                // diffusers does them from where the whole run begins, on a sample from further on.
                throw MCMError(
                    .unsupported,
                    "begins at step \(begin), expected 0 of a PNDMScheduler without skip_prk_steps: its first steps "
                        + "are Runge-Kutta's and cannot be left out")
            }
            prkCount = 12
            var timesteps: [Int] = []
            for (t, next) in zip(spaced.prefix(3), spaced.dropFirst()) {
                let middle = next + stride / 2
                timesteps += [t, middle, middle, next]
            }
            self.timesteps = try checked(timesteps + spaced.dropFirst(3), config)
        }
    }

    func needsNoise(_ index: Int) -> Bool { false }

    func step(_ index: Int, _ input: StepInput, history: [UnsafeMutablePointer<Float>], into output: StepOutput) {
        Prediction(config.predictionType, alpha: schedule.alphasCumprod[timesteps[index]])
            .x0(input, config, into: output)
        if index < prkCount {
            rungeKutta(index, input, history, output)
        } else {
            multistep(index, input, history, output)
        }
    }

    /// Eq. 13. The slopes of a step's evaluations are weighted 1/6, 1/3, 1/3, 1/6; each but the last leads on from the
    /// sample that the step began with.
    private func rungeKutta(
        _ index: Int, _ input: StepInput, _ history: [UnsafeMutablePointer<Float>], _ output: StepOutput
    ) {
        let (number, stage) = (index / 4, index % 4)
        let slots = [history[number], history[5], history[6]]
        if stage < 3 { slots[stage].update(from: input.prediction, count: input.count) }
        if stage == 0 { history[4].update(from: input.sample, count: input.count) }
        let slope =
            stage < 3
            ? [Term(1, input.prediction)]
            : [Term(1 / 6, slots[0]), Term(1 / 3, slots[1]), Term(1 / 3, slots[2]), Term(1 / 6, input.prediction)]
        let previous = timesteps[index] - (stage % 2 == 0 ? stride / 2 : 0)
        transfer(history[4], slope, from: timesteps[4 * number], to: previous, input.count, history[7], output)
    }

    /// Eq. 12 with the order that the number of predictions allows.
    private func multistep(
        _ index: Int, _ input: StepInput, _ history: [UnsafeMutablePointer<Float>], _ output: StepOutput
    ) {
        let t = timesteps[index]
        if prkCount == 0, index == 1 {
            transfer(
                history[4], [Term(0.5, input.prediction), Term(0.5, history[0])], from: t + stride, to: t,
                input.count, history[7], output)
            return
        }
        if index == 0 { history[4].update(from: input.sample, count: input.count) }
        // Predictions before this one.
        let earlier = prkCount > 0 ? index - 9 : max(index - 1, 0)
        history[earlier % 4].update(from: input.prediction, count: input.count)
        let weights: [Float] =
            switch earlier {
            case 0: [1]
            case 1: [3 / 2, -1 / 2]
            case 2: [23 / 12, -16 / 12, 5 / 12]
            default: [55 / 24, -59 / 24, 37 / 24, -9 / 24]
            }
        let slope = weights.enumerated().map { Term($1, history[(earlier - $0) % 4]) }
        transfer(input.sample, slope, from: t, to: t - stride, input.count, history[7], output)
    }

    /// Eq. 11: the sample at timestep `t`, led to `previous` along a prediction, which goes into `noise`.
    private func transfer(
        _ sample: UnsafePointer<Float>, _ prediction: [Term], from t: Int, to previous: Int, _ count: Int,
        _ noise: UnsafeMutablePointer<Float>, _ output: StepOutput
    ) {
        let abar = schedule.alphasCumprod
        let alpha = abar[min(t, abar.count - 1)]
        let next = previous >= 0 ? abar[previous] : config.setAlphaToOne ? 1 : abar[0]
        weightedSum(prediction, count: count, into: noise)
        if config.predictionType == .vPrediction {
            weightedSum(
                [Term(alpha.squareRoot(), noise), Term((1 - alpha).squareRoot(), sample)], count: count, into: noise)
        }
        let scale = (next / alpha).squareRoot(), change = next - alpha
        let divisor = alpha * (1 - next).squareRoot() + (alpha * (1 - alpha) * next).squareRoot()
        // As diffusers divides: where alpha is tiny, both terms are large and cancel.
        for i in 0..<count { output.sample[i] = scale * sample[i] - change * noise[i] / divisor }
    }
}
