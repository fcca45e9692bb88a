import Checkpoint
import Images
import Kernels
import Pipeline
import TestSupport

/// The folders of latent_models.json without their weights: by name, contents by path.
func latentModels() throws -> [String: [String: JSONValue]] {
    let path = fixturesFolder + "latent_models.json"
    let json = try MappedFile(path: path).withBytes { try JSONValue(parsing: $0, name: path) }
    guard case .object(let models) = json else { throw MCMError(.format, "\(path): no models") }
    return try models.mapValues { try JSONObject($0, name: path).members }
}

/// The files of a model of latent_models.json with golden weights.
func latentFiles(_ name: String) throws -> TinyModel {
    guard let files = try latentModels()[name] else { throw MCMError(.invalidArgument, "no model \(name)") }
    return try TinyModel(files)
}

func latentModel(
    _ name: String, _ options: Model.Options = .init(threads: 1), change: (inout TinyModel) throws -> Void = { _ in }
) throws -> Model {
    var tiny = try latentFiles(name)
    try change(&tiny)
    return try tiny.withFolder { try Model($0, options) }
}

/// Pictures as make_latent.py draws them.
func withPictures<R>(
    _ count: Int, channels: Int, height: Int, width: Int, seed: Int, _ body: ([ImageView]) throws -> R
) throws -> R {
    let size = channels * height * width
    let values = randn(count * size, seed: UInt64(seed))
    var bytes = [UInt8](repeating: 0, count: values.count)
    for (i, value) in values.enumerated() {
        let (n, channel, pixel) = (i / size, i % size / (height * width), i % (height * width))
        let level = max(0, min(255, value * 60 + 128)).rounded(.toNearestOrEven)
        bytes[n * size + pixel * channels + channel] = UInt8(level)
    }
    return try bytes.withUnsafeBytes { bytes in
        try body(
            (0..<count).map {
                try ImageView(
                    data: bytes.baseAddress! + $0 * size, dtype: .u8, width: width, height: height, channels: channels,
                    name: "picture")
            })
    }
}

extension Session {
    ///   range  those that are set; nil: all
    func setPictures(_ count: Int, seed: Int, _ range: Range<Int>? = nil) throws {
        try withPictures(count, channels: 3, height: imageSize.height, width: imageSize.width, seed: seed) {
            try setImage(Array($0[range ?? 0..<count]))
        }
    }

    func setMasks(_ count: Int, seed: Int, _ range: Range<Int>? = nil) throws {
        try withPictures(count, channels: 1, height: imageSize.height, width: imageSize.width, seed: seed) {
            try setMask(Array($0[range ?? 0..<count]))
        }
    }

    /// Of all images, one after the other.
    var pictures: [UInt8] {
        get throws {
            var all: [UInt8] = []
            for i in 0..<batch {
                var image = [UInt8](repeating: 0, count: imageBytes)
                try decode(original: false, index: i, into: &image)
                all += image
            }
            return all
        }
    }

    func finish() throws { try run { _, _ in true } }
}
