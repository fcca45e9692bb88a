import ArgumentParser
import Checkpoint
import Glibc
import Kernels
import LibMCM
import Training

struct Train: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train a conditioning module for a frozen model.",
        discussion: """
            The model, or a bank of its predictions (mcm bank), says what the module corrects; the data set holds \
            images and their conditions; the config is JSON as in a module file (docs/format.md), without "base". A run \
            that was stopped, by Ctrl-C too, goes on with --resume, and ends with the same weights.

            EXAMPLES
              mcm train data.safetensors --model base --config module.json \\
                  --steps 20000 -o module.mcm.safetensors
              mcm train data.safetensors --bank bank.mcmbank --config module.json \\
                  --steps 20000 -o module.mcm.safetensors
              mcm train data.safetensors --bank bank.mcmbank \\
                  --resume -o module.mcm.safetensors
            """)

    @Argument(help: "The data set, a .safetensors file.", completion: .file())
    var dataset: String
    @Option(help: "Folder or file of the model.", completion: .file())
    var model: String?
    @Option(help: "A bank of its predictions, instead.", completion: .file())
    var bank: String?
    @Option(help: "JSON file that says what the module is to be.", completion: .file(extensions: ["json"]))
    var config: String?
    @Option(help: "Begin with the weights of this module instead.", completion: .file())
    var module: String?
    @Option(name: .shortAndLong, help: ArgumentHelp("The module's file.", valueName: "file"), completion: .file())
    var out: String
    @Flag(help: "Write it in half precision.")
    var half = false
    @Option(
        help: "Where everything is saved that going on takes. By default beside the module, until that is written.",
        completion: .file())
    var checkpoint: String?
    @Flag(help: "Go on from the checkpoint.")
    var resume = false
    @Flag(name: .shortAndLong, help: "Overwrite files.")
    var force = false

    @Option(help: "Steps in all, over which the learning rate falls to 0.")
    var steps: Int?
    @Option(help: "Examples accumulated at a time.")
    var batch = 64
    @Option(help: "Batches in a step.")
    var accumulate = 1
    @Option(help: "Steps between checkpoints.")
    var saveEvery = 1000
    @Option(help: "Default 0.002; with --resume as it was.")
    var learningRate: Float?
    @Option(help: "Steps in which the learning rate rises. Default 200.")
    var warmup: Int?
    @Option(
        help: "What errors count by the timestep: uniform, min_snr or noise. Default noise.",
        completion: .list(["uniform", "min_snr", "noise"]))
    var weighting: String?
    @Option(help: ArgumentHelp("Timesteps to train on, e.g. 200-1000; by default all.", valueName: "begin-end"))
    var timesteps: TimestepRange?
    @Option(help: "How often each modality is withheld, for any subset to work later. Default 0.3.")
    var dropout: Float?
    @Option(help: "Of weights, timesteps, noise and the order of examples. Default 0.")
    var seed: UInt64?

    @OptionGroup var modelArguments: ModelArguments
    @Flag(name: .shortAndLong, help: "No progress.")
    var quiet = false

    func validate() throws {
        guard (model == nil) != (bank == nil) else { throw ValidationError("Expected either --model or --bank") }
        if resume {
            guard config == nil, module == nil else {
                throw ValidationError("--resume takes the module from the checkpoint, expected no --config or --module")
            }
        } else {
            guard (config == nil) != (module == nil) else {
                throw ValidationError("Expected either --config or --module")
            }
            guard steps != nil else { throw ValidationError("Missing --steps") }
        }
        if let steps, !(1...(1 << 40)).contains(steps) {
            throw ValidationError("--steps is \(steps), expected at least 1")
        }
        if let weighting, TrainerOptions.Weighting(rawValue: weighting) == nil {
            throw ValidationError("--weighting is \"\(weighting)\", expected uniform, min_snr or noise")
        }
        guard saveEvery >= 0, (0...(1 << 40)).contains(warmup ?? 0) else {
            throw ValidationError("--save-every \(saveEvery), --warmup \(warmup ?? 0), expected 0 or more")
        }
        for (name, path) in [
            ("checkpoint", checkpointPath), ("data set", dataset), ("bank", bank), ("config", config),
        ] {
            guard !out.isEmpty, path.map({ !isSame($0, out) }) ?? true else {
                throw ValidationError("--out is \"\(out)\", expected a file, and another one than the \(name)")
            }
        }
    }

    func run() throws {
        try checkWritable(out, force: force)
        let path = checkpointPath
        try checkWritable(path, force: force || resume, "--resume to go on from it, or --force to overwrite it")
        let set = try Dataset(path: dataset)
        let records = try bank.map { try Bank(path: $0) }
        let base =
            try records.map { Base($0, threads: modelArguments.threads) }
            ?? Base(Model(path: model ?? "", modelArguments.options))
        let trainer = try trainer(base)
        let source = try trainer.source(set, records)
        var loop = Trainer.LoopOptions()
        (loop.batch, loop.accumulate) = (batch, accumulate)
        (loop.savePath, loop.saveEvery) = (path, saveEvery)

        Interrupt.watch()
        let total = trainer.options.totalSteps
        if resume, !quiet { Console.error("goes on after step \(trainer.step) of \(total)\n") }
        var progress = Progress("step", of: total, isQuiet: quiet)
        do {
            try trainer.train(source, loop) { report in
                progress.update(
                    trainer.step,
                    "loss \(short(Double(report.loss))), the model's own \(short(Double(report.baseLoss)))")
                return !Interrupt.isPending
            }
        } catch let error as MCMError {
            progress.end()
            throw MCMError(error.kind, error.message + kept(trainer, after: error))
        }
        progress.end()
        try trainer.writeModule(to: out, averaged: true, half: half)
        if checkpoint == nil { unlink(path) }
        try Console.print("\(out): \(trainer.parameters.count) parameters after \(trainer.step) steps")
    }

    /// Keeps what was learned until a step failed, and says where; but not what has diverged, in place of what has not.
    private func kept(_ trainer: Trainer, after error: MCMError) -> String {
        let goesOn = "--resume goes on from there"
        if error.kind == .cancelled { return ": saved in \(checkpointPath), \(goesOn)" }
        if trainer.step == trainer.options.totalSteps, (try? trainer.writeModule(to: out, half: half)) != nil {
            return ": the module is in \(out) nevertheless"
        }
        if error.kind != .state, trainer.step > 0, (try? trainer.save(to: checkpointPath)) != nil {
            return ": step \(trainer.step) is saved in \(checkpointPath), \(goesOn)"
        }
        let isSaved = resume || saveEvery > 0 && trainer.step >= saveEvery
        return isSaved ? ": an earlier step is in \(checkpointPath), \(goesOn)" : ""
    }

    private var checkpointPath: String { checkpoint ?? out + ".trainer" }

    private func trainer(_ base: Base) throws -> Trainer {
        if resume {
            let trainer = try Trainer(base, resuming: checkpointPath) {
                if let steps { $0.totalSteps = steps }
                if let learningRate { $0.learningRate = learningRate }
            }
            try checkUnchanged(trainer.options)
            return trainer
        }
        var options = TrainerOptions()
        options.totalSteps = steps ?? 0
        options.warmupSteps = warmup ?? options.warmupSteps
        options.seed = seed ?? options.seed
        options.dropout = dropout.map { [$0] } ?? options.dropout
        options.learningRate = learningRate ?? options.learningRate
        options.weighting = weighting.flatMap { .init(rawValue: $0) } ?? options.weighting
        options.timestepRange = timesteps?.range
        if let module { return try Trainer(base, from: module, options) }
        let path = config ?? ""
        let text = try MappedFile(path: path).withBytes { String(decoding: $0, as: UTF8.self) }
        return try Trainer(base, config: text, name: path, options)
    }

    /// The command that is given again may repeat what is as it was.
    private func checkUnchanged(_ options: TrainerOptions) throws {
        func check<Value: Equatable>(_ name: String, _ given: Value?, _ saved: Value) throws {
            guard let given, given != saved else { return }
            throw MCMError(.invalidArgument, "--\(name) is \(given), expected the checkpoint's \(saved) with --resume")
        }
        try check("warmup", warmup, options.warmupSteps)
        try check("weighting", weighting, options.weighting.rawValue)
        try check("dropout", dropout, options.dropout.first ?? 0)
        try check("seed", seed, options.seed)
        let text = { (range: Range<Int>) in "\(range.lowerBound)-\(range.upperBound)" }
        try check("timesteps", timesteps.map { text($0.range) }, options.timestepRange.map(text) ?? "all")
    }
}

struct RecordBank: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bank",
        abstract: "Record a frozen model's predictions, to train from without the model.",
        discussion: """
            A recording that was stopped, by Ctrl-C too, goes on when the same command is given again.

            EXAMPLES
              mcm bank base data.safetensors bank.mcmbank --count 240000
            """)

    @Argument(help: "Folder or file of the model.", completion: .file())
    var model: String
    @Argument(help: "The data set, a .safetensors file.", completion: .file())
    var dataset: String
    @Argument(help: "The bank.", completion: .file())
    var out: String
    @Option(name: [.customShort("n"), .long], help: "Records; each image of the data set is in equally many.")
    var count: Int
    @Option(help: "Records made at a time. They do not depend on it.")
    var batch = 16
    @Option(help: "Of timesteps and noise.")
    var seed: UInt64 = 0
    @Option(help: ArgumentHelp("Timesteps to record, e.g. 200-1000; by default all.", valueName: "begin-end"))
    var timesteps: TimestepRange?
    @Flag(name: .shortAndLong, help: "Overwrite the bank.")
    var force = false
    @OptionGroup var modelArguments: ModelArguments
    @Flag(name: .shortAndLong, help: "No progress.")
    var quiet = false

    func run() throws {
        try checkWritable(out, force: force)
        let set = try Dataset(path: dataset)
        let model = try Model(path: model, modelArguments.options)
        var options = Bank.RecordingOptions()
        (options.count, options.batch, options.seed, options.timesteps) = (count, batch, seed, timesteps?.range)
        Interrupt.watch()
        var progress = Progress("record", of: count, isQuiet: quiet)
        do {
            defer { progress.end() }
            try Bank.record(model, set, to: out, options) { done, _ in
                progress.update(done)
                return !Interrupt.isPending
            }
        } catch let error as MCMError where error.kind == .cancelled {
            throw MCMError(.cancelled, "\(error.message): the same command goes on from there")
        }
        try Console.print("\(out): \(count) records")
    }
}

/// Whether two paths, which need not exist, are of one file.
private func isSame(_ a: String, _ b: String) -> Bool {
    func place(_ path: String) -> String {
        let cut = path.lastIndex(of: "/")
        guard let folder = realpath(cut.map { String(path[...$0]) } ?? ".", nil) else { return path }
        defer { free(folder) }
        return String(cString: folder) + "/" + path[(cut.map { path.index(after: $0) } ?? path.startIndex)...]
    }
    var (first, second) = (stat(), stat())
    if stat(a, &first) == 0, stat(b, &second) == 0 {
        return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
    }
    return place(a) == place(b)
}

/// Found out before the work, not after it.
///   way  what may be done about a file that exists
func checkWritable(_ path: String, force: Bool, _ way: String = "--force to overwrite it") throws {
    if access(path, F_OK) == 0, !force { throw MCMError(.io, "\(path): exists, expected \(way)") }
    try checkWritable(path)
}
