// swift-tools-version: 6.2
import PackageDescription

// Numeric targets are built for x86-64-v3 (AVX2, FMA); MCM and LibMCM are not, so that they can tell an older CPU so.
#if arch(x86_64)
    let numeric: [SwiftSetting] = [.unsafeFlags(["-Xcc", "-march=x86-64-v3"])]
#else
    let numeric: [SwiftSetting] = []
#endif
// Kernels are optimised in debug builds too: unoptimised numeric code is a hundred times slower.
// Their exclusivity is checked statically only: run-time checks take time, and take it under the thread pool's lock.
let kernels: [SwiftSetting] =
    numeric + [.unsafeFlags(["-O"], .when(configuration: .debug)), .unsafeFlags(["-enforce-exclusivity=unchecked"])]
// The innermost loops: no overflow traps, their callers check sizes.
let microkernels: [SwiftSetting] = [.unsafeFlags(["-Ounchecked"])]
#if arch(x86_64)
    // A symbolic link to Sources/Microkernels: the same sources for another instruction set.
    let wide: [Target] = [
        .target(
            name: "MicrokernelsAVX512", dependencies: ["CShims"],
            swiftSettings: microkernels + [.define("AVX512"), .unsafeFlags(["-Xcc", "-march=x86-64-v4"])])
    ]
    let kernelDependencies: [Target.Dependency] = ["CShims", "Microkernels", "MicrokernelsAVX512"]
#else
    let wide: [Target] = []
    let kernelDependencies: [Target.Dependency] = ["CShims", "Microkernels"]
#endif
// The command line alone needs another package: MCM_LIBRARY_ONLY=1 leaves both out, as where GitHub is out of reach.
let hasCommandLine = (Context.environment["MCM_LIBRARY_ONLY"] ?? "").isEmpty
let commandLine: [Target] =
    !hasCommandLine
    ? []
    : [
        .executableTarget(
            name: "CommandLineTool",
            dependencies: ["LibMCM", "CPNG", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            linkerSettings: [
                .unsafeFlags([
                    "-static-stdlib", "-use-ld=lld", "-Xlinker", "--gc-sections", "-Xlinker", "--as-needed",
                    "-Xlinker", "-znow",
                    // What ArgumentParser's FoundationEssentials is made of.
                    "-l_FoundationCollections", "-l_FoundationCShims",
                ])
            ])
    ]
let root = Context.packageDirectory

let package = Package(
    name: "mcm",
    products: [
        .library(name: "mcm", type: .dynamic, targets: ["MCM"]),
        .library(name: "LibMCM", targets: ["LibMCM"]),
    ] + (hasCommandLine ? [.executable(name: "mcm-cli", targets: ["CommandLineTool"])] : []),  // installed as mcm
    dependencies: hasCommandLine
        ? [.package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0")] : [],
    targets: [
        .systemLibrary(name: "CMCM", path: "include"),
        .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
        .target(name: "CShims"),
        .target(name: "CLIPMerges", exclude: ["merges.txt", "LICENSE"]),

        // One-way: each target knows only those above it.
        .target(name: "Microkernels", dependencies: ["CShims"], swiftSettings: numeric + microkernels),
        .target(name: "Kernels", dependencies: kernelDependencies, swiftSettings: kernels),
        .target(name: "Checkpoint", dependencies: ["Kernels"], swiftSettings: numeric),
        .target(name: "Text", dependencies: ["Kernels", "Checkpoint", "CLIPMerges"], swiftSettings: numeric),
        .target(name: "Images", dependencies: ["Kernels", "CPNG"], swiftSettings: numeric),
        .target(name: "Sampling", dependencies: ["Kernels"], swiftSettings: numeric),
        .target(name: "Networks", dependencies: ["Kernels", "Checkpoint", "Images"], swiftSettings: numeric),
        .target(
            name: "Pipeline", dependencies: ["Networks", "Text", "Sampling", "Images", "Checkpoint", "Kernels"],
            swiftSettings: numeric),
        .target(name: "Training", dependencies: ["Pipeline"], swiftSettings: numeric),
        .target(
            name: "MCM", dependencies: ["Pipeline", "Training", "CMCM", "CShims"], exclude: ["mcm.map"],
            linkerSettings: [
                .unsafeFlags([
                    "-static-stdlib", "-use-ld=lld", "-Xlinker", "--version-script=\(root)/Sources/MCM/mcm.map",
                    "-Xlinker", "--gc-sections", "-Xlinker", "-soname=libmcm.so.1", "-Xlinker", "-znodelete",
                    "-Xlinker", "--as-needed", "-Xlinker", "-zdefs", "-Xlinker", "-znow",
                ])
            ]),
        .target(
            name: "LibMCM",
            dependencies: ["CShims", "Training", "Pipeline", "Networks", "Sampling", "Images", "Checkpoint"]),
        // A package of its own, too (examples/swift); here it is built and tested beside the rest.
        .executableTarget(name: "session", dependencies: ["LibMCM"], path: "examples/swift/Sources/session"),

        .target(name: "TestSupport", dependencies: ["Kernels", "Checkpoint", "Networks"], path: "Tests/TestSupport"),
        .testTarget(
            name: "KernelsTests", dependencies: kernelDependencies + ["Kernels", "TestSupport"],
            swiftSettings: numeric),
        .testTarget(name: "CheckpointTests", dependencies: ["Checkpoint", "TestSupport"]),
        .testTarget(name: "TextTests", dependencies: ["Text", "TestSupport"]),
        .testTarget(name: "ImagesTests", dependencies: ["Images", "TestSupport"]),
        .testTarget(name: "SamplingTests", dependencies: ["Sampling", "Pipeline", "TestSupport"]),
        .testTarget(name: "NetworksTests", dependencies: ["Networks", "TestSupport"]),
        .testTarget(name: "PipelineTests", dependencies: ["Pipeline", "TestSupport"]),
        .testTarget(
            name: "LibMCMTests", dependencies: ["LibMCM", "TestSupport"]),
        .testTarget(name: "TrainingTests", dependencies: ["Training", "TestSupport"]),
    ] + wide + commandLine,
    swiftLanguageModes: [.v6]
)
