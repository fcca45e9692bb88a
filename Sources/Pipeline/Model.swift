import Checkpoint
import Kernels
import Networks
import Sampling

/// A pretrained diffusion model: its network, its noise schedule and its scheduler's defaults; if it works on latents, an
/// autoencoder; if it reads texts, their encoders. Immutable; any number of threads may use it.
public final class Model: Sendable {
    public let unet: any UNet
    /// nil if samples are images.
    let latents: LatentSpace?
    /// nil if it reads no text, or comes without what encodes it.
    let textEncoders: TextEncoders?
    let kind: ModelKind
    public let schedulerConfig: SchedulerConfig
    public let schedulerKind: SchedulerKind
    /// Of scheduler_config.json, for its own kind and for others.
    let schedulerOptions: (own: [String: JSONValue], others: [String: JSONValue], name: String)
    public let schedule: NoiseSchedule
    public let fingerprint: String
    /// Of the network.
    public let parameterCount: Int
    /// Of the network's weights, and of filters that it keeps transformed.
    private let unetMemory: (weights: Int, cache: Int)
    /// What rounding to 8 bits changed the network's weights by: ||rounded - exact|| / ||exact||, 0 without rounding.
    public let roundingError: Double
    /// Threads that one call may use.
    public let threads: Int
    /// For calls that have no session.
    public let idle = IdleWorkspace()

    public struct Options: Sendable {
        /// 0: as many as the process may use CPUs.
        public var threads: Int
        /// Memory that filters kept transformed may take.
        public var cacheBytes: Int
        /// Of the weights' file names, e.g. "fp16"; nil: the plain files, or those of any variant if there are no others.
        public var variant: String?
        /// For a model in one file: the folder of a tokenizer; nil: CLIP's own.
        public var tokenizer: String?
        /// For a model whose files do not say, or to overrule them.
        public var predictionType: SchedulerConfig.PredictionType?
        /// Whether large matrices become 8-bit integers.
        public var rounds = false
        /// Whether text encoders and autoencoder are made when they are needed, and let go afterwards.
        public var onDemand = false

        public init(threads: Int = 0, cacheBytes: Int = 0) { (self.threads, self.cacheBytes) = (threads, cacheBytes) }
    }

    /// Opens a diffusers folder, or a .safetensors file in the layout of the original programs.
    public convenience init(path: String, _ options: Options = Options()) throws {
        if isRegularFile(path) {
            try self.init(OriginalModelFile(path, tokenizer: options.tokenizer), options)
        } else {
            try self.init(.disk(path), options)
        }
    }

    /// Opens a diffusers folder: model_index.json and a folder for each component. In memory it may also be one file in
    /// the layout of the original programs.
    public convenience init(_ folder: Folder, _ options: Options = Options()) throws {
        if case .memory(let files) = folder {
            guard !options.onDemand else {
                throw MCMError(
                    .invalidArgument, "parts are to be made when they are needed, expected files on disk for that")
            }
            if files.count == 1, let (name, bytes) = files.first, name.hasSuffix(".safetensors") {
                let file = try SafetensorsFile(MemoryFile(borrowing: bytes), name: name)
                try self.init(OriginalModelFile(tokenizer: options.tokenizer) { file }, options)
                return
            }
        }
        try self.init(ModelFolder(folder, variant: options.variant), options)
    }

    init(_ files: any ModelFiles, _ options: Options) throws {
        try Self.check(threads: options.threads)
        threads = options.threads > 0 ? options.threads : usableCPUs
        let index = files.index
        let kind = try ModelKind(index)
        self.kind = kind

        let scheduler = try files.config("scheduler")
        // As in diffusers, the index names the class, whosever options the file has; and DDIMPipeline turns what it
        // gets into a DDIMScheduler.
        let named = try SchedulerKind(scheduler)
        schedulerKind =
            kind.pipeline == "DDIMPipeline"
            ? .ddim : SchedulerKind(rawValue: files.className("scheduler")) ?? named
        var members = scheduler.members
        if let type = options.predictionType { members["prediction_type"] = .string(type.rawValue) }
        let corrections = kind.schedulerCorrections, corrected = members.merging(corrections) { $1 }
        // As in diffusers, another class has what the file says, corrected, and else its own defaults.
        schedulerOptions = (corrected, corrected.filter { members[$0.key] != nil }, scheduler.name)
        schedulerConfig = try SchedulerConfig(JSONObject(.object(corrected), name: scheduler.name), for: schedulerKind)
        schedule = NoiseSchedule(schedulerConfig)

        var weights = WeightOptions(threads: threads, rounds: options.rounds)
        latents = try kind.autoencoder.map { component in
            let json = try files.config(component)
            try json.checkClass(is: kind.isText ? "AutoencoderKL" : "VQModel")
            let config = try AutoencoderConfig(json, kind: kind.isText ? .kl : .vq)
            return LatentSpace(
                config: config,
                autoencoder: try Self.part(files.weights(component), weights, options) { weights in
                    switch config.kind {
                    case .kl: try AutoencoderKL(config, weights)
                    case .vq: try VQModel(config, weights)
                    }
                })
        }
        textEncoders =
            try kind.textEncoders.isEmpty
            ? nil
            : TextEncoders(
                encoders: kind.textEncoders.map { try Self.textEncoder($0, files, weights, options) }, isXL: kind.isXL)

        weights.cacheBytes = options.cacheBytes
        let checkpoint = try files.weights("unet")()
        let json = try files.config("unet")
        try json.checkClass(is: kind.isText ? "UNet2DConditionModel" : "UNet2DModel")
        let loaded: Loaded<any UNet> =
            try kind.isText
            ? Loaded(checkpoint, weights) { try UNet2DCondition(UNet2DConditionConfig(json), $0) }
            : Loaded(checkpoint, weights) { try UNet2D(UNet2DConfig(json), $0) }
        unet = loaded.network
        sampleSize = Self.sampleSize(loaded.network.config, json, kind)
        (parameterCount, unetMemory) = (loaded.parameterCount, (loaded.bytes, loaded.cacheBytes))
        roundingError = loaded.squares.all > 0 ? (loaded.squares.error / loaded.squares.all).squareRoot() : 0
        fingerprint = try checkpoint.fingerprint()
        try checkChannels(json)
        try checkText(json)
    }

    static func check(threads: Int) throws {
        guard (0...256).contains(threads) else {
            throw MCMError(.invalidArgument, "options: threads is \(threads), expected 0 to 256")
        }
    }

    private static func part<Network>(
        _ checkpoint: @escaping @Sendable () throws -> CheckpointSource, _ weights: WeightOptions, _ options: Options,
        _ make: @escaping @Sendable (Weights) throws -> Network
    ) throws -> Part<Network> {
        if options.onDemand { return Part { try Loaded(checkpoint(), weights, make) } }
        return Part(try Loaded(checkpoint(), weights, make))
    }

    private static func textEncoder(
        _ component: String, _ files: any ModelFiles, _ weights: WeightOptions, _ options: Options
    ) throws -> TextEncoder {
        let json = try files.config(component)
        let config = try CLIPTextConfig(json)
        let tokenizer = try files.tokenizer(component.replacingPrefix("text_encoder", by: "tokenizer"))
        guard tokenizer.idCount <= config.vocabSize else {
            throw json.error("vocab_size", expected: "at least \(tokenizer.idCount), the tokenizer's number of ids")
        }
        guard tokenizer.maximumLength >= 3, config.maxPositionEmbeddings >= 3 else {
            throw json.error("max_position_embeddings", expected: "at least 3")
        }
        let hasProjection = files.className(component) == "CLIPTextModelWithProjection"
        return TextEncoder(
            config: config, tokenizer: tokenizer,
            network: try part(files.weights(component), weights, options) {
                try CLIPText(config, $0, hasProjection: hasProjection)
            }, hasProjection: hasProjection)
    }

    /// Memory that weights take now, and filters kept transformed.
    public var memory: (weights: Int, cache: Int) {
        var sum = unetMemory
        var parts = textEncoders?.encoders.map(\.network.memory) ?? []
        if let latents { parts.append(latents.autoencoder.memory) }
        for part in parts { sum = (sum.weights + part.weights, sum.cache + part.cache) }
        return sum
    }

    /// Of a sample.
    public var channels: Int { latents?.config.sampleChannels ?? unet.config.inChannels }
    /// Of a prediction: twice `channels` if the variance is learned.
    public var predictionChannels: Int { unet.config.outChannels }
    /// Pixels of an image per pixel of a sample, in each direction.
    public var reduction: Int { latents?.config.reduction ?? 1 }
    /// Whether samples are latents, and not images.
    public var isLatent: Bool { latents != nil }
    /// Of an image.
    public var imageChannels: Int { latents?.config.outChannels ?? channels }
    /// Whether its network reads a text.
    public var readsText: Bool { kind.isText }
    /// Whether its network reads a mask and a masked image beside the sample.
    public var readsMask: Bool { unet.config.inChannels > channels }

    /// The size of samples that the model was trained at, or the smallest that its network takes if the config does not
    /// say.
    public let sampleSize: (height: Int, width: Int)

    /// Files of Stable Diffusion older than diffusers 0.9 may say 32 where 64 is meant, as diffusers' pipelines know.
    private static func sampleSize(_ config: any UNetConfig, _ json: JSONObject, _ kind: ModelKind) -> (Int, Int) {
        let size = config.sampleSize ?? (config.sizeMultiple, config.sizeMultiple)
        guard kind.isText, !kind.isXL, size.height < 64, size.height == size.width,
            case .string(let version) = json.members["_diffusers_version"]
        else { return size }
        let numbers = version.split(separator: ".").map { Int($0) ?? 0 }
        return numbers.count > 1 && numbers[0] == 0 && numbers[1] < 9 ? (64, 64) : size
    }

    /// The number of floats in a batch of samples (or of predictions). Throws `.size` for a size that the network does
    /// not take, or that no machine holds.
    public func sampleCount(batch: Int, height: Int, width: Int, channels: Int? = nil) throws -> Int {
        try unet.checkSize(height: height, width: width)
        guard batch > 0, let count = checkedProduct([batch, height, width, channels ?? self.channels]),
            count <= 1 << 31
        else {
            throw MCMError(
                .size, "\(batch) samples of \(width) x \(height), expected at least one and at most 2^31 floats in all")
        }
        return count
    }
}
