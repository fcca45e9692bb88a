public import CMCM
import Kernels
import Pipeline

@c @implementation public func mcm_generate(
    _ model: OpaquePointer!, _ options: UnsafePointer<mcm_generate_options>!, _ pixels: UnsafeMutablePointer<UInt8>!,
    _ size: Int
) -> mcm_status {
    call {
        let model = try object(model, Model.self, "model")
        let options = try options.map { try checked($0, "options") } ?? .initial
        let session = try Session(model, sessionOptions(options.session))
        let share = session.imageBytes
        let target = try output(pixels, size, session.batch * share, "pixels")
        let seeds = try list(options.seeds, Int(options.seed_count), limit: session.batch, isBatch: true, "seeds")
        try session.setImage(views(options.images, options.image_count, session, "image"))
        try session.setMask(views(options.masks, options.mask_count, session, "mask"))
        if model.readsText { try setPrompt(options, session) }
        try session.seed(seeds.isEmpty ? [0] : Array(seeds))
        if options.class_input_count > 0 {
            let limit = session.batch * model.unet.classInputSize
            try session.setClassInput(
                Array(list(options.class_input, options.class_input_count, limit: limit, "class_input")))
        }
        for attachment in try structs(options.attachments, options.attachment_count, limit: 1024, "attachments") {
            let attachment = try checked(attachment, "attachment")
            let id = try attach(attachment.modulator, attachment.options, to: session)
            var given: Set<String> = []
            for value in try structs(
                attachment.conditions, Int(attachment.condition_count), limit: 1024, "conditions")
            {
                let (modality, images) = try condition(value, batch: session.batch)
                guard given.insert(modality).inserted else {
                    throw MCMError(.invalidArgument, "modality \"\(modality)\" is given twice")
                }
                try session.setCondition(id, modality, images)
            }
        }
        try run(session, options.callback, options.user)
        for i in 0..<session.batch { try session.decode(original: false, index: i, into: target + i * share) }
    }
}

/// The prompts of the options, as diffusers' pipelines read them.
private func setPrompt(_ options: mcm_generate_options, _ session: Session) throws {
    var reading = try promptOptions(options.prompt_options)
    let text = try options.prompt.map { try string($0, "prompt") } ?? ""
    let prompt = try session.model.prompt([text], reading)
    reading.clipSkip = 0
    let negative = try options.negative_prompt.map {
        try session.model.prompt([string($0, "negative_prompt")], reading)
    }
    try session.setPrompt(prompt, negative: negative)
}
