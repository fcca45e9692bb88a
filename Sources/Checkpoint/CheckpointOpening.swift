import Kernels

extension CheckpointSource {
    /// Opens the checkpoint of one component of a diffusers folder: `<component>/<base>.safetensors`, or the shards
    /// that `<component>/<base>.safetensors.index.json` lists; of a variant `<component>/<base>.<variant>.safetensors`.
    ///   component   folder of the component, e.g. "unet"; "" for the model folder itself
    ///   base        file name without extension
    ///   variant     e.g. "fp16"; nil for the plain files, or for those of a variant where there are no others
    /// Errors: `.io`, `.format`; `.unsupported` if there is only a pickle file.
    public static func open(
        _ folder: Folder, component: String, base: String = "diffusion_pytorch_model", variant: String? = nil
    ) throws -> CheckpointSource {
        let stem = component.isEmpty ? base : "\(component)/\(base)"
        for variant in variant.map({ [$0] }) ?? ["", "fp16", "bf16"] {
            let part = variant.isEmpty ? "" : ".\(variant)"
            let file = "\(stem)\(part).safetensors"
            if folder.exists(file) {
                return try CheckpointSource(SafetensorsFile(folder.open(file), name: folder.describe(file)))
            }
            // diffusers has written a variant's index under two names.
            for index in ["\(file).index.json", "\(stem).safetensors.index\(part).json"] where folder.exists(index) {
                return try open(folder, component: component, index: index)
            }
        }
        let file = "\(stem)\(variant.map { ".\($0)" } ?? "").safetensors"
        for pickle in ["\(stem).bin", "\(stem).bin.index.json", "\(stem).ckpt", "\(stem).pt", "\(stem).pth"]
        where folder.exists(pickle) {
            throw pickleError(folder.describe(pickle))
        }
        throw MCMError(.io, "\(folder.describe(file)): is missing, and so is its index of shards")
    }

    private static func open(_ folder: Folder, component: String, index: String) throws -> CheckpointSource {
        let object = try JSONObject(folder, index)
        let map = try object.object("weight_map")
        var keysOfShard: [String: Set<String>] = [:]
        for key in map.members.keys {
            let shard = try map.string(key)
            guard Folder.staysInside(shard), shard.hasSuffix(".safetensors") else {
                throw map.error(key, expected: "a .safetensors file inside the folder of the index")
            }
            keysOfShard[shard, default: []].insert(key)
        }
        let shards = try keysOfShard.sorted { $0.key < $1.key }.map { shard, keys in
            let path = component.isEmpty ? shard : "\(component)/\(shard)"
            let file = try SafetensorsFile(folder.open(path), name: folder.describe(path))
            if let missing = keys.subtracting(file.names).min() {
                throw MCMError(
                    .format, "\(file.name): tensor \(quoted(missing)) is missing, expected by \(object.name)")
            }
            if let surplus = file.names.first(where: { !keys.contains($0) }) {
                throw MCMError(.format, "\(object.name): does not list tensor \(quoted(surplus)) of \(file.name)")
            }
            return file
        }
        return try CheckpointSource(shards: shards, name: object.name)
    }
}

func pickleError(_ path: String) -> MCMError {
    MCMError(
        .unsupported,
        "\(path): is a pickle file, which can run code when opened, expected safetensors; python3 -m mcm.convert converts it"
    )
}
