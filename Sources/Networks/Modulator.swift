import Checkpoint
import Images
import Kernels

/// One kind of condition that a module follows.
public struct Modality: Sendable {
    public let name: String
    public let channels: Int  // planes
    public let encoding: ConditionEncoding
    public let resize: ResizeRule

    /// Names of encodings and resize rules are those of the module file (docs/format.md). A file that does not say is
    /// taken to be grey, RGB or one-hot by its number of planes.
    init(_ json: JSONObject) throws {
        name = try json.string("name")
        guard !name.isEmpty, name.utf8.count < 64 else {
            throw json.error("name", expected: "a name of 1 to 63 bytes")
        }
        channels = try json.int("channels", in: 1...4096)
        let guess: ConditionEncoding = channels == 1 ? .grey : channels == 3 ? .rgb : .oneHot
        encoding = try json.choice("encoding", default: guess)
        resize = try json.choice("resize", default: encoding == .oneHot ? .nearest : .area)
        if let planes = [.grey: 1, .rgb: 3][encoding], channels != planes {
            throw json.error("channels", expected: "\(planes) for \"\(encoding.rawValue)\"")
        }
        if encoding == .oneHot && resize != .nearest {
            throw json.error("resize", expected: "\"nearest\" for \"one-hot\": classes do not mix")
        }
        try json.rejectUnknown()
    }
}

/// A multimodal conditioning module (MCM, Ham et al. 2023): a small UNet that reads the sample x, the frozen network's
/// prediction e, the timestep and the conditions, and returns a scale g and a shift v for
///
///     e' = e * (scaleOffset + g) + v
///
/// Immutable; any number of threads may use it.
public final class Modulator: Sendable {
    /// The base model that a module was trained on, as far as its file says.
    public struct Base: Sendable {
        public let predictionType: String?
        public let channels: Int?
        public let fingerprint: String?
    }

    public let net: UNet2D
    public let modalities: [Modality]
    public let predictionChannels: Int
    public let base: Base?
    public let parameterCount: Int
    private let scaleOffset: Float
    private let presenceFlags: Bool

    /// Planes of the conditions, presence flags included.
    public var conditionChannels: Int {
        modalities.reduce(0) { $0 + $1.channels } + (presenceFlags ? modalities.count : 0)
    }

    /// Reads a module file.
    public convenience init(_ file: SafetensorsFile) throws {
        let config = try JSONObject(Self.config(of: file), name: "\(file.name): config")
        try self.init(config, CheckpointSource(file))
    }

    /// What a module file says that the module is.
    public static func config(of file: SafetensorsFile) throws -> JSONValue {
        for (key, expected) in [("format", "mcm"), ("version", "1")] where file.metadata[key] != expected {
            let found = file.metadata[key].map { "\"\($0)\"" } ?? "nothing"
            throw MCMError(.format, "\(file.name): metadata \"\(key)\" is \(found), expected \"\(expected)\"")
        }
        guard let text = file.metadata["config"] else {
            throw MCMError(.format, "\(file.name): metadata \"config\" is missing")
        }
        return try JSONValue(parsing: text, name: "\(file.name): config")
    }

    ///   threads  that may prepare the weights
    public init(_ json: JSONObject, _ source: any TensorSource, threads: Int = usableCPUs) throws {
        predictionChannels = try json.int("prediction_channels", in: 1...4096)
        scaleOffset = Float(try json.double("scale_offset", default: 1, in: -1e6...1e6))
        presenceFlags = try json.bool("presence_flags", default: true)
        modalities = try json.objects("modalities", count: 1...64).map { try Modality($0) }
        for (i, modality) in modalities.enumerated()
        where modalities[..<i].contains(where: { $0.name == modality.name }) {
            throw json.error("modalities", expected: "different names, found \"\(modality.name)\" twice")
        }
        base = try json.optionalObject("base").map { base in
            let types = ["epsilon", "sample", "v_prediction"]
            _ = base.value("sample_size")  // a note
            return Base(
                predictionType: try base.optionalString("prediction_type", oneOf: types),
                channels: try base.optionalInt("channels", in: 1...65536),
                fingerprint: try base.optionalString("fingerprint"))
        }
        let planes = modalities.reduce(0) { $0 + $1.channels } + (presenceFlags ? modalities.count : 0)
        let config = try UNet2DConfig(
            json.object("net"), channels: (in: 2 * predictionChannels + planes, out: 2 * predictionChannels))
        try json.rejectUnknown()
        let counter = CountingSource(source)
        net = try UNet2D(config, Weights(counter, threads: threads))
        try source.finish()
        parameterCount = counter.count
        if net.classInputSize != 0 {
            throw MCMError(.unsupported, "\(json.name): \"net\" takes a class input, which modules do not have")
        }
    }

    /// The planes that the network reads beside x and e: each modality's in the file's order, zeros where absent, then
    /// the flags.
    ///   planes   per modality nil or (n, h, w, channels)
    ///   isGiven  whether image i has modality m; planes of one that it has not are not looked at
    ///   returns  (n, h, w, conditionChannels)
    public func conditions(
        _ planes: [Tensor?], n: Int, h: Int, w: Int, in workspace: Workspace,
        isGiven: (_ image: Int, _ modality: Int) -> Bool = { _, _ in true }
    ) throws -> Tensor {
        let out = try Tensor(n, h, w, conditionChannels, in: workspace)
        out.buffer.update(repeating: 0)
        var channel = 0
        for (m, modality) in modalities.enumerated() {
            if let given = planes[m] {
                try require(
                    given.shape == (n, h, w, modality.channels), "a condition \(given.shape) for \(out.shape)")
                for image in 0..<n where isGiven(image, m) {
                    for pixel in (image * h * w)..<((image + 1) * h * w) {
                        (out.data + pixel * out.c + channel).update(
                            from: given.data + pixel * modality.channels, count: modality.channels)
                    }
                }
            }
            channel += modality.channels
        }
        if presenceFlags {
            for m in planes.indices where planes[m] != nil {
                for image in 0..<n where isGiven(image, m) {
                    for pixel in (image * h * w)..<((image + 1) * h * w) { out.data[pixel * out.c + channel + m] = 1 }
                }
            }
        }
        return out
    }

    /// What the module adds to the prediction: e' - e = e * (scaleOffset - 1 + g) + v. Zero, bit for bit, for a module
    /// whose last convolution is zero and whose scaleOffset is 1.
    ///   x, e        (n, h, w, predictionChannels)
    ///   conditions  (n, h, w, conditionChannels)
    public func residual(
        _ x: Tensor, _ e: Tensor, timesteps: [Float], conditions: Tensor, in workspace: Workspace
    ) throws -> Tensor {
        let input = try concatenate([x, e, conditions], in: workspace)
        let gv = try net(input, timesteps: timesteps, in: workspace)
        let c = predictionChannels
        let out = try Tensor(e.n, e.h, e.w, c, in: workspace)
        for pixel in 0..<(e.n * e.pixels) {
            for j in 0..<c {
                let i = pixel * c + j
                let g = gv.data[2 * pixel * c + j], v = gv.data[(2 * pixel + 1) * c + j]
                out.data[i] = e.data[i] * (scaleOffset - 1 + g) + v
            }
        }
        workspace.tape?.record(out) { gradient, tape, workspace in
            let scaled = try combine(gradient, e, in: workspace) { $0 * $1 }
            try tape.add(concatenate([scaled, gradient], in: workspace), to: gv, in: workspace)
        }
        return out
    }
}
