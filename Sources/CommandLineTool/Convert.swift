import ArgumentParser
import Checkpoint
import Glibc
import Kernels
import LibMCM

struct Convert: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Convert tensors to another precision, or a data set's images to a model's latents.",
        discussion: """
            With --dtype, the tensors in F32, F16 and BF16 of a .safetensors file, or of all files in a model's folder, \
            are rounded to F16 or widened to F32; other tensors, names and metadata stay. A model's fingerprint does \
            not change, so modules go on fitting it; its images change a little. With --model, a data set of images \
            becomes one of that latent diffusion model's samples. Pickle files are refused, or left out of a folder, \
            since opening one can run code: python3 -m mcm.convert reads their weights only.

            EXAMPLES
              mcm convert module.mcm.safetensors half.mcm.safetensors --dtype f16
              mcm convert sd15 sd15-half --dtype f16
              mcm convert images.safetensors latents.safetensors --model ldm
            """)

    @Argument(help: "A .safetensors file, or a model's folder.", completion: .file(extensions: ["safetensors"]))
    var input: String
    @Argument(help: "What is written.", completion: .file(extensions: ["safetensors"]))
    var output: String
    @Option(help: "f16 or f32.", completion: .list(["f16", "f32"]))
    var dtype: String?
    @Option(help: "A latent diffusion model, for a data set.", completion: .file())
    var model: String?
    @OptionGroup var modelArguments: ModelArguments
    @Flag(name: .shortAndLong, help: "Overwrite the file.")
    var force = false
    @Flag(name: .shortAndLong, help: "No progress.")
    var quiet = false

    func validate() throws {
        guard (dtype == nil) != (model == nil) else { throw ValidationError("Expected either --dtype or --model") }
        if let dtype, !["f16", "f32"].contains(dtype) {
            throw ValidationError("--dtype is \"\(dtype)\", expected f16 or f32")
        }
    }

    func run() throws {
        let rounding = Rounding(dtype: dtype == "f16" ? .f16 : .f32)
        if model == nil, access(input, F_OK) == 0, !isRegularFile(input) {
            let names = try filesBelow(input)
            Interrupt.watch()
            var progress = Progress("file", of: names.count, isQuiet: quiet)
            defer { progress.end() }
            let count = try rounding.convertFolder(input, names, to: output) { progress.update($0) }
            progress.end()
            return try report(count)
        }
        try checkWritable(output, force: force)
        let head = try MappedFile(path: input).withBytes { Array($0.prefix(2)) }
        if head == Array("PK".utf8) || head.first == 0x80 { try refusePickle(input) }
        if let model {
            try encode(model)
        } else {
            Interrupt.watch()
            try report(rounding.convert(input, to: output))
        }
    }

    private func report(_ count: Rounding.Count) throws {
        let rest = count.converted < count.all ? " of \(count.all), the others stay as they were" : ""
        try Console.print("\(output): tensors converted: \(count.converted)\(rest)")
    }

    private func encode(_ path: String) throws {
        let set = try Dataset(path: input)
        let model = try Model(path: path, modelArguments.options)
        guard model.isLatent else {
            throw MCMError(.incompatible, "\(path): its samples are images, expected a latent diffusion model")
        }
        Interrupt.watch()
        var progress = Progress("example", of: set.count, isQuiet: quiet)
        do {
            defer { progress.end() }
            try set.encode(model, to: output) { done, _ in
                progress.update(done)
                return !Interrupt.isPending
            }
        }
        try Console.print("\(output): \(set.count) examples")
    }
}
