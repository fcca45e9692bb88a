public import CMCM
import Images
import Kernels
import Networks
import Pipeline

private func session(_ handle: OpaquePointer?) throws -> Session { try object(handle, Session.self, "session") }

/// NULL: the defaults.
func sessionOptions(_ options: UnsafePointer<mcm_session_options>?) throws -> Session.Options {
    var result = Session.Options()
    guard let options else { return result }
    let value = try checked(options, "session options")
    guard value.batch > 0 else { throw MCMError(.invalidArgument, "session options: batch is 0, expected at least 1") }
    result.batch = Int(value.batch)
    (result.width, result.height) = (Int(value.width), Int(value.height))
    result.scheduler = try schedulerKind(value.scheduler)
    result.steps = Int(value.steps)
    result.eta = value.eta
    result.schedulerOptions = try value.scheduler_options.map { try string($0, "session options: scheduler_options") }
    return result
}

@c @implementation public func mcm_session_create(
    _ model: OpaquePointer!, _ options: UnsafePointer<mcm_session_options>!,
    _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let model = try object(model, Model.self, "model")
        let out = try pointer(out, "out")
        out.pointee = handle(try Session(model, sessionOptions(options)))
    }
}

@c @implementation public func mcm_session_get_memory(
    _ handle: OpaquePointer!, _ memory: UnsafeMutablePointer<mcm_memory>!
) -> mcm_status {
    call {
        let session = try session(handle)
        var value = try checked(memory, "memory")
        value.threads = UInt32(session.model.threads)
        (value.weights, value.cache, value.arena) = (0, 0, UInt64(session.bytes))
        memory.pointee = value
    }
}

@c @implementation public func mcm_session_seed(
    _ handle: OpaquePointer!, _ seeds: UnsafePointer<UInt64>!, _ seed_count: UInt32
) -> mcm_status {
    call {
        let session = try session(handle)
        try session.seed(Array(list(seeds, Int(seed_count), limit: session.batch, "seeds")))
    }
}

@c @implementation public func mcm_session_set_class_input(
    _ handle: OpaquePointer!, _ values: UnsafePointer<Float>!, _ count: Int
) -> mcm_status {
    call {
        let session = try session(handle)
        let limit = session.batch * session.model.unet.classInputSize
        try session.setClassInput(Array(list(values, count, limit: limit, "values")))
    }
}

/// options NULL: the defaults.
func attach(
    _ modulator: OpaquePointer?, _ options: UnsafePointer<mcm_attach_options>?, to session: Session
) throws -> UInt32 {
    let modulator = try object(modulator, Modulator.self, "modulator")
    let value = try options.map { try checked($0, "attach options") } ?? .initial
    return try session.attach(
        modulator, weight: value.weight, window: Session.Window(begin: value.begin, end: value.end),
        otherBase: value.other_base != 0)
}

@c @implementation public func mcm_session_attach(
    _ handle: OpaquePointer!, _ modulator: OpaquePointer!, _ options: UnsafePointer<mcm_attach_options>!,
    _ out_id: UnsafeMutablePointer<UInt32>!
) -> mcm_status {
    call {
        let id = try attach(modulator, options, to: session(handle))
        out_id?.pointee = id
    }
}

@c @implementation public func mcm_session_detach(_ handle: OpaquePointer!, _ id: UInt32) -> mcm_status {
    call { try session(handle).detach(id) }
}

@c @implementation public func mcm_session_set_weight(
    _ handle: OpaquePointer!, _ id: UInt32, _ weight: Float
) -> mcm_status {
    call { try session(handle).setWeight(id, weight) }
}

@c @implementation public func mcm_session_set_window(
    _ handle: OpaquePointer!, _ id: UInt32, _ begin: Float, _ end: Float
) -> mcm_status {
    call { try session(handle).setWindow(id, Session.Window(begin: begin, end: end)) }
}

@c @implementation public func mcm_session_set_condition(
    _ handle: OpaquePointer!, _ id: UInt32, _ value: UnsafePointer<mcm_condition>!
) -> mcm_status {
    call {
        let session = try session(handle)
        let (modality, images) = try condition(value, batch: session.batch)
        try session.setCondition(id, modality, images)
    }
}

@c @implementation public func mcm_session_set_condition_png(
    _ handle: OpaquePointer!, _ id: UInt32, _ modality: UnsafePointer<CChar>!, _ path: UnsafePointer<CChar>!
) -> mcm_status {
    call {
        let session = try session(handle)
        try session.setCondition(id, string(modality, "modality"), png: string(path, "path"))
    }
}

@c @implementation public func mcm_session_clear_condition(
    _ handle: OpaquePointer!, _ id: UInt32, _ modality: UnsafePointer<CChar>!
) -> mcm_status {
    call { try session(handle).clearCondition(id, modality == nil ? nil : string(modality, "modality")) }
}

@c @implementation public func mcm_session_step(_ handle: OpaquePointer!) -> mcm_status {
    call { try session(handle).advance() }
}

@c @implementation public func mcm_session_get_state(
    _ handle: OpaquePointer!, _ state: UnsafeMutablePointer<mcm_session_state>!
) -> mcm_status {
    call {
        let session = try session(handle)
        var value = try checked(state, "state")
        value.step = UInt32(session.step)
        value.steps = UInt32(session.steps)
        value.timestep = Int32(session.timestep ?? -1)
        value.batch = UInt32(session.batch)
        value.channels = UInt32(session.model.channels)
        value.height = UInt32(session.height)
        value.width = UInt32(session.width)
        value.seeded = session.isSeeded ? 1 : 0
        state.pointee = value
    }
}

@c @implementation public func mcm_session_get_sample(
    _ handle: OpaquePointer!, _ sample: UnsafeMutablePointer<Float>!, _ count: Int
) -> mcm_status {
    call {
        let session = try session(handle)
        try session.copySample(into: output(sample, count, session.count, "sample"))
    }
}

@c @implementation public func mcm_session_set_sample(
    _ handle: OpaquePointer!, _ sample: UnsafePointer<Float>!, _ count: Int
) -> mcm_status {
    call {
        let session = try session(handle)
        try session.setSample(floats(sample, count, session.count, "sample"))
    }
}

@c @implementation public func mcm_session_get_x0(
    _ handle: OpaquePointer!, _ x0: UnsafeMutablePointer<Float>!, _ count: Int
) -> mcm_status {
    call {
        let session = try session(handle)
        try session.copyOriginal(into: output(x0, count, session.count, "x0"))
    }
}

@c @implementation public func mcm_session_decode(
    _ handle: OpaquePointer!, _ what: Int32, _ index: UInt32, _ pixels: UnsafeMutablePointer<UInt8>!, _ size: Int
) -> mcm_status {
    call {
        let session = try session(handle)
        guard what == MCM_DECODE_SAMPLE || what == MCM_DECODE_X0 else {
            throw MCMError(.invalidArgument, "what is \(what), expected MCM_DECODE_SAMPLE or MCM_DECODE_X0")
        }
        let target = try output(pixels, size, session.count / session.batch, "pixels")
        try session.decode(original: what == MCM_DECODE_X0, index: Int(index), into: target)
    }
}

@c @implementation public func mcm_session_run(
    _ handle: OpaquePointer!, _ callback: mcm_progress!, _ user: UnsafeMutableRawPointer!
) -> mcm_status {
    call { try run(session(handle), callback, user) }
}

/// Runs a session to its end; the callback gets its handle.
func run(_ session: Session, _ callback: mcm_progress?, _ user: UnsafeMutableRawPointer?) throws {
    let handle = OpaquePointer(Unmanaged.passUnretained(session).toOpaque())
    try session.run { step, steps in callback?(user, handle, UInt32(step), UInt32(steps)) ?? 0 == 0 }
}

@c @implementation public func mcm_session_free(_ handle: OpaquePointer!) { release(handle) }
