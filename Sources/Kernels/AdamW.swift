/// The optimiser's rule for one step (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019), as
/// PyTorch's AdamW does it.
public struct AdamW: Sendable {
    public var learningRate, beta1, beta2, epsilon, weightDecay: Float

    public init(learningRate: Float, beta1: Float, beta2: Float, epsilon: Float, weightDecay: Float) {
        (self.learningRate, self.beta1, self.beta2) = (learningRate, beta1, beta2)
        (self.epsilon, self.weightDecay) = (epsilon, weightDecay)
    }

    /// Changes parameters and both moments, each of `count` floats.
    ///   step      1 for the first
    ///   scale     what gradients are multiplied by first
    public func apply(
        _ parameters: UnsafeMutablePointer<Float>, _ gradients: UnsafePointer<Float>,
        _ first: UnsafeMutablePointer<Float>, _ second: UnsafeMutablePointer<Float>, count: Int, step: Int, scale: Float
    ) {
        let correction1 = 1 - power(beta1, step), correction2 = (1 - power(beta2, step)).squareRoot()
        let rate = Float(Double(learningRate) / correction1), root = Float(correction2)
        let keep = 1 - learningRate * weightDecay
        for i in 0..<count {
            let g = gradients[i] * scale
            let m = first[i] + (1 - beta1) * (g - first[i])
            let v = beta2 * second[i] + (1 - beta2) * g * g
            parameters[i] = keep * parameters[i] - rate * m / (v.squareRoot() / root + epsilon)
            (first[i], second[i]) = (m, v)
        }
    }

    private func power(_ base: Float, _ exponent: Int) -> Double {
        var result = 1.0, square = Double(base), exponent = exponent
        while exponent > 0 {
            if exponent & 1 == 1 { result *= square }
            square *= square
            exponent >>= 1
        }
        return result
    }
}

/// The square of the Euclidean norm, summed in double in a fixed order.
public func squaredNorm(_ x: UnsafePointer<Float>, count: Int) -> Double {
    var sums = SIMD8<Double>()
    var i = 0
    while i + 8 <= count {
        let v = SIMD8<Double>(UnsafeRawPointer(x + i).loadUnaligned(as: SIMD8<Float>.self))
        sums += v * v
        i += 8
    }
    var sum = sums.sum()
    for j in i..<count { sum += Double(x[j]) * Double(x[j]) }
    return sum
}

/// mean += (1 - decay) * (x - mean), element by element: an exponential moving average.
public func average(_ x: UnsafePointer<Float>, into mean: UnsafeMutablePointer<Float>, count: Int, decay: Float) {
    for i in 0..<count { mean[i] += (1 - decay) * (x[i] - mean[i]) }
}
