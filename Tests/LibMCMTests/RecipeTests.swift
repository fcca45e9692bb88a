import Glibc
import LibMCM
import TestSupport
import Testing

private let fashion = repository + "examples/fashion/"

@Suite struct RecipeTests {
    /// Nothing at its default.
    private var full: Recipe {
        var recipe = Recipe()
        recipe.model = .init(path: "/a model/\"sd\"", digest: "0123456789abcdef")
        (recipe.variant, recipe.tokenizer, recipe.predictionType) = ("fp16", "/t", "v_prediction")
        recipe.int8 = true
        (recipe.prompt, recipe.negative) = ("a \"red\" door\n— 東京 🚪", "")
        (recipe.clipSkip, recipe.hasWeights, recipe.isChunked) = (2, true, true)
        recipe.classInput = [3, 0.1]
        recipe.modules = [
            .init(file: .init(path: "m", digest: "d"), weight: 0.1, begin: 0.3, end: 0.7),
            .init(file: .init(path: "n")),
        ]
        recipe.otherBase = true
        recipe.conditions = ["sketch": .init(path: "s.png", digest: "e"), "a b": .init(path: "t.png")]
        recipe.controlnets = [.init(file: .init(path: "canny"), image: .init(path: "e.png"), weight: -1.25)]
        (recipe.guess, recipe.modulatesConditional) = (true, true)
        (recipe.image, recipe.mask, recipe.strength) = (.init(path: "i.png"), .init(path: "k.png"), 0.1)
        recipe.scheduler = .dpmSolverMultistep
        recipe.schedulerOptions = ["use_karras_sigmas": .bool(true), "solver_order": .integer(3)]
        (recipe.steps, recipe.eta, recipe.guidance, recipe.guidanceRescale) = (20, 0.3, 7.1, 0.7)
        (recipe.width, recipe.height, recipe.seed) = (512, 768, .max)
        return recipe
    }

    @Test func returnsFromText() throws {
        #expect(try Recipe(text: full.text) == full)
        #expect(try Recipe(text: Recipe().text) == Recipe())
        #expect(!full.text.contains("\n"))
    }

    @Test func returnsFromAnImage() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/a.png"
        let image = try PixelImage(width: 1, height: 2, channels: 1, pixels: [0, 255])
        try image.write(to: path, text: [Recipe.keyword: full.text])
        #expect(try Recipe(png: path) == full)
        #expect(try PixelImage.png(path) == image)
    }

    @Test func damageIsSaid() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/a.png"
        let image = try PixelImage(width: 1, height: 1, channels: 1, pixels: [9])
        func expect(_ text: String?, _ kind: MCMError.Kind, _ message: String) throws {
            try image.write(to: path, text: text.map { [Recipe.keyword: $0] } ?? [:])
            expectFailure(kind, message) { try Recipe(png: path) }
        }
        try expect(nil, .format, "has no recipe")
        try expect("", .format, "a.png: recipe")
        try expect("[]", .format, "expected an object")
        try expect("{\"recipe\":2,\"libmcm\":\"9\",\"seed\":1}", .unsupported, "\"recipe\" is 2, expected 1")
        try expect("{\"recipe\":1,\"libmcm\":\"0.1.0\"}", .format, "\"seed\" is missing")
        try expect("{\"recipe\":1,\"libmcm\":\"0.1.0\",\"seed\":-1}", .format, "\"seed\" is -1")
        try expect("{\"recipe\":1,\"libmcm\":\"0.1.0\",\"seed\":1,\"colour\":2}", .unsupported, "colour")
        try expect("{\"recipe\":1,\"libmcm\":\"0.1.0\",\"seed\":1,\"steps\":1e300}", .format, "steps")
        try expect("{\"recipe\":1,\"libmcm\":\"0.1.0\",\"seed\":1,\"modules\":[{}]}", .format, "file")
        try expect("{\"recipe\":1,\"libmcm\":\"0.1.0\",\"seed\":1,\"model\":\"x\"}", .format, "model")
        expectFailure(.io, "/nowhere") { try Recipe(png: "/nowhere") }
    }

    /// Any byte of a file may be another: an error, or the same recipe.
    @Test func flippedBitsDoNotTrap() throws {
        let folder = try TemporaryFolder()
        let image = try PixelImage(width: 1, height: 1, channels: 1, pixels: [9])
        try image.write(to: folder.path + "/a.png", text: [Recipe.keyword: Recipe().text])
        let whole = try #require(bytes(folder.path + "/a.png"))
        for i in whole.indices {
            var damaged = whole
            damaged[i] ^= 0x41
            try folder.add("b.png", damaged)
            if let recipe = try? Recipe(png: folder.path + "/b.png") { #expect(recipe == Recipe()) }
            try folder.add("b.png", Array(whole[..<i]))
            #expect(throws: MCMError.self) { try Recipe(png: folder.path + "/b.png") }
        }
    }

    @Test func drawsTheSameAgain() throws {
        let folder = try TemporaryFolder()
        try folder.add("sketch.png", try #require(bytes(fashion + "conditions/00_sketch.png")))
        var recipe = Recipe()
        recipe.model.path = fashion + "base"
        recipe.modules = [.init(file: .init(path: fashion + "module.mcm.safetensors"), weight: 0.7, begin: 0, end: 0.8)]
        recipe.conditions["sketch"] = .init(path: folder.path + "/sketch.png")
        (recipe.scheduler, recipe.steps, recipe.eta, recipe.seed) = (.ddim, 5, 0.4, 11)
        let drawing = try Drawing(recipe, threads: 1)
        let images = try drawing.draw([10, 11])
        #expect(drawing.recipe.model.digest == drawing.model.fingerprint)

        let again = try Drawing(Recipe(text: drawing.recipe.text), threads: 2)
        #expect(try again.draw([11]) == [images[1]])
        #expect(again.recipe == drawing.recipe)

        // What becomes of the files meanwhile changes neither the image nor what the recipe says of them.
        try folder.add("sketch.png", try #require(bytes(fashion + "conditions/01_sketch.png")))
        #expect(try drawing.draw([10]) == [images[0]])
        expectFailure(.incompatible, "sketch.png: has changed") { try Drawing(drawing.recipe) }
        var other = drawing.recipe
        other.model.digest = "0000000000000000"
        expectFailure(.incompatible, "fingerprint is") { try Drawing(other) }
        other = recipe
        other.conditions["colour"] = other.conditions["sketch"]
        expectFailure(.incompatible, "no module has a modality \"colour\"") { try Drawing(other) }
        other = recipe
        other.prompt = "a boot"
        expectFailure(.incompatible, "reads no text") { try Drawing(other) }
        other = recipe
        (other.width, other.height) = (30, 28)
        expectFailure(.size, "") { try Drawing(other).draw([1]) }
    }

    private func bytes(_ path: String) -> [UInt8]? {
        guard let file = fopen(path, "rb") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        return Array(bytes[..<fread(&bytes, 1, bytes.count, file)])
    }
}
