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
    guard value.reserved == 0 else {
        throw MCMError(.invalidArgument, "session options: reserved is \(value.reserved), expected 0")
    }
    result.strength = value.strength
    if value.guidance_scale != 0 { result.guidanceScale = value.guidance_scale }
    result.guidanceRescale = value.guidance_rescale
    switch value.modulate {
    case MCM_MODULATE_GUIDED: result.modulates = .guided
    case MCM_MODULATE_CONDITIONAL: result.modulates = .conditional
    default:
        throw MCMError(.invalidArgument, "session options: modulate is \(value.modulate), expected MCM_MODULATE_*")
    }
    guard let passes = [0: Session.Options.Passes.automatic, 1: .one, 2: .two][value.guidance_passes] else {
        throw MCMError(
            .invalidArgument, "session options: guidance_passes is \(value.guidance_passes), expected 0, 1 or 2")
    }
    result.passes = passes
    if value.tile_above > 0 { result.tiling = .automatic(above: Int(value.tile_above)) }
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
        try session.seed(Array(list(seeds, Int(seed_count), limit: session.batch, isBatch: true, "seeds")))
    }
}

@c @implementation public func mcm_session_set_prompt(
    _ handle: OpaquePointer!, _ prompt: OpaquePointer!, _ negative: OpaquePointer!
) -> mcm_status {
    call {
        let negative = try negative.map { try object($0, Prompt.self, "negative") }
        try session(handle).setPrompt(object(prompt, Prompt.self, "prompt"), negative: negative)
    }
}

@c @implementation public func mcm_session_set_image(
    _ handle: OpaquePointer!, _ images: UnsafePointer<mcm_image>!, _ image_count: UInt32
) -> mcm_status {
    call {
        let session = try session(handle)
        try session.setImage(views(images, image_count, session, "image"))
    }
}

@c @implementation public func mcm_session_set_mask(
    _ handle: OpaquePointer!, _ masks: UnsafePointer<mcm_image>!, _ mask_count: UInt32
) -> mcm_status {
    call {
        let session = try session(handle)
        try session.setMask(views(masks, mask_count, session, "mask"))
    }
}

/// Images of a batch.
func views(
    _ images: UnsafePointer<mcm_image>?, _ count: UInt32, _ session: Session, _ name: String
) throws -> [ImageView] {
    try structs(images, Int(count), limit: session.batch, isBatch: true, "\(name)s").enumerated().map {
        try imageView($1, "\(name) \($0)")
    }
}

@c @implementation public func mcm_session_set_time_ids(
    _ handle: OpaquePointer!, _ time_ids: UnsafePointer<Float>!, _ negative: UnsafePointer<Float>!, _ count: Int
) -> mcm_status {
    call {
        let session = try session(handle)
        let expected = session.batch * session.model.timeIDCount
        let values = try [(time_ids, "time_ids"), (negative, "negative")].map { values, name in
            Array(UnsafeBufferPointer(start: try floats(values, count, expected, name), count: expected))
        }
        try session.setTimeIDs(values[0], negative: values[1])
    }
}

@c @implementation public func mcm_session_attach_controlnet(
    _ handle: OpaquePointer!, _ controlnet: OpaquePointer!, _ images: UnsafePointer<mcm_image>!, _ image_count: UInt32,
    _ guess: Int32, _ options: UnsafePointer<mcm_attach_options>!, _ out_id: UnsafeMutablePointer<UInt32>!
) -> mcm_status {
    call {
        let session = try session(handle)
        let value = try options.map { try checked($0, "attach options") } ?? .initial
        let id = try session.attach(
            object(controlnet, ControlNetModel.self, "controlnet"), views(images, image_count, session, "image"),
            guessMode: guess != 0, weight: value.weight, window: Session.Window(begin: value.begin, end: value.end))
        out_id?.pointee = id
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
        value.image_width = UInt32(session.imageSize.width)
        value.image_height = UInt32(session.imageSize.height)
        value.image_channels = UInt32(session.model.imageChannels)
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
        switch what {
        case MCM_DECODE_SAMPLE, MCM_DECODE_X0:
            let target = try output(pixels, size, session.imageBytes, "pixels")
            try session.decode(original: what == MCM_DECODE_X0, index: Int(index), into: target)
        case MCM_DECODE_PREVIEW:
            let target = try output(
                pixels, size, session.height * session.width * session.model.imageChannels, "pixels")
            try session.preview(Int(index), into: target)
        default: throw MCMError(.invalidArgument, "what is \(what), expected MCM_DECODE_*")
        }
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
