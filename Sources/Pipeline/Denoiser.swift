import Kernels
import Networks

/// A prediction from a sample and the timesteps of its images: x (n, h, w, c), n numbers, to e (n, h, w, c'). All that
/// a sampling loop knows of networks.
public typealias Denoiser = (_ x: Tensor, _ timesteps: [Float]) throws -> Tensor

/// The pretrained network alone.
public func unmodulated(_ model: Model, classInput: [Float], in workspace: Workspace) -> Denoiser {
    { x, t in try model.unet(x, timesteps: t, classInput: classInput, in: workspace) }
}

/// A module at work: its conditions and its weight w.
public struct Modulation {
    let modulator: Modulator
    let conditions: Tensor  // (n, h, w, modulator.conditionChannels)
    let weight: Float
}

/// e' = e + sum_i w_i (M_i(x, e, t, y_i) - e): each module sees the same e.
public func modulated(_ denoiser: @escaping Denoiser, by modules: [Modulation], in workspace: Workspace) -> Denoiser {
    { x, t in
        let e = try denoiser(x, t)
        var sum = e
        for module in modules {
            let r = try module.modulator.residual(
                x, e, timesteps: t, conditions: module.conditions, in: workspace)
            sum = try combine(sum, r, in: workspace) { $0 + module.weight * $1 }
        }
        return sum
    }
}
