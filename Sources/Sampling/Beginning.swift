import Kernels

/// Where a run begins: from noise at the first step; from an image, as in image-to-image and inpainting, at a later
/// one, with as much noise as belongs there (`Scheduler.noiseScales`).
///
/// Strengths, 0...1, are doubles as in Python: in float32 10 * 0.7 is less than 7.
public enum Beginning: Sendable, Equatable {
    /// Without so many of the steps that were asked for.
    case step(Int)
    /// With int(steps * strength) steps left: get_timesteps of diffusers' image-to-image and inpainting pipelines.
    case strength(Double)
    /// With all steps, but spread over the first int(original_inference_steps * strength) timesteps of those that a
    /// latent consistency model was distilled at: LCMScheduler.set_timesteps(strength), which diffusers' pipelines for
    /// such models use in place of get_timesteps.
    case distilledStrength(Double)

    public static var first: Beginning { .step(0) }

    /// How many of `steps` steps are left out; at least one is left.
    public func stepsLeftOut(of steps: Int) throws -> Int {
        switch self {
        case .step(let begin):
            guard begin >= 0, begin < steps else {
                throw MCMError(.invalidArgument, "begins at step \(begin), expected 0 to \(steps - 1)")
            }
            return begin
        case .strength(let strength):
            let left = try Self.share(strength, of: steps)
            guard left > 0 else {
                throw MCMError(
                    .invalidArgument, "a strength of \(strength) leaves none of \(steps) steps, expected at least one")
            }
            return steps - left
        case .distilledStrength: return 0
        }
    }

    /// int(count * strength).
    static func share(_ strength: Double, of count: Int) throws -> Int {
        guard strength >= 0, strength <= 1 else {
            throw MCMError(.invalidArgument, "strength is \(strength), expected 0 to 1")
        }
        return strength == 1 ? count : Int(Double(count) * strength)  // less than 2^63
    }
}

/// `all` without the first `begin` steps.
func begun<T>(_ all: [T], at begin: Int) throws -> [T] {
    // Clipping can leave fewer steps than were asked for.
    guard begin >= 0, begin < all.count else {
        throw MCMError(.invalidArgument, "begins at step \(begin), but the run has only \(all.count)")
    }
    return Array(all.dropFirst(begin))
}
