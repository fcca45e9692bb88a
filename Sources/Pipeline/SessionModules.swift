import Images
import Kernels
import Networks

/// A module or a ControlNet that works in a session.
struct Attachment {
    let id: UInt32
    var kind: Kind
    var weight: Float
    var window: Session.Window

    enum Kind {
        case module(Conditions)
        case control(Control)
    }

    /// Throws unless it is a module.
    func conditions() throws -> Conditions {
        guard case .module(let conditions) = kind else {
            throw MCMError(.invalidArgument, "attachment \(id) is a ControlNet, which has no modalities")
        }
        return conditions
    }

    func isActive(_ step: Int, of steps: Int) -> Bool { weight != 0 && window.contains(step, of: steps) }
}

extension Session {
    /// Of the steps i of n, those with begin <= i / n < end. In Float on both sides, so that a bound computed as i / n
    /// meets its step.
    public struct Window {
        let begin, end: Float

        public init(begin: Float, end: Float) throws {
            guard begin >= 0, begin <= end, end <= 1 else {
                throw MCMError(
                    .invalidArgument, "the window is \(begin) to \(end), expected 0 <= begin <= end <= 1")
            }
            (self.begin, self.end) = (begin, end)
        }

        func contains(_ step: Int, of steps: Int) -> Bool {
            let share = Float(step) / Float(steps)
            return begin <= share && share < end
        }
    }

    /// Returns a number that names the attachment.
    public func attach(_ modulator: Modulator, weight: Float, window: Window, otherBase: Bool) throws -> UInt32 {
        try model.check(modulator, otherBase: otherBase)
        try modulator.net.checkSize(height: height, width: width)
        try Self.check(weight: weight)
        return try add(.module(Conditions(modulator, n: batch, h: height, w: width)), weight, window)
    }

    /// Returns a number that names the attachment.
    ///   images     what it follows, one for the batch or one per image
    ///   guessMode  diffusers' guess_mode
    public func attach(
        _ control: ControlNetModel, _ images: [ImageView], guessMode: Bool, weight: Float, window: Window
    ) throws -> UInt32 {
        try control.check(model)
        try control.net.checkSize(height: height, width: width)
        try Self.check(weight: weight)
        let scale = control.net.config.imageScale
        let pixels = try pixels(
            images, channels: control.net.config.conditioningChannels, height: scale * height, width: scale * width,
            "control image"
        ) { $0 }
        return try add(.control(Control(control, pixels: pixels, guessMode: guessMode)), weight, window)
    }

    private func add(_ kind: Attachment.Kind, _ weight: Float, _ window: Window) throws -> UInt32 {
        let (id, overflow) = lastID.addingReportingOverflow(1)
        if overflow { throw MCMError(.state, "the session has used up its attachment numbers") }
        lastID = id
        attachments.append(Attachment(id: id, kind: kind, weight: weight, window: window))
        return id
    }

    public func detach(_ id: UInt32) throws {
        attachments.remove(at: try index(id))
    }

    public func setWeight(_ id: UInt32, _ weight: Float) throws {
        let i = try index(id)
        try Self.check(weight: weight)
        attachments[i].weight = weight
    }

    public func setWindow(_ id: UInt32, _ window: Window) throws {
        attachments[try index(id)].window = window
    }

    public func setCondition(_ id: UInt32, _ modality: String, _ images: [ImageView]) throws {
        let i = try index(id)
        var conditions = try attachments[i].conditions()
        try conditions.set(modality, images, in: store)
        attachments[i].kind = .module(conditions)
    }

    /// The same for all images from a PNG file.
    public func setCondition(_ id: UInt32, _ modality: String, png path: String) throws {
        let conditions = try attachments[index(id)].conditions()
        let image = try PNG.read(path: path, as: conditions.modality(modality).encoding == .oneHot ? .grey : .opaque)
        do {
            try image.withView { try setCondition(id, modality, [$0]) }
        } catch let error as MCMError {
            throw MCMError(error.kind, "\(path): \(error.message)")
        }
    }

    /// nil: all modalities.
    public func clearCondition(_ id: UInt32, _ modality: String?) throws {
        let i = try index(id)
        var conditions = try attachments[i].conditions()
        if let modality { try conditions.clear(modality) } else { conditions.clearAll() }
        attachments[i].kind = .module(conditions)
    }

    private func index(_ id: UInt32) throws -> Int {
        guard let i = attachments.firstIndex(where: { $0.id == id }) else {
            throw MCMError(.invalidArgument, "the session has no attachment \(id)")
        }
        return i
    }

    static func check(weight: Float) throws {
        guard weight.isFinite else {
            throw MCMError(.invalidArgument, "the weight is \(weight), expected a finite number")
        }
    }

    /// The modules of the next step.
    func modulations() throws -> [Modulation] {
        try attachments.indices.compactMap { i in
            guard attachments[i].isActive(step, of: steps), case .module(var conditions) = attachments[i].kind else {
                return nil
            }
            let tensor = try conditions.tensor(in: store)
            attachments[i].kind = .module(conditions)
            return Modulation(
                modulator: conditions.modulator, conditions: tensor, weight: attachments[i].weight)
        }
    }

    /// The ControlNets of the next step.
    func controls(for told: Reading.Told) throws -> [ControlDenoiser] {
        try attachments.indices.compactMap { i in
            guard attachments[i].isActive(step, of: steps), case .control(var control) = attachments[i].kind,
                told.role != .negative || !control.isConditionalOnly
            else { return nil }
            let denoiser = try control.denoiser(
                for: told, scale: attachments[i].weight, store: store, in: workspace)
            attachments[i].kind = .control(control)
            return denoiser
        }
    }

    /// Whether a ControlNet of the next step acts on the prediction with the prompt alone.
    var hasConditionalControl: Bool {
        attachments.contains {
            guard case .control(let control) = $0.kind else { return false }
            return $0.isActive(step, of: steps) && control.isConditionalOnly
        }
    }

    /// After a change of prompts.
    func forgetTexts() {
        for i in attachments.indices {
            guard case .control(var control) = attachments[i].kind else { continue }
            control.forgetTexts()
            attachments[i].kind = .control(control)
        }
    }
}
