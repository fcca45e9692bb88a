// swift-tools-version: 6.2
import PackageDescription

// The library is built with flags that SwiftPM takes from packages at a path, a branch or a revision, not at a version.
let package = Package(
    name: "session",
    dependencies: [.package(name: "mcm", path: "../..")],
    targets: [.executableTarget(name: "session", dependencies: [.product(name: "LibMCM", package: "mcm")])],
    swiftLanguageModes: [.v6]
)
