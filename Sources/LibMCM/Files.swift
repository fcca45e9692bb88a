import Kernels
public import Checkpoint
import Images
public import Networks
public import Pipeline
public import Training

// Opening and writing files by their paths.

extension SafetensorsFile {
    /// Maps a file; it must stay as it is while the object lives.
    public convenience init(path: String) throws {
        try self.init(MappedFile(path: path), name: path)
    }
}

extension Modulator {
    /// Opens a module file (docs/format.md).
    public convenience init(path: String) throws { try self.init(SafetensorsFile(path: path)) }
}

extension ControlNetModel {
    /// Opens a folder with config.json and weights, as diffusers' save_pretrained writes it.
    public convenience init(path: String, _ options: Model.Options = Model.Options()) throws {
        try self.init(.disk(path), options)
    }
}

extension Dataset {
    /// Opens a data set (docs/format.md), which is mapped and must stay as it is.
    public convenience init(path: String) throws { try self.init(SafetensorsFile(path: path)) }
}

extension Bank {
    /// Opens a bank of predictions and checks every record. It is mapped and must stay as it is.
    public convenience init(path: String) throws { try self.init(MappedFile(path: path), name: path) }
}

extension Trainer {
    /// A trainer for a new module, which begins as one that changes nothing.
    ///   base    what the module corrects: `Base(model)`, or `Base(bank)` without the model
    ///   config  JSON as in a module file (docs/format.md), without "base"
    public convenience init(
        _ base: Base, config: String, name: String = "config", _ options: TrainerOptions = TrainerOptions()
    ) throws {
        try self.init(base, config: JSONValue(parsing: config, name: name), name: name, options)
    }

    /// A trainer that begins with the weights of a module file.
    public convenience init(_ base: Base, from path: String, _ options: TrainerOptions = TrainerOptions()) throws {
        try self.init(base, from: SafetensorsFile(path: path), options)
    }

    /// Goes on from a file that `save` has written, as if it had never stopped.
    ///   change  options that are to be others than as saved
    public convenience init(
        _ base: Base, resuming path: String, changing change: (inout TrainerOptions) -> Void = { _ in }
    ) throws {
        try self.init(base, resuming: SafetensorsFile(path: path), changing: change)
    }

    /// Writes the module's file.
    ///   averaged  whether with the moving average of its weights
    ///   half      whether in F16 instead of F32
    public func writeModule(to path: String, averaged: Bool = true, half: Bool = false) throws {
        try writeModule(to: path, averaged: averaged, dtype: half ? .f16 : .f32)
    }
}
