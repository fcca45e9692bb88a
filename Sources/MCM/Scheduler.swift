public import CMCM
import Kernels
import Pipeline
import Sampling

/// A scheduler as a handle, with what a step needs of its model.
private final class SchedulerHandle {
    let scheduler: any Scheduler
    let learnsVariance: Bool

    init(_ scheduler: any Scheduler, learnsVariance: Bool) {
        (self.scheduler, self.learnsVariance) = (scheduler, learnsVariance)
    }

    func check(_ step: UInt32) throws -> Int {
        guard Int(step) < scheduler.timesteps.count else {
            throw MCMError(.invalidArgument, "step \(step), expected 0 to \(scheduler.timesteps.count - 1)")
        }
        return Int(step)
    }
}

/// nil for the model's own.
func schedulerKind(_ kind: Int32) throws -> SchedulerKind? {
    switch kind {
    case MCM_SCHEDULER_DEFAULT: return nil
    case MCM_SCHEDULER_DDPM: return .ddpm
    case MCM_SCHEDULER_DDIM: return .ddim
    case MCM_SCHEDULER_PNDM: return .pndm
    case MCM_SCHEDULER_LMS: return .lms
    case MCM_SCHEDULER_EULER: return .euler
    case MCM_SCHEDULER_EULER_ANCESTRAL: return .eulerAncestral
    case MCM_SCHEDULER_HEUN: return .heun
    case MCM_SCHEDULER_DPM_SOLVER_MULTISTEP: return .dpmSolverMultistep
    case MCM_SCHEDULER_UNIPC: return .uniPC
    case MCM_SCHEDULER_LCM: return .lcm
    default: throw MCMError(.invalidArgument, "scheduler is \(kind), expected one of MCM_SCHEDULER_*")
    }
}

@c @implementation public func mcm_scheduler_create(
    _ model: OpaquePointer!, _ kind: Int32, _ steps: UInt32, _ eta: Float, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    mcm_scheduler_create_with_options(model, kind, steps, eta, nil, out)
}

@c @implementation public func mcm_scheduler_create_with_options(
    _ model: OpaquePointer!, _ kind: Int32, _ steps: UInt32, _ eta: Float, _ options: UnsafePointer<CChar>!,
    _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let model = try object(model, Model.self, "model")
        let out = try pointer(out, "out")
        let scheduler = try model.scheduler(
            schedulerKind(kind), steps: Int(steps), eta: eta, options: options.map { try string($0, "options") })
        out.pointee = handle(
            SchedulerHandle(scheduler, learnsVariance: model.predictionChannels != model.channels))
    }
}

@c @implementation public func mcm_scheduler_get_info(
    _ scheduler: OpaquePointer!, _ info: UnsafeMutablePointer<mcm_scheduler_info>!
) -> mcm_status {
    call {
        let scheduler = try object(scheduler, SchedulerHandle.self, "scheduler").scheduler
        var value = try checked(info, "info")
        value.steps = UInt32(scheduler.timesteps.count)
        value.history_count = UInt32(scheduler.historyCount)
        value.init_noise_sigma = scheduler.initNoiseSigma
        info.pointee = value
    }
}

@c @implementation public func mcm_scheduler_get_step(
    _ scheduler: OpaquePointer!, _ step: UInt32, _ info: UnsafeMutablePointer<mcm_step_info>!
) -> mcm_status {
    call {
        let handle = try object(scheduler, SchedulerHandle.self, "scheduler")
        let index = try handle.check(step)
        var value = try checked(info, "info")
        value.timestep = handle.scheduler.modelTimesteps[index]
        value.input_scale = handle.scheduler.inputScale(index)
        value.needs_noise = handle.scheduler.needsNoise(index) ? 1 : 0
        info.pointee = value
    }
}

@c @implementation public func mcm_scheduler_get_timesteps(
    _ scheduler: OpaquePointer!, _ timesteps: UnsafeMutablePointer<Int32>!, _ capacity: UInt32,
    _ count: UnsafeMutablePointer<UInt32>!
) -> mcm_status {
    call {
        let list = try object(scheduler, SchedulerHandle.self, "scheduler").scheduler.timesteps
        let count = try pointer(count, "count")
        if let timesteps {
            guard Int(capacity) >= list.count else {
                throw MCMError(.size, "timesteps: a capacity of \(capacity), expected at least \(list.count)")
            }
            for (i, t) in list.enumerated() { timesteps[i] = Int32(t) }
        }
        count.pointee = UInt32(list.count)
    }
}

@c @implementation public func mcm_scheduler_needs_noise(
    _ scheduler: OpaquePointer!, _ step: UInt32, _ out: UnsafeMutablePointer<Int32>!
) -> mcm_status {
    call {
        let handle = try object(scheduler, SchedulerHandle.self, "scheduler")
        try pointer(out, "out").pointee = handle.scheduler.needsNoise(handle.check(step)) ? 1 : 0
    }
}

@c @implementation public func mcm_scheduler_step(
    _ scheduler: OpaquePointer!, _ step: UInt32, _ batch: UInt32, _ sample: UnsafePointer<Float>!, _ count: Int,
    _ prediction: UnsafePointer<Float>!, _ prediction_count: Int, _ noise: UnsafePointer<Float>!,
    _ previous: UnsafeMutablePointer<Float>!, _ x0: UnsafeMutablePointer<Float>!
) -> mcm_status {
    mcm_scheduler_step_with_history(
        scheduler, step, batch, sample, count, prediction, prediction_count, noise, nil, 0, previous, x0)
}

@c @implementation public func mcm_scheduler_step_with_history(
    _ scheduler: OpaquePointer!, _ step: UInt32, _ batch: UInt32, _ sample: UnsafePointer<Float>!, _ count: Int,
    _ prediction: UnsafePointer<Float>!, _ prediction_count: Int, _ noise: UnsafePointer<Float>!,
    _ history: UnsafeMutablePointer<Float>!, _ history_count: Int, _ previous: UnsafeMutablePointer<Float>!,
    _ x0: UnsafeMutablePointer<Float>!
) -> mcm_status {
    call {
        let handle = try object(scheduler, SchedulerHandle.self, "scheduler")
        let index = try handle.check(step)
        let batch = Int(batch)
        guard batch > 0, count > 0, count <= 1 << 31, count % batch == 0 else {
            throw MCMError(.size, "sample: a count of \(count), expected a multiple of the batch \(batch) up to 2^31")
        }
        let sample = try floats(sample, count, count, "sample")
        let size = handle.learnsVariance ? 2 * count : count
        let prediction = try floats(prediction, prediction_count, size, "prediction")
        let previous = try pointer(previous, "previous")
        let noise = try handle.scheduler.needsNoise(index) ? floats(noise, count, count, "noise") : nil
        let buffers = handle.scheduler.historyCount
        var kept: [UnsafeMutablePointer<Float>] = []
        if buffers > 0 {
            let history = try output(history, history_count, buffers * count, "history")
            kept = (0..<buffers).map { history + $0 * count }
        }
        // x_0 and the history are written while the others are still read, and x_{t-1} before the noise is added.
        let inputs = [sample, prediction] + (noise.map { [$0] } ?? [])
        if let x0, inputs.contains(UnsafePointer(x0)) || x0 == previous {
            throw MCMError(.invalidArgument, "x0 is another argument's buffer, expected one of its own")
        }
        if inputs.dropFirst().contains(UnsafePointer(previous)) {
            throw MCMError(.invalidArgument, "previous is the prediction's or the noise's buffer")
        }
        if kept.contains(where: { inputs.contains(UnsafePointer($0)) || $0 == previous || $0 == x0 }) {
            throw MCMError(.invalidArgument, "history is another argument's buffer, expected one of its own")
        }
        let (e, variance) = try handle.learnsVariance ? split(prediction, batch, count) : (nil, nil)
        let scratch = try FloatBuffer(count: x0 == nil ? count : 0)
        handle.scheduler.step(
            index,
            StepInput(
                batch: batch, count: count, sample: sample, prediction: e.map { UnsafePointer($0.data) } ?? prediction,
                variance: variance.map { UnsafePointer($0.data) }, noise: noise),
            history: kept, into: StepOutput(sample: previous, x0: x0 ?? scratch.data))
        withExtendedLifetime((e, variance, scratch)) {}
    }
}

/// Per image prediction, then variance: to all predictions and all variances, `count` floats each.
private func split(
    _ both: UnsafePointer<Float>, _ batch: Int, _ count: Int
) throws -> (FloatBuffer?, FloatBuffer?) {
    let parts = [try FloatBuffer(count: count), try FloatBuffer(count: count)]
    let share = count / batch
    for image in 0..<batch {
        for half in 0..<2 {
            (parts[half].data + image * share).update(from: both + (2 * image + half) * share, count: share)
        }
    }
    return (parts[0], parts[1])
}

@c @implementation public func mcm_scheduler_add_noise(
    _ scheduler: OpaquePointer!, _ timestep: Int32, _ x0: UnsafePointer<Float>!, _ noise: UnsafePointer<Float>!,
    _ count: Int, _ out: UnsafeMutablePointer<Float>!
) -> mcm_status {
    call {
        let scheduler = try object(scheduler, SchedulerHandle.self, "scheduler").scheduler
        let schedule = scheduler.schedule
        guard count >= 0, count <= 1 << 31 else { throw MCMError(.size, "a count of \(count), expected at most 2^31") }
        guard (0..<schedule.numTrainTimesteps).contains(Int(timestep)) else {
            throw MCMError(
                .invalidArgument, "timestep \(timestep), expected 0 to \(schedule.numTrainTimesteps - 1)")
        }
        scheduler.addNoise(
            try floats(x0, count, count, "x0"), try floats(noise, count, count, "noise"), timestep: Int(timestep),
            count: count, into: try pointer(out, "out"))
    }
}

@c @implementation public func mcm_scheduler_free(_ scheduler: OpaquePointer!) { release(scheduler) }
