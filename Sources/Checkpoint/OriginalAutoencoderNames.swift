/// The autoencoder of the original programs (model.py): `AutoencoderKL` and `VQModel`.
struct OriginalAutoencoderNames {
    private let decoderBlocks: Int

    init(_ names: [String]) {
        decoderBlocks =
            (names.lazy.compactMap { name in
                name.hasPrefix("decoder.up.") ? splitIndex(name.dropFirst(11))?.index : nil
            }.max() ?? -1) + 1
    }

    func rename(_ name: String, _ file: String) throws -> [Renamed] {
        if name.hasPrefix("loss.") { return [] }  // the discriminator of training
        for same in ["quant_conv.", "post_quant_conv.", "quantize."] where name.hasPrefix(same) {
            return [Renamed(key: name)]
        }
        let parts = name.split(separator: ".", maxSplits: 1)
        guard parts.count == 2, parts[0] == "encoder" || parts[0] == "decoder" else { throw unknownTensor(name, file) }
        let (half, rest) = (parts[0], parts[1])
        if let key = replacingPrefix(
            rest, ["conv_in": "conv_in", "norm_out": "conv_norm_out", "conv_out": "conv_out"])
        {
            return [Renamed(key: "\(half).\(key)")]
        }
        if let key = replacingPrefix(
            rest, ["mid.block_1": "mid_block.resnets.0", "mid.block_2": "mid_block.resnets.1"])
        {
            return [Renamed(key: "\(half).\(Self.resnet(key))")]
        }
        if rest.hasPrefix("mid.attn_1.") {
            return [Self.attention(rest.dropFirst(11), "\(half).mid_block.attentions.0")]
        }
        let side = half == "encoder" ? "down" : "up"
        guard rest.hasPrefix("\(side)."), let (i, inner) = splitIndex(rest.dropFirst(side.count + 1)) else {
            throw unknownTensor(name, file)
        }
        // The decoder's are counted from the image's side.
        let block = "\(half).\(side)_blocks.\(side == "up" ? decoderBlocks - 1 - i : i)"
        if let key = replacingPrefix(
            inner, ["downsample": "\(block).downsamplers.0", "upsample": "\(block).upsamplers.0"])
        {
            return [Renamed(key: key)]
        }
        if inner.hasPrefix("block."), let (j, tail) = splitIndex(inner.dropFirst(6)) {
            return [Renamed(key: Self.resnet("\(block).resnets.\(j).\(tail)"))]
        }
        if inner.hasPrefix("attn."), let (j, tail) = splitIndex(inner.dropFirst(5)) {
            return [Self.attention(tail, "\(block).attentions.\(j)")]
        }
        throw unknownTensor(name, file)
    }

    private static func resnet(_ key: String) -> String {
        let parts = key.split(separator: ".")
        guard parts.count > 1, parts[parts.count - 2] == "nin_shortcut" else { return key }
        return (parts.dropLast(2) + ["conv_shortcut", parts[parts.count - 1]]).joined(separator: ".")
    }

    /// Its products were 1 x 1 convolutions.
    private static func attention(_ name: Substring, _ prefix: String) -> Renamed {
        let key = replacingPrefix(
            name, ["norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"])
        return Renamed(key: "\(prefix).\(key ?? String(name))", part: .squeezed)
    }
}
