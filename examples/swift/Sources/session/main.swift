// A session in a loop of the program's own: looks at each step, and could change the session between them.
//
//   swift run -c release session [folder of the fashion example] [out.png] [seed]

import Glibc
import LibMCM

let arguments = CommandLine.arguments.dropFirst()
let folder = arguments.first ?? "../fashion"
let out = arguments.dropFirst().first ?? "session.png"
let seed = arguments.dropFirst(2).first.flatMap { UInt64($0) } ?? 1

do {
    try Library.checkCPU()
    let session = try Session(Model(path: "\(folder)/base"), scheduler: .ddim, steps: 25)
    try session.attach(
        Modulator(path: "\(folder)/module.mcm.safetensors"),
        [
            "sketch": .png("\(folder)/conditions/00_sketch.png"),
            "segmentation": .png("\(folder)/conditions/00_segmentation.png"),
        ])
    try session.seed(seed)
    while let step = try session.next() {
        if step.number % 8 == 1 {
            print("step \(step.number) of \(step.count), from timestep \(step.timestep):")
            show(try step.preview())
        }
    }
    let image = try session.image()
    try image.write(to: out)
    print("wrote \(out): \(image.width)x\(image.height), seed \(seed)")
} catch {
    // One line that says what was found and what was expected.
    let line = "\(error)\n"
    _ = write(STDERR_FILENO, line, line.utf8.count)
    exit(1)
}

/// What the network takes the result to be, in characters, every other row.
func show(_ image: PixelImage) {
    for y in stride(from: 0, to: image.height, by: 2) {
        let row = image.pixels[(y * image.width * image.channels)...].prefix(image.width * image.channels)
        print(String(row.map { Array(" .:-=+*#%@")[Int($0) * 10 / 256] }))
    }
}
