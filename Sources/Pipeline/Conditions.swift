import Images
import Kernels
import Networks

/// What one module is to follow, in the form in which its network reads it.
struct Conditions {
    let modulator: Modulator
    private let n, h, w: Int
    private var planes: [Tensor?]  // per modality, (n, h, w, channels), nil if absent
    private var joined: Tensor?  // made when first needed after a change

    /// All modalities absent, for n samples of h x w.
    init(_ modulator: Modulator, n: Int, h: Int, w: Int) {
        self.modulator = modulator
        (self.n, self.h, self.w) = (n, h, w)
        planes = modulator.modalities.map { _ in nil }
    }

    /// Sets one modality. images: one for all samples, or one per sample.
    mutating func set(_ name: String, _ images: [ImageView], in workspace: Workspace) throws {
        let i = try index(name)
        let modality = modulator.modalities[i]
        guard images.count == 1 || images.count == n else {
            throw MCMError(.size, "\(images.count) images for modality \"\(name)\", expected 1 or the batch size \(n)")
        }
        let t = try Tensor(n, h, w, modality.channels, in: workspace)
        for (k, image) in images.enumerated() {
            try encodeCondition(
                image, encoding: modality.encoding, channels: modality.channels, resize: modality.resize, width: w,
                height: h,
                into: t.data + k * t.stride, pixelStride: modality.channels, name: name)
        }
        for k in images.count..<n { (t.data + k * t.stride).update(from: t.data, count: t.stride) }
        planes[i] = t
        joined = nil
    }

    mutating func clear(_ name: String) throws {
        planes[try index(name)] = nil
        joined = nil
    }

    mutating func clearAll() {
        planes = planes.map { _ in nil }
        joined = nil
    }

    /// (n, h, w, modulator.conditionChannels).
    mutating func tensor(in workspace: Workspace) throws -> Tensor {
        if let joined { return joined }
        let t = try modulator.conditions(planes, n: n, h: h, w: w, in: workspace)
        joined = t
        return t
    }

    func modality(_ name: String) throws -> Modality { modulator.modalities[try index(name)] }

    private func index(_ name: String) throws -> Int {
        guard let i = modulator.modalities.firstIndex(where: { $0.name == name }) else {
            let known = modulator.modalities.map { "\"\($0.name)\"" }.joined(separator: ", ")
            throw MCMError(.incompatible, "the module has no modality \"\(name)\", it has \(known)")
        }
        return i
    }
}
