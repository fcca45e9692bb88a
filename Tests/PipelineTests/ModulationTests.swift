import Checkpoint
import Kernels
import Networks
@testable import Pipeline
import TestSupport
import Testing

/// How modules meet a model: what fits, and how several compose.
@Suite struct ModulationTests {
    private let model: Model

    init() throws {
        model = try TinyModel(tensors: goldenTensors(TinyModel.unet)).withFolder { try Model($0, .init(threads: 1)) }
    }

    private func module(base: String = "{}", channels: Int = 1, seed: Float = 1) throws -> Modulator {
        let text = """
            {"net": {"block_out_channels": [4], "layers_per_block": 1, "norm_num_groups": 2, "add_attention": false,
                     "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]},
             "prediction_channels": \(channels), "scale_offset": \(seed),
             "modalities": [{"name": "sketch", "channels": 1}], "base": \(base)}
            """
        return try Modulator(JSONObject(JSONValue(parsing: text, name: "module"), name: "module"), GoldenWeights())
    }

    private func prediction(_ weights: [(Modulator, Float)]) throws -> [Float] {
        let session = try Session(model)
        for (module, weight) in weights {
            _ = try session.attach(module, weight: weight, window: .init(begin: 0, end: 1), otherBase: false)
        }
        try session.seed([3])
        // One step from x_T: the change of x is linear in the prediction, as long as x_0 is not clipped.
        var values = [Float](repeating: 0, count: session.count)
        try session.advance()
        try session.copySample(into: &values)
        return values
    }

    @Test func aModuleMustFitItsBase() throws {
        for (base, part) in [
            (#"{"prediction_type": "sample"}"#, "sample"), (#"{"channels": 3}"#, "3"),
            (#"{"fingerprint": "0123456789abcdef"}"#, "0123456789abcdef"),
        ] {
            #expect {
                try model.check(module(base: base))
            } throws: { error in
                (error as? MCMError)?.kind == .incompatible && "\(error)".contains(part)
            }
        }
        #expect(throws: MCMError.self) { try model.check(module(channels: 2)) }
        try model.check(module(base: #"{"fingerprint": "\#(model.fingerprint)", "prediction_type": "epsilon"}"#))
        try model.check(module(base: #"{"fingerprint": "0123456789abcdef"}"#), otherBase: true)
    }

    @Test func weightZeroIsAbsenceBitForBit() throws {
        #expect(try prediction([(module(), 0)]) == prediction([]))
        #expect(try prediction([(module(), 1)]) != prediction([]))
    }

    /// e' = e + sum of w_i (M_i - e): two halves of one module are the whole; modules add in the order of attachment.
    @Test func modulesComposeByTheirResiduals() throws {
        let m = try module()
        let whole = try prediction([(m, 0.5)]), halves = try prediction([(m, 0.25), (m, 0.25)])
        #expect(relativeError(halves, whole) < 1e-6)
        let other = try module(seed: 0.5)
        #expect(try relativeError(prediction([(m, 0.1), (other, 0.2)]), prediction([(other, 0.2), (m, 0.1)])) < 1e-6)
    }

    /// A bound computed as k / n in float, as a C host does, meets step k exactly.
    @Test func windowsMeetTheirSteps() throws {
        let zero: Float = 0
        for n in [3, 5, 6, 7, 10, 25, 49, 50, 1000] {
            for k in 0...n {
                let bound = Float(k) / Float(n)
                let first = try Session.Window(begin: zero, end: bound), last = try Session.Window(begin: bound, end: 1)
                #expect((0..<n).filter { first.contains($0, of: n) } == Array(0..<k))
                #expect((0..<n).filter { last.contains($0, of: n) } == Array(k..<n))
            }
        }
    }

    @Test func windowsCountStepsFromTheStart() throws {
        let m = try module()
        func run(begin: Float, end: Float, steps: Int) throws -> [[Float]] {
            var options = Session.Options()
            options.steps = steps
            let session = try Session(model, options)
            _ = try session.attach(m, weight: 1, window: .init(begin: begin, end: end), otherBase: false)
            try session.seed([5])
            return try (0..<steps).map { _ in
                try session.advance()
                var values = [Float](repeating: 0, count: session.count)
                try session.copySample(into: &values)
                return values
            }
        }
        let none = try run(begin: 0, end: 0, steps: 4), late = try run(begin: 0.5, end: 1, steps: 4)
        #expect(late[0] == none[0] && late[1] == none[1] && late[2] != none[2])
        #expect(throws: MCMError.self) { try Session.Window(begin: 0.5, end: 0.4) }
        #expect(throws: MCMError.self) { try Session.Window(begin: 0, end: .nan) }
    }
}
