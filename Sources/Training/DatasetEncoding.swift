import Checkpoint
import Kernels
import Pipeline

extension Dataset {
    /// Writes a data set of the samples of this one's images, for a latent diffusion model: the means of their latents,
    /// encoded once. Conditions and prompts are taken over as they are.
    ///   progress  is told how many examples are done and returns whether to go on; if not, `.cancelled` is thrown and
    ///             nothing is written
    public func encode(_ model: Model, to path: String, progress: (_ done: Int, _ count: Int) -> Bool) throws {
        guard !isEncoded else {
            throw MCMError(.incompatible, "\(name): holds samples already, expected images")
        }
        guard channels == model.imageChannels else {
            throw MCMError(
                .incompatible, "\(name): images have \(channels) channels, expected the model's \(model.imageChannels)")
        }
        let scale = model.reduction
        guard height % scale == 0, width % scale == 0 else {
            throw MCMError(
                .size, "\(name): images are \(width) x \(height), expected multiples of \(scale) for the model")
        }
        let workspace = Workspace(threads: model.threads)
        let shape = [count, model.channels, height / scale, width / scale]
        try withoutActuallyEscaping(progress) { progress in
            let samples = SafetensorsWriter.Tensor(name: "samples", shape: shape) { [self] sink in
                for i in 0..<count {
                    let x = try withImages("images", [i]) { image in
                        do {
                            return try model.encode(image, mustBeIntensities: true, in: workspace)
                        } catch let error as MCMError where error.kind == .invalidArgument {
                            throw MCMError(.format, "\(name): example \(i): \(error.message)")
                        }
                    }
                    let order = try Tensor(1, x.c, x.h, x.w, in: workspace)
                    toNCHW(x, into: order.data)
                    try sink(UnsafeRawBufferPointer(order.buffer))
                    if !progress(i + 1, count) {
                        throw MCMError(.cancelled, "cancelled after example \(i + 1) of \(count)")
                    }
                }
            }
            let others = file.names.filter { $0 != "images" }.compactMap { tensor in
                file.info(tensor).map { info in
                    SafetensorsWriter.Tensor(name: tensor, shape: info.shape, dtype: info.dtype) { [file] sink in
                        try file.withBytes(tensor, 0..<info.range.count, sink)
                    }
                }
            }
            try SafetensorsWriter.write([samples] + others, to: path)
        }
    }
}
