import ArgumentParser
import Checkpoint
import Glibc
import Kernels
import LibMCM

struct Convert: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Convert tensors to another precision, or a data set's images to a model's latents.",
        discussion: """
            With --dtype, the tensors in F32, F16 and BF16 of a .safetensors file (a module, or one of a model's \
            files) are rounded to F16, or widened to F32; other tensors, names and metadata stay. A model's fingerprint does not change, so \
            modules go on fitting it. With --model, a data set of images becomes one of that latent diffusion model's samples. \
            Pickle files are refused, since opening one can run code: python3 -m mcm.convert reads their weights only.

            EXAMPLES
              mcm convert module.mcm.safetensors half.mcm.safetensors --dtype f16
              mcm convert images.safetensors latents.safetensors --model ldm
            """)

    @Argument(help: "A .safetensors file.", completion: .file(extensions: ["safetensors"]))
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
        try checkWritable(output, force: force)
        let head = try MappedFile(path: input).withBytes { Array($0.prefix(2)) }
        if head == Array("PK".utf8) || head.first == 0x80 { try refusePickle(input) }
        if let model {
            try encode(model)
        } else {
            try round(to: dtype == "f16" ? .f16 : .f32)
        }
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

    private func round(to dtype: DType) throws {
        let file = try SafetensorsFile(path: input)
        Interrupt.watch()
        var kept = 0
        let tensors = try file.names.map { name in
            guard let info = file.info(name) else { throw MCMError(.format, "\(input): \(quoted(name)) is missing") }
            guard info.dtype.isReadable, info.dtype != dtype else {
                kept += 1
                return SafetensorsWriter.Tensor(name: name, shape: info.shape, dtype: info.dtype) { sink in
                    try file.withBytes(name, 0..<info.range.count, sink)
                }
            }
            return SafetensorsWriter.Tensor(name: name, shape: info.shape, dtype: dtype) { sink in
                try file.withElements(name) { try Self.write($0, info.count, name, dtype, sink) }
            }
        }
        try SafetensorsWriter.write(tensors, metadata: file.metadata, to: output)
        try Console.print(
            "\(output): \(tensors.count - kept) of \(tensors.count) tensors converted, the others as they were")
    }

    /// In parts, so that a large tensor takes no memory.
    private static func write(
        _ elements: StoredFloats, _ count: Int, _ name: String, _ dtype: DType,
        _ sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        for first in stride(from: 0, to: count, by: 65536) {
            try Interrupt.check("in tensor \(quoted(name)), nothing is written")
            let values = (first..<min(first + 65536, count)).map { elements[$0] }
            if dtype == .f32 {
                try values.withUnsafeBytes(sink)
                continue
            }
            let halves = values.map { Float16($0) }
            if let i = halves.indices.first(where: { values[$0].isFinite && !halves[$0].isFinite }) {
                throw MCMError(
                    .unsupported,
                    "tensor \(quoted(name)) holds \(values[i]), which F16 does not: expected at most 65504")
            }
            try halves.withUnsafeBytes(sink)
        }
    }
}
