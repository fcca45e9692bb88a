/// What a prediction says about x_0 and about the noise, by prediction type (Salimans and Ho 2022 for v).
public struct Prediction {
    let type: SchedulerConfig.PredictionType
    let rootAlpha, rootBeta: Float  // sqrt(abar_t), sqrt(1 - abar_t)

    public init(_ type: SchedulerConfig.PredictionType, alpha: Float) {
        self.type = type
        rootAlpha = alpha.squareRoot()
        rootBeta = (1 - alpha).squareRoot()
    }

    @inline(__always)
    func x0(_ x: Float, _ e: Float) -> Float {
        switch type {
        case .epsilon: (x - rootBeta * e) / rootAlpha
        case .sample: e
        case .vPrediction: rootAlpha * x - rootBeta * e
        }
    }

    @inline(__always)
    func epsilon(_ x: Float, _ e: Float) -> Float {
        switch type {
        case .epsilon: e
        case .sample: (x - rootAlpha * e) / rootBeta
        case .vPrediction: rootAlpha * e + rootBeta * x
        }
    }

    /// What a prediction should have been.
    @inline(__always)
    public func target(x0: Float, noise: Float) -> Float {
        switch type {
        case .epsilon: noise
        case .sample: x0
        case .vPrediction: rootAlpha * noise - rootBeta * x0
        }
    }
}

extension SchedulerConfig {
    /// Keeps x_0 in range, in place: dynamic thresholding (Saharia et al. 2022, Imagen) or clipping, if either is on.
    func limit(_ x0: UnsafeMutablePointer<Float>, batch: Int, count: Int) {
        if thresholding {
            let size = count / max(batch, 1)
            for image in 0..<batch { threshold(x0 + image * size, size) }
        } else if clipSample {
            let range = Float(clipSampleRange)
            for i in 0..<count { x0[i] = clamp(x0[i], range) }
        }
    }

    private func threshold(_ x0: UnsafeMutablePointer<Float>, _ count: Int) {
        let sorted = UnsafeBufferPointer(start: x0, count: count).map { abs($0) }.sorted()
        guard let largest = sorted.last, largest.isFinite else { return }
        // torch.quantile in float32, its interpolation fused.
        let rank = Float(dynamicThresholdingRatio) * Float(count - 1)
        let low = sorted[min(Int(rank), count - 1)], high = sorted[min(Int(rank) + 1, count - 1)]
        let t = rank - rank.rounded(.down)
        let quantile = t < 0.5 ? low.addingProduct(t, high - low) : high.addingProduct(-(high - low), 1 - t)
        let s = min(max(quantile, 1), Float(sampleMaxValue))
        for i in 0..<count { x0[i] = clamp(x0[i], s) / s }
    }

    /// NaN stays NaN.
    @inline(__always)
    private func clamp(_ x: Float, _ range: Float) -> Float { x < -range ? -range : x > range ? range : x }
}
