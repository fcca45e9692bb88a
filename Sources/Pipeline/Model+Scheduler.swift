import Checkpoint
import Kernels
import Sampling

extension Model {
    /// A run's scheduler.
    ///   kind      nil for the model's own
    ///   steps     0 for the default of diffusers' pipelines
    ///   eta       DDIM's share of noise, 0...1
    ///   beginning   later than at the first step for image-to-image and inpainting
    ///   options   a JSON object of scheduler options by diffusers' names, before those of the model; nil: none
    public func scheduler(
        _ kind: SchedulerKind?, steps: Int, eta: Float, from beginning: Beginning = .first, options: String? = nil
    ) throws -> any Scheduler {
        guard steps >= 0 else {
            throw MCMError(.invalidArgument, "steps is \(steps), expected at least 1, or 0 for the default")
        }
        let kind = kind ?? schedulerKind
        var (members, name) = (
            kind == schedulerKind ? schedulerOptions.own : schedulerOptions.others, schedulerOptions.name
        )
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
}
