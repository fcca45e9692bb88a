import Images
import Kernels

/// What a run begins from beside noise.
struct Start {
    /// The image, (1 or batch, h, w, channels) of pixels in -1 ... 1; nil if the run begins from noise alone.
    var image: Tensor?
    /// What is to be painted: 1, what stays: 0, (1 or batch, h, w, 1) of pixels.
    var mask: Tensor?

    // What seeding makes of these, of the sample's size.
    fileprivate var original: Tensor?
    fileprivate var noise: Tensor?
    fileprivate var smallMask: Tensor?
    /// Mask and samples of the image without what is painted, for a network that reads them.
    fileprivate var extra: Tensor?

    /// What the network reads beside the sample.
    ///   copies  of the batch
    func context(copies: Int, in workspace: Workspace) throws -> Tensor? {
        guard let extra, copies > 1 else { return extra }
        let all = try Tensor(copies * extra.n, extra.h, extra.w, extra.c, in: workspace)
        for i in 0..<copies { (all.data + i * extra.count).update(from: extra.data, count: extra.count) }
        return all
    }

    /// Puts the image back where nothing is painted, with as much noise as the sample has.
    func keep(_ sample: Tensor, _ scales: (sample: Float, noise: Float)) {
        guard extra == nil, let original, let noise, let mask = smallMask else { return }
        for i in 0..<sample.count {
            let m = mask.data[i / sample.c]
            sample.data[i] =
                (1 - m) * (scales.sample * original.data[i] + scales.noise * noise.data[i]) + m * sample.data[i]
        }
    }
}

extension Session {
    /// Draws x_T and goes to the first step. One seed: one generator for the batch; else one per image.
    public func seed(_ seeds: [UInt64]) throws {
        try checkIdle()
        guard seeds.count == 1 || seeds.count == batch else {
            throw MCMError(.size, "\(seeds.count) seeds, expected 1 or the batch size \(batch)")
        }
        var fresh = seeds.map { Generator(seed: $0) }
        var begun = start
        try begin(&begun, &fresh, into: spare.sample)
        swap(&sample, &spare.sample)
        (hasOriginal, generators, step, start) = (false, fresh, 0, begun)
    }

    /// The first sample, drawn in the order of diffusers' image-to-image and inpainting pipelines.
    private func begin(_ start: inout Start, _ generators: inout [Generator], into x: Tensor) throws {
        try checkStart(start)
        // diffusers' inpainting begins from noise alone at full strength, and then only needs the image to keep it.
        let beginsFromNoise = start.image == nil || start.mask != nil && options.strength == 1
        (start.original, start.smallMask, start.extra) = (nil, nil, nil)
        if let image = start.image, !(beginsFromNoise && model.readsMask) {
            start.original = try encode(image, &generators)
        }
        let noise = try Tensor(batch, height, width, model.channels, in: store)
        try draw(&generators, into: noise)
        start.noise = start.mask == nil ? nil : noise
        if beginsFromNoise {
            let sigma = scheduler.initNoiseSigma
            for i in 0..<x.count { x.data[i] = noise.data[i] * sigma }
        } else if let original = start.original {
            let scales = scheduler.noiseScales(0)
            for i in 0..<x.count { x.data[i] = scales.sample * original.data[i] + scales.noise * noise.data[i] }
        }
        guard let mask = start.mask, let image = start.image else { return }
        let small = try Tensor(batch, height, width, 1, in: store)
        let r = model.reduction
        for i in 0..<small.count {
            let (n, y, column) = (i / small.stride, i % small.stride / width, i % width)
            small.data[i] = mask.data[(n % mask.n * mask.h + y * r) * mask.w + column * r]
        }
        start.smallMask = small
        let count = max(image.n, mask.n)
        guard model.readsMask else {
            // diffusers encodes the masked image all the same, so later draws are those after it.
            return _ = try encodingNoise(count, &generators)
        }
        let masked = try Tensor(count, image.h, image.w, image.c, in: workspace)
        for i in 0..<masked.count {
            let keeps = mask.data[i / masked.c % mask.count] < 0.5
            masked.data[i] = keeps ? image.data[i % image.count] : 0
        }
        start.extra = try concatenate([small, encode(masked, &generators)], in: store)
        start.original = nil
    }

    private func checkStart(_ start: Start) throws {
        if start.image == nil, options.strength != 1 {
            throw MCMError(.state, "the strength is \(options.strength), expected an image to begin from")
        }
        if start.image == nil, start.mask != nil { throw MCMError(.state, "a mask is set, but no image") }
        if start.mask == nil, model.readsMask {
            throw MCMError(.state, "the model paints in an image, expected an image and a mask")
        }
    }

    /// Samples of images in pixels, drawn from the latents' distribution if there is one.
    ///   image    (1 or batch, h, w, channels)
    ///   returns  (batch, height, width, channels)
    private func encode(_ image: Tensor, _ generators: inout [Generator]) throws -> Tensor {
        guard let latents = model.latents else { return try repeated(image, in: store) }
        let noise = try encodingNoise(image.n, &generators)
        let images = noise?.n ?? 1 > image.n ? try repeated(image, in: workspace) : image
        let samples = try latents.encode(images, noise: noise, tiling: options.tiling, in: workspace)
        return try repeated(samples, in: store)
    }

    /// What images are encoded by, as diffusers draws it: for each of them, or of the batch if each of it has a
    /// generator. nil if there is nothing to draw.
    private func encodingNoise(_ images: Int, _ generators: inout [Generator]) throws -> Tensor? {
        guard model.latents?.config.kind == .kl else { return nil }
        let noise = try Tensor(
            generators.count > 1 ? batch : images, height, width, model.channels, in: workspace)
        try draw(&generators, into: noise)
        return noise
    }

    /// One tensor for the batch from one for it or one for all: (1 or batch, h, w, c) to (batch, h, w, c).
    private func repeated(_ tensor: Tensor, in workspace: Workspace) throws -> Tensor {
        let all = try Tensor(batch, tensor.h, tensor.w, tensor.c, in: workspace)
        for k in 0..<batch { all.image(k).data.update(from: tensor.image(k % tensor.n).data, count: all.stride) }
        return all
    }

    /// A normal draw, in the order in which diffusers' randn_tensor draws (n, c, h, w).
    func draw(_ generators: inout [Generator], into noise: Tensor) throws {
        let order = try Tensor(noise.n, noise.h, noise.w, noise.c, in: workspace)
        let share = order.count / generators.count
        for i in generators.indices { generators[i].normal(into: order.data + i * share, count: share) }
        fromNCHW(order.data, into: noise)
    }

    // MARK: What is set before seeding

    /// Images to begin from: one for the batch or one per image, of the session's size. None: noise alone. An image for
    /// the batch is encoded once if there is one seed, and anew for each image if each has a seed.
    public func setImage(_ images: [ImageView]) throws {
        let (h, w) = imageSize
        start.image =
            images.isEmpty
            ? nil
            : try pixels(images, channels: model.imageChannels, height: h, width: w, "image") { 2 * $0 - 1 }
    }

    /// Masks of what is to be painted, 0 ... 1, from 1/2 on: one for the batch or one per image. None: all of it.
    public func setMask(_ masks: [ImageView]) throws {
        let (h, w) = imageSize
        start.mask =
            masks.isEmpty ? nil : try pixels(masks, channels: 1, height: h, width: w, "mask") { $0 < 0.5 ? 0 : 1 }
    }

    /// Images, one for the batch or one per image: (1 or batch, h, w, channels).
    func pixels(
        _ images: [ImageView], channels: Int, height h: Int, width w: Int, _ name: String, _ value: (Float) -> Float
    ) throws -> Tensor {
        guard images.count == 1 || images.count == batch else {
            throw MCMError(.size, "\(images.count) \(name)s, expected 1 or the batch size \(batch)")
        }
        if let other = images.first(where: { ($0.height, $0.width) != (h, w) }) {
            throw MCMError(.size, "the \(name) is \(other.width) x \(other.height), expected \(w) x \(h)")
        }
        return try tensor(
            of: images, channels: channels, name: name, mustBeIntensities: true, in: store, value: value)
    }

    /// What the model's network reads; negative nil: what it takes for none.
    public func setPrompt(_ prompt: Prompt, negative: Prompt? = nil) throws {
        try reading.set(prompt: prompt, negative: negative, batch: batch)
        forgetTexts()
    }

    /// batch * classInputSize numbers.
    public func setClassInput(_ values: [Float]) throws { try reading.set(classInput: values, batch: batch) }

    /// Stable Diffusion XL's original size, crop and target size: batch * timeIDCount numbers, with and without the
    /// prompt.
    public func setTimeIDs(_ values: [Float], negative: [Float]) throws {
        try reading.set(timeIDs: values, negative: negative, batch: batch)
    }
}
