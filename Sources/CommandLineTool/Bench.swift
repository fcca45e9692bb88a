import ArgumentParser
import Checkpoint
import Glibc
import LibMCM

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Time a model's steps on this machine.",
        discussion: """
            A step is the network's prediction (two with guidance), modules and the scheduler's arithmetic. The first \
            step, which allocates memory, is not counted; of the others the median and the range are said. Close \
            other programs.

            EXAMPLES
              mcm bench base --threads 1,2
              mcm bench sd15 --size 512x512 --steps 5
              mcm bench base -m module.mcm.safetensors --batch 8 --json
            """)

    @Argument(help: "Folder of a diffusers model, or a .safetensors file.", completion: .file())
    var model: String
    @Option(
        name: .shortAndLong, help: ArgumentHelp("Modules that work in each step.", valueName: "file"),
        completion: .file())
    var module: [String] = []
    @Option(help: ArgumentHelp("Of images; the model's own by default.", valueName: "WxH"))
    var size: ImageSize?
    @Option(help: "Images at once.")
    var batch = 1
    @Option(help: "Steps that are counted.")
    var steps = 10
    @Option(
        name: .customLong("threads"),
        help: ArgumentHelp(
            "Numbers of threads to try. 0: as many as the process may use CPUs.", valueName: "n,..."))
    var threadList = "0"
    @Option(help: "Variant of the weights' file names, e.g. fp16.")
    var variant: String?
    @Flag(help: "Round large matrices to 8-bit integers.")
    var int8 = false
    @Option(help: "Guidance scale; 1: none.")
    var guidance: Float?
    @Flag(help: "As JSON.")
    var json = false

    private var threads: [Int?] {
        threadList.split(separator: ",", omittingEmptySubsequences: false).map { text in
            Int(text).flatMap { (0...256).contains($0) ? $0 : nil }
        }
    }

    func validate() throws {
        guard threads.allSatisfy({ $0 != nil }) else {
            throw ValidationError("--threads is \"\(threadList)\", expected numbers from 0 to 256")
        }
        guard (1...100_000).contains(steps), (1...65536).contains(batch) else {
            throw ValidationError("--steps \(steps) of --batch \(batch), expected at least 1 of each")
        }
    }

    func run() throws {
        Interrupt.watch()
        let results = try threads.compactMap { $0 }.map(time)
        if json {
            try Console.print(JSONValue.array(results).text)
        }
    }

    private func time(_ threads: Int) throws -> JSONValue {
        var options = Model.Options(threads: threads)
        (options.variant, options.rounds) = (variant, int8)
        let clock = ContinuousClock()
        let begin = clock.now
        let model = try Model(path: model, options)
        let loading = seconds(clock.now - begin)
        // As many steps of training, at most, as there are.
        let session = try Session(
            model, scheduler: .ddim, steps: min(max(2, steps + 1), model.schedulerConfig.numTrainTimesteps),
            batch: batch,
            width: size?.width, height: size?.height, guidance: guidance)
        for path in module { try session.attach(Modulator(path: path)) }
        if model.readsText {
            guard model.encodesText else {
                throw MCMError(.unsupported, "\(self.model): has no text encoder, expected one for a prompt")
            }
            try session.setPrompt("")
        }
        let inputs = batch * model.unet.classInputSize
        if inputs > 0 { try session.setClassInput([Float](repeating: 0, count: inputs)) }
        if model.readsMask {
            let (h, w) = session.imageSize
            func grey(_ value: UInt8) throws -> PixelImage {
                try PixelImage(width: w, height: h, channels: 1, pixels: [UInt8](repeating: value, count: w * h))
            }
            try session.setImage([grey(128)])
            try session.setMask([grey(255)])
        }
        try session.seed(0)
        var times: [Double] = []
        var isFirst = true
        while times.count < steps {
            if session.timestep == nil { try session.seed(0) }
            let start = clock.now
            _ = try session.next()
            if !isFirst { times.append(seconds(clock.now - start)) }
            isFirst = false
            try Interrupt.check("after \(times.count) of \(steps) steps")
        }
        times.sort()
        let median = (times[(times.count - 1) / 2] + times[times.count / 2]) / 2
        let size = session.imageSize
        if !json {
            try Console.print(
                "\(size.width) x \(size.height), batch \(batch), "
                    + "\(model.threads) thread\(model.threads == 1 ? "" : "s"): "
                    + "\(short(median)) s per step (\(short(times[0])) to \(short(times[times.count - 1])), "
                    + "\(times.count) steps), loaded in \(short(loading)) s, weights "
                    + "\(CommandLineTool.size(model.memory.weights)), session \(CommandLineTool.size(session.bytes))")
        }
        return .object([
            "model": .string(self.model), "fingerprint": .string(model.fingerprint), "width": .integer(size.width),
            "height": .integer(size.height), "batch": .integer(batch), "threads": .integer(model.threads),
            "steps": .integer(times.count), "median_seconds": .number(median), "minimum_seconds": .number(times[0]),
            "maximum_seconds": .number(times[times.count - 1]), "loading_seconds": .number(loading),
            "weights_bytes": .integer(model.memory.weights), "session_bytes": .integer(session.bytes),
            "avx512": .bool(Library.usesAVX512), "libmcm": .string(Library.version),
        ])
    }
}
