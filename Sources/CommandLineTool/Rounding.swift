import Checkpoint
import Glibc
import Kernels
import LibMCM

/// Tensors in another precision: those that have the form F32, F16 or BF16; others stay.
struct Rounding {
    let dtype: DType
    typealias Count = (converted: Int, all: Int)

    /// A .safetensors file. Returns how many of its tensors were converted, of how many.
    func convert(_ input: String, to output: String) throws -> Count {
        let file = try SafetensorsFile(path: input)
        var converted = 0
        let tensors = try file.names.map { name in
            guard let info = file.info(name) else { throw MCMError(.format, "\(input): \(quoted(name)) is missing") }
            guard info.dtype.isReadable, info.dtype != dtype else {
                return SafetensorsWriter.Tensor(name: name, shape: info.shape, dtype: info.dtype) { sink in
                    try file.withBytes(name, 0..<info.range.count, sink)
                }
            }
            converted += 1
            return SafetensorsWriter.Tensor(name: name, shape: info.shape, dtype: dtype) { sink in
                try file.withElements(name) { try write($0, info.count, "\(input): tensor \(quoted(name))", sink) }
            }
        }
        try SafetensorsWriter.write(tensors, metadata: file.metadata, to: output)
        return (converted, tensors.count)
    }

    /// In parts, so that a large tensor takes no memory.
    private func write(
        _ elements: StoredFloats, _ count: Int, _ name: String, _ sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        for first in stride(from: 0, to: count, by: 65536) {
            try Interrupt.check("in \(name), nothing is written")
            let values = (first..<min(first + 65536, count)).map { elements[$0] }
            if dtype == .f32 {
                try values.withUnsafeBytes(sink)
                continue
            }
            let halves = values.map { Float16($0) }
            if let i = halves.indices.first(where: { values[$0].isFinite && !halves[$0].isFinite }) {
                throw MCMError(
                    .unsupported, "\(name) holds \(values[i]), which F16 does not: expected at most 65504")
            }
            try halves.withUnsafeBytes(sink)
        }
    }

    /// A folder of a model: its .safetensors files are converted and the others copied, but for pickles, which are left
    /// out. It appears at once or not at all.
    ///   names     of its files, as `filesBelow` gives them
    ///   progress  is told how many files are done
    func convertFolder(_ input: String, _ names: [String], to output: String, progress: (Int) -> Void) throws -> Count {
        guard access(output, F_OK) != 0 else { throw MCMError(.io, "\(output): exists, expected a new folder") }
        guard names.contains(where: { $0.hasSuffix(".safetensors") }) else {
            throw MCMError(.format, "\(input): has no .safetensors file")
        }
        let end = output.lastIndex { $0 != "/" } ?? output.startIndex
        let temporary = "\(output[...end]).\(getpid()).tmp"
        guard mkdir(temporary, 0o777) == 0 else { throw systemError(output) }
        var sum: Count = (0, 0)
        do {
            for (i, name) in names.enumerated() {
                try makeFolders(temporary, above: name)
                if name.hasSuffix(".safetensors") {
                    let one = try convert("\(input)/\(name)", to: "\(temporary)/\(name)")
                    sum = (sum.converted + one.converted, sum.all + one.all)
                } else if !isPickle(name) {
                    let file = try MappedFile(path: "\(input)/\(name)")
                    try writeAtomically(to: "\(temporary)/\(name)") { part in try file.withBytes(part) }
                }
                progress(i + 1)
                try Interrupt.check("after \(name), nothing is written")
            }
            guard rename(temporary, output) == 0 else { throw systemError(output) }
        } catch {
            removeTree(temporary)
            throw error
        }
        return sum
    }
}

private func isPickle(_ name: String) -> Bool {
    [".bin", ".ckpt", ".pt", ".pth", ".pkl"].contains { name.hasSuffix($0) }
}
