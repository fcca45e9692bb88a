import Kernels

/// The timesteps of a run of `steps` steps, descending, as numpy gives them to diffusers (halves round to even).
func spacedTimesteps(_ config: SchedulerConfig, steps: Int) throws -> [Int] {
    let total = config.numTrainTimesteps
    guard (1...total).contains(steps) else {
        throw MCMError(.invalidArgument, "\(steps) steps, expected 1 to the \(total) of training")
    }
    let timesteps: [Int]
    switch config.timestepSpacing {
    case .leading:
        timesteps = (0..<steps).reversed().map { $0 * (total / steps) + config.stepsOffset }
    case .linspace:
        let step = steps > 1 ? Double(total - 1) / Double(steps - 1) : 0
        timesteps = (0..<steps).reversed().map { i in
            i == steps - 1 && steps > 1 ? total - 1 : Int((Double(i) * step).rounded(.toNearestOrEven))
        }
    case .trailing:
        // numpy.arange's step is the difference of its first two values.
        let start = Double(total)
        let step = start - (start - start / Double(steps))
        timesteps = (0..<steps).map { Int((start - Double($0) * step).rounded(.toNearestOrEven)) - 1 }
    }
    guard let first = timesteps.first, first < total, timesteps.allSatisfy({ $0 >= 0 }) else {
        throw MCMError(
            .invalidArgument,
            "\(steps) steps with steps_offset \(config.stepsOffset) lead out of the \(total) timesteps "
                + "of training")
    }
    return timesteps
}
