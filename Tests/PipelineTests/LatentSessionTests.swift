import Images
import Kernels
import Pipeline
import TestSupport
import Testing

/// Sessions of latent and text models that fail are as they were.
@Suite struct LatentSessionTests {
    private func expect<R>(
        _ kind: MCMError.Kind, _ part: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> R
    ) {
        do {
            _ = try body()
            Issue.record("nothing was thrown", sourceLocation: sourceLocation)
        } catch let error as MCMError {
            #expect(
                error.kind == kind && error.message.contains(part) && !error.message.contains("\n"),
                "\(error.kind): \(error.message)", sourceLocation: sourceLocation)
        } catch {
            Issue.record(error, sourceLocation: sourceLocation)
        }
    }

    private func options(strength: Double = 1, batch: Int = 2) -> Session.Options {
        var options = Session.Options()
        (options.batch, options.height, options.width, options.steps) = (batch, 16, 16, 4)
        options.strength = strength
        return options
    }

    private func picture<R>(
        _ height: Int, _ width: Int, _ channels: Int, count: Int = 1, fill: Float = 0.5,
        _ body: ([ImageView]) throws -> R
    ) throws -> R {
        let values = [Float](repeating: fill, count: height * width * channels)
        return try values.withUnsafeBytes {
            let view = try ImageView(
                data: $0.baseAddress!, dtype: .f32, width: width, height: height, channels: channels, name: "picture")
            return try body([ImageView](repeating: view, count: count))
        }
    }

    /// The run after what fails is the run without it.
    @Test func aRunGoesOnAfterMistakes() throws {
        let model = try latentModel("sd1")
        let prompt = try model.prompt(["a photo of the red cat"]), negative = try model.prompt(["bad", "blurred"])
        func session() throws -> Session {
            let session = try Session(model, options(strength: 0.75))
            try session.setPrompt(prompt, negative: negative)
            try session.setPictures(2, seed: 1)
            try session.setMasks(1, seed: 2)
            return session
        }
        let (smooth, rough) = (try session(), try session())
        for session in [smooth, rough] {
            try session.seed([1, 2])
            try session.advance()
        }
        try smooth.finish()

        expect(.size, "3 seeds") { try rough.seed([1, 2, 3]) }
        expect(.size, "0 seeds") { try rough.seed([]) }
        expect(.size, "3 images, expected 1 or the batch size 2") { try self.prompts(3, model, rough) }
        expect(.incompatible, "33 channels") { try rough.setPrompt(self.prompt(33)) }
        expect(.incompatible, "33 channels") { try rough.setPrompt(prompt, negative: self.prompt(33)) }
        expect(.size, "the image is 8 x 16, expected 16 x 16") { try picture(16, 8, 3) { try rough.setImage($0) } }
        expect(.size, "the image is 65536 x 1") { try picture(1, 65536, 3) { try rough.setImage($0) } }
        expect(.size, "with 4 channels") { try picture(16, 16, 4) { try rough.setImage($0) } }
        expect(.size, "3 images") { try picture(16, 16, 3, count: 3) { try rough.setImage($0) } }
        expect(.invalidArgument, "nan") { try picture(16, 16, 3, fill: .nan) { try rough.setImage($0) } }
        expect(.size, "the mask is 8 x 8") { try picture(8, 8, 1) { try rough.setMask($0) } }
        expect(.size, "with 3 channels") { try picture(16, 16, 3) { try rough.setMask($0) } }
        expect(.size, "time ids") { try rough.setTimeIDs([1, 2, 3], negative: []) }
        expect(.size, "class inputs") { try rough.setClassInput([1]) }
        expect(.invalidArgument, "image 2") { try rough.image(2) }
        expect(.invalidArgument, "at element 0") { try rough.setFirst(.infinity) }
        // Too large for the network: the step fails.
        let sample = try rough.sampleValues
        try rough.setFirst(3e38)
        expect(.invalidArgument, "step 1 gives") { try rough.advance() }
        try rough.setSample(sample)

        try rough.finish()
        #expect(try sameBits(smooth.sampleValues, rough.sampleValues))
        #expect(try smooth.pictures == rough.pictures)
        // What was set is still set.
        for session in [smooth, rough] { try session.seed([3, 4]) }
        #expect(try sameBits(smooth.sampleValues, rough.sampleValues))
        try smooth.finish()
        try rough.finish()
        #expect(try sameBits(smooth.sampleValues, rough.sampleValues))
    }

    private func prompts(_ count: Int, _ model: Model, _ session: Session) throws {
        try session.setPrompt(model.prompt([String](repeating: "a", count: count)))
    }

    private func prompt(_ channels: Int) throws -> Prompt {
        try Prompt(
            states: [Float](repeating: 0, count: channels), count: 1, tokens: 1, channels: channels, pooled: nil,
            pooledChannels: 0)
    }

    @Test func optionsOutOfRangeAreErrors() throws {
        let model = try latentModel("sd1"), xl = try latentModel("xl")
        func fails(_ kind: MCMError.Kind, _ part: String, _ change: (inout Session.Options) -> Void) {
            var changed = options()
            change(&changed)
            expect(kind, part) { try Session(model, changed) }
        }
        for scale in [-1, .nan, .infinity] as [Float] {
            fails(.invalidArgument, "guidance scale") { $0.guidanceScale = scale }
        }
        for share in [-0.1, 1.5, .nan] as [Float] {
            fails(.invalidArgument, "guidance_rescale") { $0.guidanceRescale = share }
        }
        for strength in [-0.1, 1.5, .nan, .infinity] {
            fails(.invalidArgument, "strength") { $0.strength = strength }
        }
        fails(.invalidArgument, "leaves none of 4 steps") { $0.strength = 0.2 }
        fails(.invalidArgument, "eta") { $0.eta = 0.5 }  // PNDM has none
        fails(.size, "17 x 16, expected multiples of 2") { $0.width = 17 }
        fails(.size, "") { $0.batch = 0 }
        fails(.size, "") { $0.batch = -1 }
        fails(.size, "") { $0.batch = .max }
        fails(.size, "") { $0.height = .max - 1 }
        fails(.size, "") { $0.height = -16 }
        fails(.invalidArgument, "") { $0.steps = 1001 }
        fails(.invalidArgument, "") { $0.steps = .max }
        expect(.size, "no prompt") { try model.prompt([]) }
        var reading = PromptOptions()
        for skip in [-1, 4, .max] {
            reading.clipSkip = skip
            for model in [model, xl] { expect(.invalidArgument, "layers") { try model.prompt(["a"], reading) } }
        }
        reading = PromptOptions()
        reading.isChunked = true
        expect(.size, "tokens, expected at most") {
            try model.prompt([String(repeating: "a ", count: 6000)], reading)
        }
    }

    @Test func whatIsMissingIsSaid() throws {
        let model = try latentModel("sd1")
        let bare = try Session(model, options())
        expect(.state, "not seeded") { try bare.advance() }
        try bare.seed([1])
        expect(.state, "no prompt is set") { try bare.advance() }
        expect(.state, "no prompt is set") { try bare.finish() }
        try bare.setPrompt(model.prompt(["a cat"]))
        try bare.finish()
        let whole = try Session(model, options())
        try whole.setPrompt(model.prompt(["a cat"]))
        try whole.seed([1])
        try whole.finish()
        #expect(try sameBits(bare.sampleValues, whole.sampleValues))

        let strong = try Session(model, options(strength: 0.5))
        expect(.state, "the strength is 0.5, expected an image") { try strong.seed([1]) }
        #expect(!strong.isSeeded)
        expect(.state, "not seeded") { try strong.advance() }
        try strong.setPictures(1, seed: 1)
        try strong.seed([1])
        try strong.setImage([])
        expect(.state, "expected an image") { try strong.seed([2]) }

        let masked = try Session(model, options())
        try masked.setMasks(1, seed: 1)
        expect(.state, "a mask is set, but no image") { try masked.seed([1]) }
        try masked.setMask([])
        try masked.seed([1])

        let painting = try Session(latentModel("inpainting"), options())
        expect(.state, "expected an image and a mask") { try painting.seed([1]) }
        try painting.setPictures(1, seed: 1)
        expect(.state, "expected an image and a mask") { try painting.seed([1]) }
        try painting.setMasks(2, seed: 1)
        try painting.seed([1])

        // One that reads no text.
        let plain = try latentModel("ldm")
        expect(.unsupported, "no text encoder") { try plain.prompt(["a"]) }
        expect(.incompatible, "reads no text") { try Session(plain, options()).setPrompt(self.prompt(32)) }
    }

    @Test func partsThatCannotBeMadeLaterAreErrorsThen() throws {
        let files = try latentFiles("sd1")
        let folder = try TemporaryFolder()
        try files.write(to: folder)
        var modelOptions = Model.Options(threads: 1)
        modelOptions.onDemand = true
        let model = try Model(path: folder.path, modelOptions), kept = try latentModel("sd1")
        let vae = "vae/diffusion_pytorch_model.safetensors", text = "text_encoder/model.safetensors"

        func session(_ model: Model, _ prompt: Prompt) throws -> Session {
            let session = try Session(model, options(strength: 0.5))
            try session.setPrompt(prompt)
            try session.setPictures(1, seed: 1)
            return session
        }
        let prompt = try kept.prompt(["a cat"])
        let (smooth, rough) = (try session(kept, prompt), try session(model, prompt))
        for session in [smooth, rough] {
            try session.seed([1])
            try session.advance()
        }
        let memory = model.memory
        for damage in 0..<3 {
            if damage == 0 { folder.remove(vae) }
            if damage == 1 { try folder.add(vae, Array((files.files[vae] ?? []).dropLast(40))) }
            if damage == 2 { try folder.add(vae, files.files[text] ?? []) }
            let kind = damage == 0 ? MCMError.Kind.io : .format
            expect(kind, vae) { try rough.seed([2]) }
            expect(kind, vae) { try rough.pictures }
            #expect(rough.step == 1 && model.memory == memory)
        }
        try folder.add(text, "no weights")
        expect(.format, text) { try model.prompt(["a"]) }
        try folder.add(vae, files.files[vae] ?? [])
        try folder.add(text, files.files[text] ?? [])
        try smooth.finish()
        try rough.finish()
        #expect(try sameBits(smooth.sampleValues, rough.sampleValues))
        #expect(try smooth.pictures == rough.pictures)
        #expect(try sameBits(states(model.prompt(["the sea"])), states(kept.prompt(["the sea"]))))
    }

    private func states(_ prompt: Prompt) -> [Float] {
        var values = [Float](repeating: 0, count: prompt.stateCount)
        prompt.copyStates(into: &values)
        return values
    }
}

extension Session {
    fileprivate func image(_ index: Int) throws {
        var pixels = [UInt8](repeating: 0, count: imageBytes)
        try decode(original: false, index: index, into: &pixels)
    }

    fileprivate func setFirst(_ value: Float) throws {
        var sample = try sampleValues
        sample[0] = value
        try setSample(sample)
    }
}
