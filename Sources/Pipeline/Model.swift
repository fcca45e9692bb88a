import Checkpoint
import Kernels
import Networks
import Sampling

/// A pretrained diffusion model that works on pixels: a UNet2DModel, its noise schedule and its scheduler's defaults.
/// Immutable; any number of threads may use it.
public final class Model: Sendable {
    public let unet: UNet2D
    public let schedulerConfig: SchedulerConfig
    public let schedulerKind: SchedulerKind
    /// Of scheduler_config.json, for other kinds.
    private let schedulerOptions: (members: [String: JSONValue], name: String)
    public let schedule: NoiseSchedule
    public let fingerprint: String
    public let parameterCount: Int
    /// Memory that the weights hold, and that filters kept transformed do.
    public let weightBytes, cacheBytes: Int
    /// Threads that one call may use.
    public let threads: Int
    /// For calls that have no session.
    public let idle = IdleWorkspace()

    public struct Options: Sendable {
        /// 0: as many as the process may use CPUs.
        public var threads: Int
        /// Memory that filters kept transformed may take.
        public var cacheBytes: Int

        public init(threads: Int = 0, cacheBytes: Int = 0) { (self.threads, self.cacheBytes) = (threads, cacheBytes) }
    }

    /// Opens a diffusers folder: model_index.json, unet/, scheduler/.
    public init(_ folder: Folder, _ options: Options = Options()) throws {
        threads = options.threads > 0 ? options.threads : usableCPUs
        let index = try JSONObject(folder, "model_index.json")
        let pipelines = ["DDPMPipeline", "DDIMPipeline"]
        let pipeline = try index.string("_class_name")
        guard pipelines.contains(pipeline) else {
            throw index.error(
                "_class_name", expected: pipelines.map { "\"\($0)\"" }.joined(separator: " or "), kind: .unsupported)
        }
        try Self.check(index, "unet", is: ["UNet2DModel"])
        try Self.check(index, "scheduler", is: SchedulerKind.allCases.map(\.rawValue))
        try index.rejectUnknown()

        let scheduler = try JSONObject(folder, "scheduler/scheduler_config.json", infinities: true)
        // DDIMPipeline turns whatever scheduler it gets into a DDIMScheduler.
        schedulerKind = pipeline == "DDIMPipeline" ? .ddim : try SchedulerKind(scheduler)
        schedulerConfig = try SchedulerConfig(scheduler, for: schedulerKind)
        schedulerOptions = (scheduler.members, scheduler.name)
        schedule = NoiseSchedule(schedulerConfig)

        let json = try JSONObject(folder, "unet/config.json")
        if json.has("_class_name"), try json.string("_class_name") != "UNet2DModel" {
            throw json.error("_class_name", expected: "\"UNet2DModel\"", kind: .unsupported)
        }
        let config = try UNet2DConfig(json)
        let learned = schedulerConfig.varianceType.isLearned
        guard config.outChannels == (learned ? 2 : 1) * config.inChannels else {
            throw json.error(
                "out_channels",
                expected: "\((learned ? 2 : 1) * config.inChannels): \(learned ? "twice" : "as many as") "
                    + "\"in_channels\" with the scheduler's variance_type \"\(schedulerConfig.varianceType.rawValue)\"")
        }
        let checkpoint = try CheckpointSource.open(folder, component: "unet")
        let counter = CountingSource(checkpoint, cacheBytes: options.cacheBytes)
        unet = try UNet2D(config, Weights(counter, threads: threads))
        try checkpoint.finish()
        (parameterCount, weightBytes, cacheBytes) = (counter.count, counter.bytes, counter.cachedBytes)
        fingerprint = try checkpoint.fingerprint()
    }

    /// A component's entry in model_index.json: [library, class].
    private static func check(_ index: JSONObject, _ component: String, is classes: [String]) throws {
        let entry = try index.strings(component, count: 2...2)
        guard classes.contains(entry[1]) else {
            throw index.error(
                component, expected: classes.map { "\"\($0)\"" }.joined(separator: " or "), kind: .unsupported)
        }
    }

    /// Of a sample.
    public var channels: Int { unet.config.inChannels }
    /// Of a prediction: twice `channels` if the variance is learned.
    public var predictionChannels: Int { unet.config.outChannels }

    /// The size that the model was trained at, or the smallest that its network takes if the config does not say.
    public var sampleSize: (height: Int, width: Int) {
        unet.config.sampleSize ?? (unet.config.sizeMultiple, unet.config.sizeMultiple)
    }

    /// A run's scheduler.
    ///   kind      nil for the model's own
    ///   steps     0 for the default of diffusers' pipelines
    ///   eta       DDIM's share of noise, 0...1
    ///   beginning   later than at the first step for image-to-image and inpainting
    ///   options   a JSON object of scheduler options by diffusers' names, before those of the model; nil: none
    public func scheduler(
        _ kind: SchedulerKind?, steps: Int, eta: Float, from beginning: Beginning = .first, options: String? = nil
    ) throws -> any Scheduler {
        let kind = kind ?? schedulerKind
        var (members, name) = schedulerOptions
        if let options {
            let given = try JSONObject(parsing: options, name: "scheduler options", infinities: true)
            members.merge(given.members) { $1 }
            name = given.name
        }
        if kind == schedulerKind, options == nil {
            return try kind.scheduler(schedulerConfig, schedule, steps: steps, eta: eta, from: beginning)
        }
        let config = try SchedulerConfig(JSONObject(.object(members), name: name), for: kind)
        guard config.varianceType.isLearned == schedulerConfig.varianceType.isLearned else {
            throw MCMError(
                .unsupported,
                "\(name): \"variance_type\" is \"\(config.varianceType.rawValue)\", expected one that "
                    + "\(schedulerConfig.varianceType.isLearned ? "is" : "is not") learned, as the model's")
        }
        return try kind.scheduler(config, NoiseSchedule(config), steps: steps, eta: eta, from: beginning)
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

    /// Throws `.incompatible` unless the module was made for predictions like this model's.
    ///   otherBase   accept a module that was trained on other weights
    public func check(_ modulator: Modulator, otherBase: Bool = false) throws {
        func fail(_ what: String, _ found: String, _ expected: String) -> MCMError {
            MCMError(.incompatible, "the module's \(what) is \(found), expected the model's \(expected)")
        }
        if modulator.predictionChannels != predictionChannels || predictionChannels != channels {
            throw fail(
                "number of prediction channels", "\(modulator.predictionChannels)",
                predictionChannels == channels
                    ? "\(predictionChannels)" : "\(predictionChannels), which include a learned variance")
        }
        guard let base = modulator.base else { return }
        if let type = base.predictionType, type != schedulerConfig.predictionType.rawValue {
            throw fail("prediction type", "\"\(type)\"", "\"\(schedulerConfig.predictionType.rawValue)\"")
        }
        if let baseChannels = base.channels, baseChannels != channels {
            throw fail("base's number of channels", "\(baseChannels)", "\(channels)")
        }
        if let other = base.fingerprint, other != fingerprint, !otherBase {
            throw fail("base's fingerprint", other, "\(fingerprint): it was trained on other weights")
        }
    }
}
