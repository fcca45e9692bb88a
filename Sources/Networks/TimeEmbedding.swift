import Checkpoint
import Glibc
import Kernels

/// diffusers' `time_proj`: numbers to vectors.
enum TimeProjection {
    /// Sinusoids (Vaswani et al. 2017, as in DDPM).
    case positional(width: Int, flipSinToCos: Bool, freqShift: Double)
    /// Sinusoids of random frequencies of log t (GaussianFourierProjection, NCSN++).
    case fourier(frequencies: FloatBuffer)
    /// A table with a row per timestep.
    case learned(table: FloatBuffer, rows: Int, width: Int)

    var width: Int {
        switch self {
        case .positional(let width, _, _): width
        case .fourier(let frequencies): 2 * frequencies.count
        case .learned(_, _, let width): width
        }
    }

    /// Throws for a number that has no projection. `what` names it.
    func check(_ number: Float, _ what: String) throws {
        switch self {
        case .positional: break
        case .fourier:
            guard number > 0 else {
                throw MCMError(
                    .invalidArgument, "\(what) \(number) is not positive, and this network takes its logarithm")
            }
        case .learned(_, let rows, _):
            guard let index = Int(exactly: number), (0..<rows).contains(index) else {
                throw MCMError(.invalidArgument, "\(what) \(number) is not an integer from 0 to \(rows - 1)")
            }
        }
    }

    /// (n, 1, 1, width). `what` names the numbers in errors.
    func callAsFunction(_ numbers: [Float], _ what: String, in workspace: Workspace) throws -> Tensor {
        let out = try Tensor(numbers.count, 1, 1, width, in: workspace)
        for (i, number) in numbers.enumerated() {
            try check(number, what)
            let row = out.data + i * width
            switch self {
            case .positional(let width, let flip, let shift):
                positional(number, width, flip, shift, into: row)
            case .fourier(let frequencies):
                let x = Float(log(Double(number)))
                for (j, frequency) in frequencies.values.enumerated() {
                    let angle = Double(x * frequency * 2 * Float(Double.pi))
                    row[j] = Float(sin(angle))
                    row[frequencies.count + j] = Float(cos(angle))
                }
            case .learned(let table, _, let width):
                for j in 0..<width { row[j] = table.data[Int(number) * width + j] }
            }
        }
        if case .learned(let table, _, let width) = self {
            workspace.tape?.record(rows: numbers.map { Int($0) }, of: table, width: width, as: out)
        }
        return out
    }

    /// The frequencies are rounded as in diffusers, through float32: at t = 1000 one unit in their last place moves the
    /// sine by 3e-5. Exponential, sine and cosine are taken in double and rounded once.
    private func positional(
        _ t: Float, _ width: Int, _ flip: Bool, _ shift: Double, into row: UnsafeMutablePointer<Float>
    ) {
        let half = width / 2
        for j in 0..<half {
            let exponent = Float(-log(10000.0)) * Float(j) / Float(Double(half) - shift)
            let angle = Double(t * Float(exp(Double(exponent))))
            row[flip ? half + j : j] = Float(sin(angle))
            row[flip ? j : half + j] = Float(cos(angle))
        }
        if width % 2 == 1 { row[width - 1] = 0 }
    }
}

/// diffusers' TimestepEmbedding: linear, activation, linear.
struct TimestepEmbedding {
    private let condProj: Conv2D?
    private let linear1, linear2: Conv2D
    private let activation: Activation

    /// condition: numbers per image that are projected and added to the input; nil for none.
    init(
        _ weights: Weights, _ inputs: Int, _ width: Int, activation: Activation = .silu, condition: Int? = nil
    ) throws {
        linear1 = try weights.linear("linear_1", inputs, width)
        linear2 = try weights.linear("linear_2", width, width)
        condProj = try condition.map { try weights.linear("cond_proj", $0, inputs, bias: false) }
        self.activation = activation
    }

    /// x          (n, 1, 1, inputs)
    /// condition  (n, 1, 1, condition), or nil for zeros
    func callAsFunction(_ x: Tensor, condition: Tensor? = nil, in workspace: Workspace) throws -> Tensor {
        var x = x
        if let condProj, let condition { x = try conv2D(condition, condProj, residual: x, in: workspace) }
        return try conv2D(
            activate(conv2D(x, linear1, in: workspace), activation, in: workspace), linear2, in: workspace)
    }
}
