import Images
import Kernels
import Networks
import Pipeline

/// What is learned from: n examples.
public struct Batch {
    let x0: Tensor  // (n, h, w, channels), in the model's sample space
    let planes: [Tensor?]  // per modality nil or (n, h, w, channels)

    public init(x0: Tensor, planes: [Tensor?]) { (self.x0, self.planes) = (x0, planes) }
}

extension Trainer {
    /// Examples from images in pixel space, all of one size, and their conditions.
    ///   conditions  of some modalities, one image per example
    public func batch(images: [ImageView], conditions: [(modality: String, images: [ImageView])]) throws -> Batch {
        guard let first = images.first else { throw MCMError(.size, "the batch is empty, expected at least one image") }
        let x0 = try Tensor(images.count, first.height, first.width, base.channels, in: workspace)
        let order = try Tensor(images.count, base.channels, first.height, first.width, in: workspace)
        try encode(images, channels: base.channels, mustBeIntensities: true, into: order.data)
        fromNCHW(order.data, into: x0)
        return Batch(x0: x0, planes: try planes(conditions, n: x0.n, h: x0.h, w: x0.w))
    }

    /// Examples in the model's sample space.
    ///   samples  (n, channels, h, w), finite
    public func batch(
        samples: UnsafePointer<Float>, n: Int, height: Int, width: Int,
        conditions: [(modality: String, images: [ImageView])]
    ) throws -> Batch {
        guard n > 0 else { throw MCMError(.size, "the batch is empty, expected at least one sample") }
        let x0 = try Tensor(n, height, width, base.channels, in: workspace)
        fromNCHW(samples, into: x0)
        return Batch(x0: x0, planes: try planes(conditions, n: n, h: height, w: width))
    }

    private func planes(
        _ conditions: [(modality: String, images: [ImageView])], n: Int, h: Int, w: Int
    ) throws -> [Tensor?] {
        var planes: [Tensor?] = modalities.map { _ in nil }
        for (name, images) in conditions {
            guard let m = modalities.firstIndex(where: { $0.name == name }) else {
                let known = modalities.map { "\"\($0.name)\"" }.joined(separator: ", ")
                throw MCMError(.incompatible, "the module has no modality \"\(name)\", it has \(known)")
            }
            guard planes[m] == nil else {
                throw MCMError(.invalidArgument, "modality \"\(name)\" is given twice")
            }
            guard images.count == n else {
                throw MCMError(.size, "\(images.count) images for modality \"\(name)\", expected one per example, \(n)")
            }
            let modality = modalities[m]
            let t = try Tensor(n, h, w, modality.channels, in: workspace)
            for (k, image) in images.enumerated() {
                do {
                    try encodeCondition(
                        image, encoding: modality.encoding, channels: modality.channels, resize: modality.resize,
                        width: w, height: h, into: t.image(k).data, pixelStride: modality.channels, name: name)
                } catch let error as MCMError where n > 1 {
                    throw MCMError(error.kind, "example \(k): \(error.message)")
                }
            }
            planes[m] = t
        }
        return planes
    }
}
