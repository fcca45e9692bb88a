// The Swift API: what a program needs of the core, under one name, and ways to use it without pointers.
//
//     import LibMCM
//
//     let model = try Model(path: "examples/fashion/base")
//     let session = try Session(model, scheduler: .ddim, steps: 25)
//     try session.attach(try Modulator(path: "module.mcm.safetensors"), ["sketch": .png("sketch.png")])
//     try session.seed(7)
//     while let step = try session.next() { print(step.timestep) }
//     try session.image().write(to: "boot.png")
//
// Whatever throws, throws an MCMError: a kind, and one line that says what was found and what was expected. Models,
// modules, ControlNets, prompts, data sets and banks are immutable and Sendable; a session or trainer belongs to one
// thread at a time.

@_exported import enum Checkpoint.JSONValue
@_exported import struct Images.PixelImage
@_exported import struct Kernels.MCMError
@_exported import class Networks.Modulator
@_exported import class Pipeline.ControlNetModel
@_exported import class Pipeline.Model
@_exported import class Pipeline.Prompt
@_exported import struct Pipeline.PromptOptions
@_exported import class Pipeline.Session
@_exported import enum Sampling.SchedulerKind
@_exported import class Training.Bank
@_exported import class Training.Dataset
@_exported import class Training.Trainer
@_exported import struct Training.Base
@_exported import struct Training.Source
@_exported import struct Training.TrainerOptions

import CShims
import Checkpoint
import Kernels

/// The library and the machine that it runs on.
public enum Library {
    public static let version = "0.1.0"

    /// Throws `.cpu` where the arithmetic would end the process by an illegal instruction. Ask before anything else, if
    /// the program may run on x86-64 CPUs from before 2013.
    public static func checkCPU() throws {
        guard shim_cpu_is_supported() else {
            throw MCMError(.cpu, "the CPU lacks AVX2, FMA or BMI2, expected one with x86-64-v3")
        }
    }

    /// Whether the inner loops for AVX-512 are used. Results do not depend on it.
    public static var usesAVX512: Bool { shim_cpu_has_avx512() }
    /// The CPUs that this process may use, and with them the threads of a call unless a model's options say otherwise.
    public static var usableCPUs: Int { Kernels.usableCPUs }
    /// Memory of the machine.
    public static var machineBytes: Int { Kernels.machineBytes }
}
