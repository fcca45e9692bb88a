import Images
import Kernels
import Networks

/// A module that works in a session.
struct Attachment {
    let id: UInt32
    var conditions: Conditions
    var weight: Float
    var window: Session.Window
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
        let (id, overflow) = lastID.addingReportingOverflow(1)
        if overflow { throw MCMError(.state, "the session has used up its attachment numbers") }
        lastID = id
        attachments.append(
            Attachment(
                id: id, conditions: Conditions(modulator, n: batch, h: height, w: width), weight: weight,
                window: window))
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
        try attachments[index(id)].conditions.set(modality, images, in: store)
    }

    /// The same for all images from a PNG file.
    public func setCondition(_ id: UInt32, _ modality: String, png path: String) throws {
        let conditions = attachments[try index(id)].conditions
        let image = try PNG.read(path: path, as: conditions.modality(modality).encoding == .rgb ? .rgb : .grey)
        do {
            try image.withView { try setCondition(id, modality, [$0]) }
        } catch let error as MCMError {
            throw MCMError(error.kind, "\(path): \(error.message)")
        }
    }

    /// nil: all modalities.
    public func clearCondition(_ id: UInt32, _ modality: String?) throws {
        let i = try index(id)
        if let modality { try attachments[i].conditions.clear(modality) } else { attachments[i].conditions.clearAll() }
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
        var modules: [Modulation] = []
        for i in attachments.indices
        where attachments[i].weight != 0 && attachments[i].window.contains(step, of: steps) {
            modules.append(
                Modulation(
                    modulator: attachments[i].conditions.modulator,
                    conditions: try attachments[i].conditions.tensor(in: store), weight: attachments[i].weight))
        }
        return modules
    }
}
