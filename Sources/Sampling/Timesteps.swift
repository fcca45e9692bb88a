import Kernels

/// The timesteps of a run of `steps` steps, descending, as numpy gives them to diffusers (halves round to even).
func spacedTimesteps(_ config: SchedulerConfig, steps: Int) throws -> [Int] {
    let total = config.numTrainTimesteps
    try check(steps: steps, of: total)
    let timesteps: [Int]
    switch config.timestepSpacing {
    case .leading: timesteps = (0..<steps).reversed().map { $0 * (total / steps) + config.stepsOffset }
    case .linspace: timesteps = linspace(0, Double(total - 1), steps).reversed().map { rounded($0) }
    case .trailing: timesteps = trailing(from: total, by: Double(total) / Double(steps), steps)
    }
    return try checked(timesteps, config)
}

/// The same for the multistep solvers, whose last step ends at timestep 0 or where the offset is: of steps + 1
/// timesteps all but the last.
///   last   timesteps from this one on are left out
func multistepTimesteps(_ config: SchedulerConfig, steps: Int, last: Int) throws -> [Int] {
    let total = config.numTrainTimesteps
    try check(steps: steps, of: total)
    let timesteps: [Int]
    switch config.timestepSpacing {
    case .leading: timesteps = (1...steps).reversed().map { $0 * (last / (steps + 1)) + config.stepsOffset }
    case .linspace: timesteps = linspace(0, Double(last - 1), steps + 1).dropFirst().reversed().map { rounded($0) }
    case .trailing:
        let step = Double(total) / Double(steps)
        timesteps = trailing(from: last, by: step, max(0, min(steps, Int((Double(last) / step).rounded(.up)))))
    }
    return try checked(timesteps, config)
}

/// numpy.linspace: `n` numbers from `start` to `end`.
func linspace(_ start: Double, _ end: Double, _ n: Int) -> [Double] {
    let step = n > 1 ? (end - start) / Double(n - 1) : 0
    return (0..<n).map { i in i == n - 1 && n > 1 ? end : Double(i) * step + start }
}

private func rounded(_ t: Double) -> Int { Int(t.rounded(.toNearestOrEven)) }

/// numpy.arange(last, 0, -step) - 1, rounded; its step is the difference of its first two values.
private func trailing(from last: Int, by step: Double, _ count: Int) -> [Int] {
    let start = Double(last)
    let step = start - (start - step)
    return (0..<count).map { rounded(start - Double($0) * step) - 1 }
}

func check(steps: Int, of total: Int) throws {
    guard (1...total).contains(steps) else {
        throw MCMError(.invalidArgument, "\(steps) steps, expected 1 to the \(total) of training")
    }
}

func checked(_ timesteps: [Int], _ config: SchedulerConfig) throws -> [Int] {
    let total = config.numTrainTimesteps
    guard !timesteps.isEmpty, timesteps.allSatisfy({ (0..<total).contains($0) }) else {
        throw MCMError(
            .invalidArgument,
            "\(timesteps.count) steps with steps_offset \(config.stepsOffset) lead out of the \(total) timesteps "
                + "of training")
    }
    return timesteps
}
