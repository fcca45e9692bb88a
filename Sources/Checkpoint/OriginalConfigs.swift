import Kernels

/// What diffusers' config files would say of an original checkpoint's networks. The original files hold no configs: the
/// shapes say most, and what they do not say is the same in all models of a family.
extension OriginalCheckpoint {
    /// Which models these are; each has a text encoder of its own, by whose width it is told.
    public enum Family: String, Sendable {
        case ldm, sd1, sd2, sdxl, sdxlRefiner
    }

    public var family: Family {
        let text = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
        let first = unet.shape("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight")
        switch (first ?? unet.shape(text))?.last {
        case 768: return .sd1
        case 1024: return .sd2
        case 2048: return .sdxl
        case 1280: return .sdxlRefiner
        default: return .ldm
        }
    }

    private var inChannels: Int { unet.shape("conv_in.weight")?.dropFirst().first ?? 0 }

    /// Whether the UNet reads a mask and an image beside the sample.
    private var isInpainting: Bool { inChannels == 9 }

    /// The pipeline in diffusers.
    public var pipeline: String {
        switch family {
        case .ldm: "LDMPipeline"
        case .sd1, .sd2: isInpainting ? "StableDiffusionInpaintPipeline" : "StableDiffusionPipeline"
        case .sdxl: isInpainting ? "StableDiffusionXLInpaintPipeline" : "StableDiffusionXLPipeline"
        case .sdxlRefiner: "StableDiffusionXLImg2ImgPipeline"
        }
    }

    private var vaeComponent: String { family == .ldm ? "vqvae" : "vae" }

    private var textComponents: [String] {
        switch family {
        case .ldm: []
        case .sd1, .sd2: ["text_encoder"]
        case .sdxl: ["text_encoder", "text_encoder_2"]
        case .sdxlRefiner: ["text_encoder_2"]
        }
    }

    /// The config of each component that diffusers' folder would have.
    public var configs: [String: JSONValue] {
        var configs = ["unet": unetConfig, "scheduler": schedulerConfig, vaeComponent: vaeConfig]
        for (component, config) in zip(textComponents, textConfigs) { configs[component] = config }
        return configs
    }

    /// What else diffusers' model_index.json would say.
    public var indexOptions: [String: JSONValue] {
        family == .sdxlRefiner
            ? ["requires_aesthetics_score": .bool(true), "force_zeros_for_empty_prompt": .bool(false)] : [:]
    }

    /// The tensors of a component. Errors: `.format` if there is none of this name.
    public func component(_ name: String) throws -> CheckpointSource {
        if name == "unet" { return unet }
        if name == vaeComponent { return vae }
        guard let i = textComponents.firstIndex(of: name), i < textEncoders.count else {
            throw MCMError(.format, "\(unet.name): has no \(name), expected one")
        }
        return textEncoders[i]
    }

    /// scheduler/scheduler_config.json: the one that the family's authors publish in diffusers' format. The version of
    /// Stable Diffusion 2 that predicts noise has the same tensors as the one that predicts v; this is the latter. The
    /// one for inpainting was made of the former.
    public var schedulerConfig: JSONValue {
        var config: [String: JSONValue] = [
            "num_train_timesteps": .integer(1000), "beta_schedule": .string("scaled_linear"),
            "beta_start": .number(0.00085), "beta_end": .number(0.012), "clip_sample": .bool(false),
            "set_alpha_to_one": .bool(false), "steps_offset": .integer(1),
        ]
        switch family {
        case .ldm:
            config["_class_name"] = .string("DDIMScheduler")
            (config["beta_start"], config["beta_end"]) = (.number(0.0015), .number(0.0195))
            (config["steps_offset"], config["set_alpha_to_one"]) = (.integer(0), .bool(true))
        case .sd1:
            config["_class_name"] = .string("PNDMScheduler")
            config["skip_prk_steps"] = .bool(true)
        case .sd2:
            config["_class_name"] = .string("DDIMScheduler")
            config["prediction_type"] = .string(isInpainting ? "epsilon" : "v_prediction")
        case .sdxl, .sdxlRefiner:
            config["_class_name"] = .string("EulerDiscreteScheduler")
            config["timestep_spacing"] = .string("leading")  // of the others, which are older, each class's own
        }
        return .object(config)
    }

    /// Of the samples that the family was trained on.
    private var sampleSize: Int {
        switch family {
        case .ldm, .sd1: 64
        case .sd2: isInpainting ? 64 : 96
        case .sdxl, .sdxlRefiner: 128
        }
    }

    /// unet/config.json.
    public var unetConfig: JSONValue {
        let blocks = Self.count(unet) { "down_blocks.\($0).resnets.0.conv1.weight" }
        let widths = (0..<blocks).map { unet.shape("down_blocks.\($0).resnets.0.conv1.weight")?.first ?? 0 }
        let isText = (0..<blocks).map {
            unet.contains("down_blocks.\($0).attentions.0.transformer_blocks.0.norm1.weight")
        }
        let isPlain = (0..<blocks).map { unet.contains("down_blocks.\($0).attentions.0.to_q.weight") }
        let kinds = (0..<blocks).map { isText[$0] ? "CrossAttn" : isPlain[$0] ? "Attn" : "" }
        var config: [String: JSONValue] = [
            "in_channels": .integer(inChannels),
            "out_channels": .integer(unet.shape("conv_out.weight")?.first ?? 0),
            "block_out_channels": .integers(widths),
            "layers_per_block": .integer(Self.count(unet) { "down_blocks.0.resnets.\($0).conv1.weight" }),
            "down_block_types": .strings(kinds.map { "\($0)DownBlock2D" }),
            "up_block_types": .strings(kinds.reversed().map { "\($0)UpBlock2D" }),
            "norm_eps": .number(1e-5), "norm_num_groups": .integer(32), "act_fn": .string("silu"),
            "flip_sin_to_cos": .bool(true), "freq_shift": .integer(0), "downsample_padding": .integer(1),
            "sample_size": .integer(sampleSize),
        ]
        guard let first = isText.firstIndex(of: true) else {
            config["_class_name"] = .string("UNet2DModel")
            config["attention_head_dim"] = .integer(OriginalUNetNames.headChannels)
            return .object(config)
        }
        let attention = "down_blocks.\(first).attentions.0"
        func depth(_ block: String) -> Int {
            max(1, Self.count(unet) { "\(block).attentions.0.transformer_blocks.\($0).norm1.weight" })
        }
        var depths = (0..<blocks).map { depth("down_blocks.\($0)") }
        // The middle's is that of the last level, which in the refiner has no transformers of its own.
        if isText.last == false { depths[blocks - 1] = depth("mid_block") }
        config["_class_name"] = .string("UNet2DConditionModel")
        config["cross_attention_dim"] = .integer(
            unet.shape("\(attention).transformer_blocks.0.attn2.to_k.weight")?.last ?? 0)
        config["use_linear_projection"] = .bool(unet.shape("\(attention).proj_in.weight")?.count == 2)
        config["transformer_layers_per_block"] = .integers(depths)
        // The number of heads, whatever the key says: diffusers keeps its first name for it.
        config["attention_head_dim"] = family == .sd1 ? .integer(8) : .integers(widths.map { $0 / 64 })
        if let shape = unet.shape("add_embedding.linear_1.weight") {
            config["addition_embed_type"] = .string("text_time")
            config["addition_time_embed_dim"] = .integer(256)
            config["projection_class_embeddings_input_dim"] = .integer(shape.last ?? 0)
        }
        if let shape = unet.shape("class_embedding.weight") { config["num_class_embeds"] = .integer(shape.first ?? 0) }
        return .object(config)
    }

    /// vae/config.json, or vqvae/config.json.
    public var vaeConfig: JSONValue {
        let blocks = Self.count(vae) { "encoder.down_blocks.\($0).resnets.0.conv1.weight" }
        let widths = (0..<blocks).map { vae.shape("encoder.down_blocks.\($0).resnets.0.conv1.weight")?.first ?? 0 }
        let down = (0..<blocks).map { vae.contains("encoder.down_blocks.\($0).attentions.0.to_q.weight") }
        let up = (0..<blocks).map { vae.contains("decoder.up_blocks.\($0).attentions.0.to_q.weight") }
        var config: [String: JSONValue] = [
            "in_channels": .integer(vae.shape("encoder.conv_in.weight")?.dropFirst().first ?? 0),
            "out_channels": .integer(vae.shape("decoder.conv_out.weight")?.first ?? 0),
            "latent_channels": .integer(vae.shape("decoder.conv_in.weight")?.dropFirst().first ?? 0),
            "block_out_channels": .integers(widths),
            "layers_per_block": .integer(
                Self.count(vae) { "encoder.down_blocks.0.resnets.\($0).conv1.weight" }),
            "down_block_types": .strings(down.map { $0 ? "AttnDownEncoderBlock2D" : "DownEncoderBlock2D" }),
            "up_block_types": .strings(up.map { $0 ? "AttnUpDecoderBlock2D" : "UpDecoderBlock2D" }),
            "norm_num_groups": .integer(32), "act_fn": .string("silu"),
        ]
        if let shape = vae.shape("quantize.embedding.weight") {
            config["_class_name"] = .string("VQModel")
            config["num_vq_embeddings"] = .integer(shape.first ?? 0)
            config["vq_embed_dim"] = .integer(shape.last ?? 0)
            config["scaling_factor"] = .number(1)
        } else {
            let isXL = family == .sdxl || family == .sdxlRefiner
            config["_class_name"] = .string("AutoencoderKL")
            config["scaling_factor"] = .number(isXL ? 0.13025 : 0.18215)
            config["sample_size"] = .integer(isXL ? 1024 : 512)
        }
        return .object(config)
    }

    /// text_encoder/config.json, and text_encoder_2/config.json.
    public var textConfigs: [JSONValue] {
        textEncoders.map { text in
            let prefix = text.contains("text_model.final_layer_norm.weight") ? "text_model." : ""
            let width = text.shape("\(prefix)final_layer_norm.weight")?.first ?? 0
            var config: [String: JSONValue] = [
                "hidden_size": .integer(width), "num_attention_heads": .integer(width / 64),
                "num_hidden_layers": .integer(
                    Self.count(text) { "\(prefix)encoder.layers.\($0).layer_norm1.weight" }),
                "intermediate_size": .integer(text.shape("\(prefix)encoder.layers.0.mlp.fc1.weight")?.first ?? 0),
                "vocab_size": .integer(
                    text.shape("\(prefix)embeddings.token_embedding.weight")?.first ?? 0),
                "max_position_embeddings": .integer(
                    text.shape("\(prefix)embeddings.position_embedding.weight")?.first ?? 0),
                "hidden_act": .string(width == 768 ? "quick_gelu" : "gelu"), "layer_norm_eps": .number(1e-5),
                // As in diffusers' folders: the largest token of a text is its end, whatever the tokenizer.
                "eos_token_id": .integer(2),
            ]
            if let projection = text.shape("text_projection.weight") {
                config["_class_name"] = .string("CLIPTextModelWithProjection")
                config["projection_dim"] = .integer(projection.first ?? 0)
            } else {
                config["_class_name"] = .string("CLIPTextModel")
            }
            return .object(config)
        }
    }

    /// How many of a row of keys there are.
    private static func count(_ source: CheckpointSource, _ key: (Int) -> String) -> Int {
        var n = 0
        while source.contains(key(n)) { n += 1 }
        return n
    }
}

extension JSONValue {
    fileprivate static func integers(_ values: [Int]) -> JSONValue { .array(values.map { .integer($0) }) }
    fileprivate static func strings(_ values: [String]) -> JSONValue { .array(values.map { .string($0) }) }
}
