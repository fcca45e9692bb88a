/// How an image of another size becomes one of the sample's size.
public enum ResizeRule: String, Sendable, CaseIterable {
    /// The pixel under the centre; torch's "nearest-exact".
    case nearest
    /// The mean of the pixels that a target pixel touches; torch's "area".
    case area
    /// Linear interpolation; where the image shrinks, over as many pixels as fall together, which is torch's "bilinear"
    /// with antialias.
    case bilinear
}

/// The source pixels along one axis that make up one target pixel; their weights sum to 1.
struct Tap: Equatable {
    let first: Int
    let weights: [Double]
}

/// The taps of all pixels along an axis that goes from `count` to `target` pixels; both 1...65536.
func taps(_ rule: ResizeRule, from count: Int, to target: Int) -> [Tap] {
    (0..<target).map { i in
        switch rule {
        case .nearest:
            return Tap(first: (2 * i + 1) * count / (2 * target), weights: [1])
        case .area:
            let first = i * count / target
            let end = ((i + 1) * count + target - 1) / target
            return Tap(first: first, weights: Array(repeating: 1 / Double(end - first), count: end - first))
        case .bilinear:
            // A triangle of half-width max(scale, 1) around the centre, cut off at the edges.
            let scale = Double(count) / Double(target)
            let support = max(scale, 1)
            let center = (Double(i) + 0.5) * scale
            let first = max(Int(center - support + 0.5), 0)
            let end = min(Int(center + support + 0.5), count)
            let weights = (first..<end).map { max(0, 1 - abs(Double($0) + 0.5 - center) / support) }
            let sum = weights.reduce(0, +)
            return Tap(first: first, weights: weights.map { $0 / sum })
        }
    }
}

/// Resizes an image of interleaved channels, one row at a time, so that the size of the source does not matter.
///   width, height           of the source, 1...65536
///   targetWidth, -Height    of the result, 1...65536
///   row                     writes row y of the source, (width, channels), to the pointer
///   into                    receives (targetHeight, targetWidth, channels)
///   pixelStride             floats from pixel to pixel in the result, >= channels; rows follow without gaps
func resample(
    width: Int, height: Int, channels: Int, targetWidth: Int, targetHeight: Int, rule: ResizeRule,
    into target: UnsafeMutablePointer<Float>, pixelStride: Int, row: (Int, UnsafeMutablePointer<Float>) -> Void
) {
    let across = taps(rule, from: width, to: targetWidth)
    let down = taps(rule, from: height, to: targetHeight)
    let source = UnsafeMutablePointer<Float>.allocate(capacity: width * channels)
    let sums = UnsafeMutablePointer<Double>.allocate(capacity: targetWidth * channels)
    defer {
        source.deallocate()
        sums.deallocate()
    }
    for (y, vertical) in down.enumerated() {
        sums.update(repeating: 0, count: targetWidth * channels)
        for (k, weight) in vertical.weights.enumerated() {
            row(vertical.first + k, source)
            for (x, horizontal) in across.enumerated() {
                for channel in 0..<channels {
                    var sum = 0.0
                    for (j, weight) in horizontal.weights.enumerated() {
                        sum += weight * Double(source[(horizontal.first + j) * channels + channel])
                    }
                    sums[x * channels + channel] += weight * sum
                }
            }
        }
        for x in 0..<targetWidth {
            for channel in 0..<channels {
                target[(y * targetWidth + x) * pixelStride + channel] = Float(sums[x * channels + channel])
            }
        }
    }
}
