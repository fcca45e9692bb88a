/// The UNet of the original programs (openaimodel.py): input, middle and output blocks in one row each.
struct OriginalUNetNames {
    /// Which block and layer of diffusers the i-th input or output block is; `isSampler` where the row ends a block.
    private struct Place {
        var block, layer: Int
        var isSampler = false
    }
    private let down, up: [Int: Place]
    private let names: Set<String>
    /// Of attention without text, whose queries, keys and values are one tensor, head by head.
    static let headChannels = 32

    /// Blocks have no numbers of their own: one ends with its downsampling, or upsampling, convolution.
    init(_ names: [String]) {
        self.names = Set(names)
        let all = self.names
        func rows(_ prefix: String) -> Int {
            (names.lazy.compactMap { name in
                name.hasPrefix(prefix) ? splitIndex(name.dropFirst(prefix.count))?.index : nil
            }.max() ?? -1) + 1
        }
        var down: [Int: Place] = [:], place = Place(block: 0, layer: 0)
        for i in 1..<max(1, min(rows("input_blocks."), 4096)) {
            place.isSampler = all.contains("input_blocks.\(i).0.op.weight")
            down[i] = place
            place =
                place.isSampler
                ? Place(block: place.block + 1, layer: 0) : Place(block: place.block, layer: place.layer + 1)
        }
        var up: [Int: Place] = [:]
        place = Place(block: 0, layer: 0)
        for i in 0..<min(rows("output_blocks."), 4096) {
            up[i] = place
            let ends = (1...2).contains { all.contains("output_blocks.\(i).\($0).conv.weight") }
            place = ends ? Place(block: place.block + 1, layer: 0) : Place(block: place.block, layer: place.layer + 1)
        }
        (self.down, self.up) = (down, up)
    }

    func rename(_ name: String, _ file: String) throws -> [Renamed] {
        let outer = replacingPrefix(
            name[...],
            [
                "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
                "label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2",
                "label_emb": "class_embedding", "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out",
                "out.2": "conv_out",
            ])
        if let outer { return [Renamed(key: outer)] }
        let parts = name.split(separator: ".", maxSplits: 1)
        guard parts.count == 2, let (row, rest) = splitIndex(parts[1]) else { throw unknownTensor(name, file) }
        switch parts[0] {
        case "input_blocks":
            guard let place = down[row], let (part, tail) = splitIndex(rest) else { break }
            let block = "down_blocks.\(place.block)"
            if place.isSampler, let key = replacingPrefix(tail, ["op": "\(block).downsamplers.0.conv"]) {
                return [Renamed(key: key)]
            }
            if part == 0, let key = Self.resnet(tail) {
                return [Renamed(key: "\(block).resnets.\(place.layer).\(key)")]
            }
            if part == 1 { return attention(tail, of: "\(parts[0]).\(row)", "\(block).attentions.\(place.layer)") }
        case "middle_block":
            if row == 1 { return attention(rest, of: "middle_block", "mid_block.attentions.0") }
            if row == 0 || row == 2, let key = Self.resnet(rest) {
                return [Renamed(key: "mid_block.resnets.\(row / 2).\(key)")]
            }
        case "output_blocks":
            guard let place = up[row], let (part, tail) = splitIndex(rest) else { break }
            let block = "up_blocks.\(place.block)"
            if part > 0, let key = replacingPrefix(tail, ["conv": "\(block).upsamplers.0.conv"]) {
                return [Renamed(key: key)]
            }
            if part == 0, let key = Self.resnet(tail) {
                return [Renamed(key: "\(block).resnets.\(place.layer).\(key)")]
            }
            if part == 1 { return attention(tail, of: "\(parts[0]).\(row)", "\(block).attentions.\(place.layer)") }
        default: break
        }
        throw unknownTensor(name, file)
    }

    private static func resnet(_ name: Substring) -> String? {
        replacingPrefix(
            name,
            [
                "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
                "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
            ])
    }

    /// A transformer has diffusers' own names; attention without text (AttentionBlock) has not.
    private func attention(_ name: Substring, of row: String, _ prefix: String) -> [Renamed] {
        guard names.contains("\(row).1.qkv.weight") else { return [Renamed(key: "\(prefix).\(name)")] }
        if name.hasPrefix("qkv.") {
            return ["to_q", "to_k", "to_v"].enumerated().map { k, key in
                Renamed(key: "\(prefix).\(key).\(name.dropFirst(4))", part: .slice(k, of: 3, rows: Self.headChannels))
            }
        }
        let key = replacingPrefix(name, ["norm": "group_norm", "proj_out": "to_out.0"])
        return [Renamed(key: "\(prefix).\(key ?? String(name))", part: .squeezed)]
    }
}
