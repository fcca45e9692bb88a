import Checkpoint
import Kernels
import Networks
import Pipeline
import Sampling
import TestSupport
import Testing

@Suite struct SolverTests {
    /// Sessions of the bundled model end where diffusers' loop ends, with each of the schedulers.
    @Test func samplesEqualDiffusers() throws {
        let fixture = try Fixture("solver_pipelines")
        let model = try Model(.disk(repository + "examples/fashion/base"))
        for c in fixture.cases {
            let name = try c.string("name"), options = try c.object("options").members
            var session = Session.Options()
            session.batch = 2
            session.scheduler = SchedulerKind(rawValue: try c.string("class"))
            session.steps = try c.int("steps")
            session.schedulerOptions = "{" + options.map { "\"\($0)\": \($1)" }.joined(separator: ", ") + "}"
            let run = try Session(model, session)
            try run.seed([UInt64(c.int("seed"))])
            try run.run { _, _ in true }
            // Where LCM begins, x_0 is the difference of numbers twenty thousand times as large.
            #expect(
                try relativeError(run.sampleValues, fixture.tensor(name)) <= (name == "lcm" ? 2e-3 : 1e-4), "\(name)")
        }
    }

    private func open(_ scheduler: String) throws -> Model {
        var tiny = try TinyModel(tensors: goldenTensors(TinyModel.unet))
        tiny["scheduler/scheduler_config.json"] = scheduler
        let kind = try JSONObject(parsing: scheduler, name: "scheduler", infinities: true).string("_class_name")
        tiny["model_index.json"] = tiny["model_index.json"].replacing("DDIMPipeline", with: "DDPMPipeline")
            .replacing("DDIMScheduler", with: kind)
        return try tiny.withFolder { try Model($0, .init(threads: 1)) }
    }

    @Test(arguments: SchedulerKind.allCases) func aFolderMayNameAnyScheduler(kind: SchedulerKind) throws {
        let model = try open(#"{"_class_name": "\#(kind.rawValue)", "lambda_min_clipped": -Infinity}"#)
        #expect(model.schedulerKind == kind)
        let session = try Session(model)
        try session.seed([1])
        try session.advance()
    }

    /// What a file leaves open is the default of the class that is used, not of the one that the file names.
    @Test func defaultsAreThoseOfTheClass() throws {
        let model = try open(#"{"_class_name": "PNDMScheduler", "skip_prk_steps": true, "steps_offset": 1}"#)
        #expect(model.schedulerConfig.timestepSpacing == .leading && !model.schedulerConfig.setAlphaToOne)
        #expect(try model.scheduler(nil, steps: 10, eta: 0).timesteps.prefix(3) == [901, 801, 801])
        #expect(try model.scheduler(.euler, steps: 10, eta: 0).timesteps.first == 999)  // linspace
        let spaced = try model.scheduler(.euler, steps: 10, eta: 0, options: #"{"timestep_spacing": "leading"}"#)
        #expect(spaced.timesteps.first == 901)
    }

    /// A step that fails, here for a weight that is too large, leaves the history as it was too.
    @Test(arguments: SchedulerKind.allCases) func aFailedStepChangesNothing(kind: SchedulerKind) throws {
        let model = try open(#"{"_class_name": "\#(kind.rawValue)", "clip_sample": false}"#)
        let text = """
            {"net": {"block_out_channels": [16], "layers_per_block": 1, "norm_num_groups": 2, "add_attention": false,
                     "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]},
             "prediction_channels": 1, "modalities": [{"name": "sketch", "channels": 1}]}
            """
        let module = try Modulator(JSONObject(parsing: text, name: "module"), GoldenWeights())
        var options = Session.Options()
        options.steps = 6
        let (smooth, rough) = (try Session(model, options), try Session(model, options))
        let id = try rough.attach(module, weight: 0, window: .init(begin: 0, end: 1), otherBase: false)
        for session in [smooth, rough] { try session.seed([3]) }
        for _ in 0..<smooth.steps {
            try smooth.advance()
            try rough.setWeight(id, 3e38)
            #expect(throws: MCMError.self) { try rough.advance() }
            try rough.setWeight(id, 0)
            try rough.advance()
            #expect(try sameBits(smooth.sampleValues, rough.sampleValues))
        }
    }
}
