import Kernels

/// One file with the tensors of all networks of a latent diffusion model, as its authors' programs write it (CompVis,
/// Stability AI): Stable Diffusion 1.x, 2.x and XL, and unconditional LDMs. Here each network's tensors get diffusers'
/// keys, so that they are read as from a diffusers folder.
public struct OriginalCheckpoint {
    public let unet, vae: CheckpointSource
    /// None for an unconditional model; two for Stable Diffusion XL, in diffusers' order.
    public let textEncoders: [CheckpointSource]

    /// Whether a file is one of these.
    public static func isOne(_ file: SafetensorsFile) -> Bool {
        file.info("model.diffusion_model.input_blocks.0.0.weight") != nil
    }

    /// Errors: `.format`.
    public init(_ file: SafetensorsFile) throws {
        let names = { (prefix: String) in
            file.names.lazy.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
        }
        func source(_ prefix: String, _ rename: (String) throws -> [Renamed]) throws -> CheckpointSource {
            let tensors = try names(prefix).flatMap { name in
                try rename(name).map { (key: $0.key, name: prefix + name, part: $0.part) }
            }
            return try CheckpointSource(file, tensors)
        }
        guard Self.isOne(file) else {
            throw MCMError(
                .format,
                "\(file.name): has no tensor \"model.diffusion_model.input_blocks.0.0.weight\", expected a checkpoint of "
                    + "Stable Diffusion or of a latent diffusion model in its original layout")
        }
        if file.info("edm_mean") != nil {
            throw MCMError(
                .unsupported,
                "\(file.name): has a tensor \"edm_mean\", as Playground 2.5, expected a checkpoint of Stable Diffusion XL"
            )
        }
        let unetNames = OriginalUNetNames(Array(names("model.diffusion_model.")))
        unet = try source("model.diffusion_model.") { try unetNames.rename($0, file.name) }
        let vaeNames = OriginalAutoencoderNames(Array(names("first_stage_model.")))
        vae = try source("first_stage_model.") { try vaeNames.rename($0, file.name) }
        textEncoders = try [
            "cond_stage_model.transformer.", "cond_stage_model.model.", "conditioner.embedders.0.transformer.",
            "conditioner.embedders.0.model.", "conditioner.embedders.1.model.",
        ].filter { names($0).first(where: { _ in true }) != nil }.map { prefix in
            guard prefix.hasSuffix("model.") else {
                return try source(prefix) { [Renamed(key: $0)] }  // is transformers' already
            }
            // Stable Diffusion 2.x uses all layers but the last, which diffusers' folders do not have.
            let text = OpenCLIPNames(Array(names(prefix)), dropsLastLayer: prefix.hasPrefix("cond_stage"))
            return try source(prefix) { try text.rename($0, file.name) }
        }
    }
}

/// A key of diffusers, and what part of the original tensor belongs to it.
struct Renamed: Equatable {
    let key: String
    var part = TensorPart.whole
}

/// A number at the head of what follows a prefix: "3.0.weight" -> (3, "0.weight").
func splitIndex(_ name: Substring) -> (index: Int, rest: Substring)? {
    let parts = name.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0].utf8.allSatisfy({ (48...57).contains($0) }), let index = Int(parts[0]),
        index < 1 << 20
    else { return nil }
    return (index, parts[1])
}

func unknownTensor(_ name: String, _ file: String) -> MCMError {
    MCMError(.format, "\(file): tensor \(quoted(name)) is surplus, expected no such tensor in the original layout")
}

/// The longest of `prefixes` replaced; nil if none fits. A prefix is whole parts between dots.
func replacingPrefix(_ name: Substring, _ prefixes: KeyValuePairs<String, String>) -> String? {
    for (old, new) in prefixes where name.hasPrefix(old + ".") { return new + name.dropFirst(old.count) }
    return nil
}
