import Kernels

/// What the planes of a modality mean.
public enum ConditionEncoding: String, Sendable, CaseIterable {
    /// One plane, values in [0, 1]; of colours their luminance.
    case grey
    /// Three planes, values in [0, 1].
    case rgb
    /// One plane per class: 1 where the pixel is of that class, else 0.
    case oneHot = "one-hot"
}

/// Turns an image into the condition planes of one modality.
///   image           grey: 1 channel, or 3, whose luminance is taken; rgb: 3, or 1 for all three; one-hot: 1, whose
///                   values are class indices
///   channels        planes: 1, 3, or the number of classes
///   rule            if the image has another size; class indices are always resized by `.nearest`
///   width, height   of the result, 1...65536
///   into            receives (height, width, channels)
///   pixelStride     floats from pixel to pixel in the result, >= channels; rows follow without gaps
///   name            of the modality, for messages
/// The whole image is checked, also pixels that resizing skips. Errors: `.invalidArgument`; `.incompatible` if the
/// image does not fit the encoding.
public func encodeCondition(
    _ image: ImageView, encoding: ConditionEncoding, channels: Int, resize rule: ResizeRule, width: Int, height: Int,
    into target: UnsafeMutablePointer<Float>, pixelStride: Int, name: String
) throws {
    let title = "condition \"\(name)\""
    let sides = 1...ImageView.sizeLimit
    let planes = encoding == .grey ? 1 : encoding == .rgb ? 3 : max(1, channels)
    guard sides.contains(width), sides.contains(height), channels == planes, pixelStride >= channels else {
        throw MCMError(
            .invalidArgument,
            "\(title): \(channels) planes of \(width) x \(height) with pixel stride \(pixelStride) are impossible")
    }
    guard image.channels == 1 || (image.channels == 3 && encoding != .oneHot) else {
        throw MCMError(
            .incompatible,
            "\(title): an image of \(image.channels) channels, expected "
                + (encoding == .oneHot ? "1 of class indices" : "1 or 3"))
    }
    if encoding == .oneHot {
        try checkLabels(image, classes: channels, title)
        encodeLabels(image, classes: channels, width, height, target, pixelStride)
    } else {
        try checkIntensities(image, title)
        let isLuminance = image.channels > channels
        resample(
            width: image.width, height: image.height, channels: channels, targetWidth: width, targetHeight: height,
            rule: rule, into: target, pixelStride: pixelStride
        ) { y, row in
            for x in 0..<image.width {
                if isLuminance {
                    row[x] = image.luminance(y, x)
                } else {
                    for c in 0..<channels {
                        row[x * channels + c] = image.intensity(y, image.channels == 1 ? x : x * channels + c)
                    }
                }
            }
        }
    }
}

private func encodeLabels(
    _ image: ImageView, classes: Int, _ width: Int, _ height: Int, _ target: UnsafeMutablePointer<Float>,
    _ pixelStride: Int
) {
    let across = taps(.nearest, from: image.width, to: width)
    for (y, vertical) in taps(.nearest, from: image.height, to: height).enumerated() {
        for (x, horizontal) in across.enumerated() {
            let pixel = target + (y * width + x) * pixelStride
            pixel.update(repeating: 0, count: classes)
            pixel[Int(image.element(vertical.first, horizontal.first))] = 1  // checkLabels has seen it
        }
    }
}

private func checkLabels(_ image: ImageView, classes: Int, _ title: String) throws {
    for y in 0..<image.height {
        for x in 0..<image.width {
            let value = image.element(y, x)
            guard let label = Int(exactly: value), label >= 0, label < classes else {
                throw MCMError(
                    .incompatible,
                    "\(title): the pixel at x \(x), y \(y) is \(value), expected the index of one of "
                        + "\(classes) classes, 0 to \(classes - 1)")
            }
        }
    }
}

private func checkIntensities(_ image: ImageView, _ title: String) throws {
    guard image.dtype == .f32 else { return }
    for y in 0..<image.height {
        for i in 0..<image.width * image.channels {
            let value = image.element(y, i)
            guard value >= 0, value <= 1 else {
                throw MCMError(
                    .invalidArgument,
                    "\(title): the pixel at x \(i / image.channels), y \(y) is \(value), expected "
                        + "0 to 1")
            }
        }
    }
}
