import Glibc
import Kernels

/// How noise grows with the timestep: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise (Ho et al. 2020, eq. 4).
///
/// Computed in float32 in diffusers' order of operations: expressions such as 1 - abar_t / abar_s cancel, so the
/// rounding of abar shows in every image.
public struct NoiseSchedule: Sendable {
    /// abar_t for t in 0 ..< numTrainTimesteps; each in [0, 1].
    public let alphasCumprod: [Float]

    public init(_ config: SchedulerConfig) {
        var betas = Self.betas(config)
        if config.rescaleBetasZeroSNR { betas = Self.rescaledToZeroSNR(betas) }
        alphasCumprod = Self.cumulativeProduct(betas)
    }

    public init(alphasCumprod: [Float]) { self.alphasCumprod = alphasCumprod }

    public var numTrainTimesteps: Int { alphasCumprod.count }

    /// x_t from x_0 and noise.
    public func addNoise(
        _ x0: UnsafePointer<Float>, _ noise: UnsafePointer<Float>, timestep: Int, count: Int,
        into x: UnsafeMutablePointer<Float>
    ) {
        let a = alphasCumprod[timestep].squareRoot()
        let b = (1 - alphasCumprod[timestep]).squareRoot()
        for i in 0..<count { x[i] = a * x0[i] + b * noise[i] }
    }

    private static func betas(_ config: SchedulerConfig) -> [Float] {
        if let trained = config.trainedBetas { return trained.map { Float($0) } }
        let n = config.numTrainTimesteps
        switch config.betaSchedule {
        case .linear:
            return linspace(config.betaStart, config.betaEnd, n)
        case .scaledLinear:
            return linspace(config.betaStart.squareRoot(), config.betaEnd.squareRoot(), n).map { $0 * $0 }
        case .squaredcosCapV2:
            // Nichol and Dhariwal 2021, eq. 17.
            return betas(n) { t in
                let c = cos((t + 0.008) / 1.008 * Double.pi / 2)
                return c * c
            }
        case .exp:
            return betas(n) { t in Glibc.exp(-12 * t) }
        case .sigmoid:
            return linspace(-6, 6, n).map { x in
                Float(1 / (1 + exp(-Double(x)))) * Float(config.betaEnd - config.betaStart) + Float(config.betaStart)
            }
        }
    }

    /// From abar over 0...1, each beta at most 0.999.
    private static func betas(_ n: Int, _ abar: (Double) -> Double) -> [Float] {
        (0..<n).map { i in Float(min(1 - abar(Double(i + 1) / Double(n)) / abar(Double(i) / Double(n)), 0.999)) }
    }

    /// Algorithm 1 of Lin et al. 2023: shifts and scales sqrt(abar) so that the last one is zero.
    private static func rescaledToZeroSNR(_ betas: [Float]) -> [Float] {
        var roots = cumulativeProduct(betas).map { $0.squareRoot() }
        guard let first = roots.first, let last = roots.last else { return betas }
        let scale = first / (first - last)
        for i in roots.indices { roots[i] = (roots[i] - last) * scale }
        let abar = roots.map { $0 * $0 }
        return abar.indices.map { i in 1 - (i == 0 ? abar[0] : abar[i] / abar[i - 1]) }
    }

    /// Products of 1 - beta, accumulated in double as torch does.
    private static func cumulativeProduct(_ betas: [Float]) -> [Float] {
        var product = 1.0
        return betas.map { beta in
            product *= Double(1 - beta)
            return Float(product)
        }
    }

    /// torch.linspace in float32: each half is counted from its own end.
    static func linspace(_ start: Double, _ end: Double, _ n: Int) -> [Float] {
        let a = Float(start), b = Float(end)
        if n == 1 { return [a] }
        let step = (b - a) / Float(n - 1)
        return (0..<n).map { i in
            i < n / 2 ? a.addingProduct(step, Float(i)) : b.addingProduct(-step, Float(n - 1 - i))
        }
    }
}
