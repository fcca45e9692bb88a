import Kernels
import Networks

/// A prediction from a sample and the timesteps of its images: x (n, h, w, c), n numbers, to e (n, h, w, c'). All that
/// a sampling loop knows of networks.
public typealias Denoiser = (_ x: Tensor, _ timesteps: [Float]) throws -> Tensor

/// The predictions with a prompt and with its negative.
typealias DenoiserPair = (_ x: Tensor, _ timesteps: [Float]) throws -> (conditional: Tensor, unconditional: Tensor)

/// The pretrained network alone.
///   context   channels that it reads beside the sample's: (n, h, w, c'')
///   controls  whose residuals it adds to its own
func unmodulated(
    _ unet: any UNet, _ inputs: UNetInputs, context: Tensor? = nil, controls: [ControlDenoiser] = [],
    in workspace: Workspace
) -> Denoiser {
    { x, t in
        var inputs = inputs
        for control in controls {
            let residuals = try control(x, t)
            inputs.control = try inputs.control?.adding(residuals, in: workspace) ?? residuals
        }
        let input = try context.map { try concatenate([x, $0], in: workspace) } ?? x
        return try unet(input, timesteps: t, inputs, in: workspace)
    }
}

/// Both predictions from one call of a denoiser that sees the batch twice, the unconditional half first.
func halves(of denoiser: @escaping Denoiser, in workspace: Workspace) -> DenoiserPair {
    { x, t in
        let twice = try Tensor(2 * x.n, x.h, x.w, x.c, in: workspace)
        for half in 0..<2 { (twice.data + half * x.count).update(from: x.data, count: x.count) }
        let e = try denoiser(twice, t + t)
        return (e.images(x.n..<2 * x.n), e.images(0..<x.n))
    }
}

/// Classifier-free guidance (Ho and Salimans 2022).
struct Guidance {
    /// s in e = e_u + s (e_c - e_u).
    var scale: Float
    /// How far the result gets e_c's standard deviation back (Lin et al. 2023, section 3.4), 0...1.
    var rescale: Float = 0
}

func guided(_ both: @escaping DenoiserPair, by guidance: Guidance, in workspace: Workspace) -> Denoiser {
    { x, t in
        let (conditional, unconditional) = try both(x, t)
        let e = try combine(unconditional, conditional, in: workspace) { $0 + guidance.scale * ($1 - $0) }
        guard guidance.rescale > 0 else { return e }
        let out = try Tensor(e.n, e.h, e.w, e.c, in: workspace)
        for i in 0..<e.n {
            let ratio = Float(deviation(conditional.image(i).buffer) / deviation(e.image(i).buffer))
            let (from, to) = (e.image(i).data, out.image(i).data)
            for j in 0..<e.stride {
                to[j] = guidance.rescale * (from[j] * ratio) + (1 - guidance.rescale) * from[j]
            }
        }
        return out
    }
}

/// Of a sample: with n - 1.
private func deviation(_ x: UnsafeMutableBufferPointer<Float>) -> Double {
    let mean = x.reduce(0.0) { $0 + Double($1) } / Double(x.count)
    let squares = x.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
    return (squares / Double(max(1, x.count - 1))).squareRoot()
}

/// A module at work: its conditions and its weight w.
public struct Modulation {
    let modulator: Modulator
    let conditions: Tensor  // (n, h, w, modulator.conditionChannels)
    let weight: Float
}

/// e' = e + sum_i w_i (M_i(x, e, t, y_i) - e): each module sees the same e.
public func modulated(_ denoiser: @escaping Denoiser, by modules: [Modulation], in workspace: Workspace) -> Denoiser {
    { x, t in try modulate(denoiser(x, t), x, t, by: modules, in: workspace) }
}

/// The same for the prediction with the prompt, before guidance.
func modulated(
    _ both: @escaping DenoiserPair, by modules: [Modulation], in workspace: Workspace
) -> DenoiserPair {
    { x, t in
        let (conditional, unconditional) = try both(x, t)
        return (try modulate(conditional, x, t, by: modules, in: workspace), unconditional)
    }
}

private func modulate(
    _ e: Tensor, _ x: Tensor, _ t: [Float], by modules: [Modulation], in workspace: Workspace
) throws -> Tensor {
    var sum = e
    for module in modules {
        let r = try module.modulator.residual(x, e, timesteps: t, conditions: module.conditions, in: workspace)
        sum = try combine(sum, r, in: workspace) { $0 + module.weight * $1 }
    }
    return sum
}
