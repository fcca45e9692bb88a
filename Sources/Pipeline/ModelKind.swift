import Checkpoint
import Kernels
import Sampling

/// What a model_index.json says of a model: which of diffusers' pipelines it is for, and its components.
struct ModelKind: Sendable {
    let pipeline: String
    /// The component that makes images of samples; nil if samples are images.
    let autoencoder: String?
    /// The components that encode texts, in order.
    let textEncoders: [String]
    /// Stable Diffusion of any version: the network reads a text.
    let isText: Bool
    /// Stable Diffusion XL: two text encoders, a pooled text, and sizes.
    let isXL: Bool
    /// Whether Stable Diffusion XL takes zeros for no prompt.
    let forcesZeros: Bool
    /// Whether Stable Diffusion XL's refiner is told how well an image is to look.
    let wantsAestheticsScore: Bool

    /// A latent consistency model, which is told the guidance scale and takes few steps.
    let isConsistencyModel: Bool
    /// Of the pipeline, unless it is told.
    let guidanceScale: Float

    init(_ index: JSONObject) throws {
        let pixels = ["DDPMPipeline", "DDIMPipeline"]
        let plain = [
            "StableDiffusion", "StableDiffusionImg2Img", "StableDiffusionInpaint", "StableDiffusionControlNet",
        ]
        let xl = plain.map { $0.replacingPrefix("StableDiffusion", by: "StableDiffusionXL") }
        let consistency = ["LatentConsistencyModel", "LatentConsistencyModelImg2Img"]
        let text = (plain + xl + consistency).map { "\($0)Pipeline" }
        let all = pixels + ["LDMPipeline"] + text
        let pipeline = try index.string("_class_name")
        guard all.contains(pipeline) else {
            throw index.error(
                "_class_name", expected: all.map { "\"\($0)\"" }.joined(separator: " or "), kind: .unsupported)
        }
        self.pipeline = pipeline
        isText = text.contains(pipeline)
        isXL = xl.contains { pipeline == "\($0)Pipeline" }
        isConsistencyModel = consistency.contains { pipeline == "\($0)Pipeline" }
        guidanceScale =
            !isText ? 1 : isConsistencyModel ? 8.5 : isXL && !pipeline.hasSuffix("InpaintPipeline") ? 5 : 7.5
        try Self.check(index, "unet", is: [isText ? "UNet2DConditionModel" : "UNet2DModel"])
        try Self.check(index, "scheduler", is: SchedulerKind.allCases.map(\.rawValue))
        if pixels.contains(pipeline) {
            autoencoder = nil
        } else {
            let (component, name) = isText ? ("vae", "AutoencoderKL") : ("vqvae", "VQModel")
            try Self.check(index, component, is: [name])
            autoencoder = component
        }
        var textEncoders: [String] = []
        if isText {
            // A folder may come without them: then prompts are handed in encoded.
            for component in isXL ? ["text_encoder", "text_encoder_2"] : ["text_encoder"]
            where try Self.exists(index, component) {
                // The second one makes the pooled text.
                let plain = component == "text_encoder" ? ["CLIPTextModel"] : []
                try Self.check(index, component, is: plain + ["CLIPTextModelWithProjection"])
                textEncoders.append(component)
            }
            // Beside images, not in their making: what looks for nudity, marks images, or reads an image as a prompt.
            for component in [
                "safety_checker", "requires_safety_checker", "feature_extractor", "image_encoder", "add_watermarker",
                "tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "controlnet",
            ] {
                _ = index.value(component)
            }
        }
        self.textEncoders = textEncoders
        forcesZeros = try isXL && index.bool("force_zeros_for_empty_prompt", default: true)
        wantsAestheticsScore = try isXL && index.bool("requires_aesthetics_score", default: false)
        if isXL, try index.bool("is_cosxl_edit", default: false) {
            throw index.error("is_cosxl_edit", expected: "false", kind: .unsupported)
        }
        try index.rejectUnknown()
    }

    /// Scheduler options that diffusers' pipeline sets whatever the scheduler's file says: early files had them wrong,
    /// or not at all.
    var schedulerCorrections: [String: JSONValue] {
        switch pipeline {
        case "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline":
            ["steps_offset": .integer(1), "clip_sample": .bool(false)]
        case "StableDiffusionInpaintPipeline": ["steps_offset": .integer(1), "skip_prk_steps": .bool(true)]
        default: [:]
        }
    }

    /// Whether the index names the component, and not as null.
    private static func exists(_ index: JSONObject, _ component: String) throws -> Bool {
        guard index.has(component) else { return false }
        return index.value(component) != .array([.null, .null])
    }

    /// A component's entry in model_index.json: [library, class].
    private static func check(_ index: JSONObject, _ component: String, is classes: [String]) throws {
        let entry = try index.strings(component, count: 2...2)
        guard classes.contains(entry[1]) else {
            throw index.error(
                component, expected: classes.map { "\"\($0)\"" }.joined(separator: " or "), kind: .unsupported)
        }
    }
}

extension String {
    /// The string with another prefix, if it has this one.
    func replacingPrefix(_ prefix: String, by other: String) -> String {
        hasPrefix(prefix) ? other + dropFirst(prefix.count) : self
    }
}
