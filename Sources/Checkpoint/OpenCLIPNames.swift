/// The text encoder of OpenCLIP, which Stable Diffusion 2.x and XL have.
struct OpenCLIPNames {
    private let layers: Int

    /// dropsLastLayer: whether a layer at the end is not used, unless the file was made of a diffusers folder, which does
    ///                 not have it
    init(_ names: [String], dropsLastLayer: Bool) {
        let last = names.lazy.compactMap { name in
            name.hasPrefix(Self.layer) ? splitIndex(name.dropFirst(Self.layer.count))?.index : nil
        }.max()
        let count = (last ?? -1) + 1
        layers = dropsLastLayer && count != Self.used ? max(0, count - 1) : count
    }

    private static let layer = "transformer.resblocks."
    /// Layers that Stable Diffusion 2 uses of 24.
    private static let used = 23

    func rename(_ name: String, _ file: String) throws -> [Renamed] {
        switch name {
        case "logit_scale", "attn_mask": return []
        case "token_embedding.weight": return [Renamed(key: "text_model.embeddings.token_embedding.weight")]
        case "positional_embedding": return [Renamed(key: "text_model.embeddings.position_embedding.weight")]
        case "text_projection": return [Renamed(key: "text_projection.weight", part: .transposed)]
        case "text_projection.weight": return [Renamed(key: name)]
        default: break
        }
        if let key = replacingPrefix(name[...], ["ln_final": "text_model.final_layer_norm"]) {
            return [Renamed(key: key)]
        }
        guard name.hasPrefix(Self.layer), let (i, rest) = splitIndex(name.dropFirst(Self.layer.count)) else {
            throw unknownTensor(name, file)
        }
        if i >= layers { return [] }
        let prefix = "text_model.encoder.layers.\(i)"
        for parameter in ["weight", "bias"] where rest == "attn.in_proj_\(parameter)" {
            return ["q_proj", "k_proj", "v_proj"].enumerated().map { k, key in
                Renamed(key: "\(prefix).self_attn.\(key).\(parameter)", part: .slice(k, of: 3))
            }
        }
        let key = replacingPrefix(
            rest,
            [
                "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
                "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
            ])
        guard let key else { throw unknownTensor(name, file) }
        return [Renamed(key: "\(prefix).\(key)")]
    }
}
