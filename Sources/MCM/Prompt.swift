public import CMCM
import Kernels
import Pipeline

/// NULL: the defaults.
func promptOptions(_ options: UnsafePointer<mcm_prompt_options>?) throws -> PromptOptions {
    var result = PromptOptions()
    guard let options else { return result }
    let value = try checked(options, "prompt options")
    result.clipSkip = Int(value.clip_skip)
    (result.hasWeights, result.isChunked) = (value.weights != 0, value.chunks != 0)
    return result
}

@c @implementation public func mcm_prompt_encode(
    _ model: OpaquePointer!, _ texts: UnsafePointer<UnsafePointer<CChar>?>!, _ count: UInt32,
    _ options: UnsafePointer<mcm_prompt_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let model = try object(model, Model.self, "model")
        let out = try pointer(out, "out")
        let texts = try list(texts, Int(count), limit: 65536, "texts").enumerated().map {
            try string($1, "text \($0)")
        }
        out.pointee = handle(try model.prompt(texts, promptOptions(options)))
    }
}

@c @implementation public func mcm_prompt_create(
    _ count: UInt32, _ tokens: UInt32, _ channels: UInt32, _ states: UnsafePointer<Float>!, _ state_count: Int,
    _ pooled_channels: UInt32, _ pooled: UnsafePointer<Float>!, _ pooled_count: Int,
    _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        guard let expected = checkedProduct([Int(count), Int(tokens), Int(channels)]),
            let pooledExpected = checkedProduct([Int(count), Int(pooled_channels)])
        else {
            throw MCMError(
                .size,
                "\(count) prompts of \(tokens) tokens with \(channels) channels and \(pooled_channels) pooled ones are "
                    + "beyond any memory")
        }
        let states = try floats(states, state_count, expected, "states")
        let values =
            pooled == nil && pooled_count == 0 && pooled_channels == 0
            ? nil : try floats(pooled, pooled_count, pooledExpected, "pooled")
        out.pointee = handle(
            try Prompt(
                states: states, count: Int(count), tokens: Int(tokens), channels: Int(channels), pooled: values,
                pooledChannels: Int(pooled_channels)))
    }
}

private func prompt(_ handle: OpaquePointer?) throws -> Prompt { try object(handle, Prompt.self, "prompt") }

@c @implementation public func mcm_prompt_get_info(
    _ handle: OpaquePointer!, _ info: UnsafeMutablePointer<mcm_prompt_info>!
) -> mcm_status {
    call {
        let prompt = try prompt(handle)
        var value = try checked(info, "info")
        value.count = UInt32(prompt.count)
        value.tokens = UInt32(prompt.tokens)
        value.channels = UInt32(prompt.channels)
        value.pooled_channels = UInt32(prompt.pooledChannels)
        value.truncated = prompt.isTruncated ? 1 : 0
        info.pointee = value
    }
}

@c @implementation public func mcm_prompt_get_states(
    _ handle: OpaquePointer!, _ states: UnsafeMutablePointer<Float>!, _ count: Int
) -> mcm_status {
    call {
        let prompt = try prompt(handle)
        prompt.copyStates(into: try output(states, count, prompt.stateCount, "states"))
    }
}

@c @implementation public func mcm_prompt_get_pooled(
    _ handle: OpaquePointer!, _ pooled: UnsafeMutablePointer<Float>!, _ count: Int
) -> mcm_status {
    call {
        let prompt = try prompt(handle)
        prompt.copyPooled(into: try output(pooled, count, prompt.pooledCount, "pooled"))
    }
}

@c @implementation public func mcm_prompt_free(_ prompt: OpaquePointer!) { release(prompt) }

@c @implementation public func mcm_controlnet_open(
    _ folder: UnsafePointer<CChar>!, _ options: UnsafePointer<mcm_model_options>!,
    _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> mcm_status {
    call {
        let out = try pointer(out, "out")
        out.pointee = handle(try ControlNetModel(.disk(string(folder, "folder")), modelOptions(options)))
    }
}

@c @implementation public func mcm_controlnet_free(_ controlnet: OpaquePointer!) { release(controlnet) }
