import ArgumentParser
import CPNG
import Checkpoint
import Glibc
import LibMCM

struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what this machine and this build have: CPU features, threads, memory, versions.",
        discussion: """
            Ends with status 1 if the library cannot work here.

            EXAMPLES
              mcm doctor
              mcm doctor --json
            """)

    @Flag(help: "As JSON.")
    var json = false

    func run() throws {
        let facts = Self.facts
        if json {
            try Console.print(JSONValue.object(Dictionary(facts) { $1 }).text)
        } else {
            let width = facts.map(\.name.count).max() ?? 0
            for (name, value) in facts {
                var text = value.text
                if case .string(let plain) = value { text = plain }
                if case .integer(let bytes) = value, name.hasSuffix("_bytes") { text = size(bytes) }
                if case .array(let list) = value {
                    text = list.map { if case .string(let s) = $0 { s } else { $0.text } }.joined(separator: " ")
                }
                try Console.print(name + String(repeating: " ", count: width - name.count + 2) + text)
            }
        }
        try Library.checkCPU()
    }

    private static var facts: [(name: String, value: JSONValue)] {
        let cpu = cpuInfo()
        let supported: Bool
        do {
            try Library.checkCPU()
            supported = true
        } catch { supported = false }
        let wanted = ["avx2", "fma", "bmi2", "f16c", "avx512f", "avx512bw", "avx512vl", "asimd"]
        return [
            ("libmcm", .string(Library.version)), ("architecture", .string(architecture)),
            ("cpu", .string(cpu["model name"] ?? "unknown")),
            (
                "cpu_features",
                .array(
                    (cpu["flags"] ?? cpu["Features"] ?? "").split(separator: " ").map(String.init)
                        .filter(wanted.contains).sorted().map(JSONValue.string))
            ),
            ("cpu_is_supported", .bool(supported)),
            (
                "kernels",
                .string(Library.usesAVX512 ? "own, AVX-512" : architecture == "x86_64" ? "own, AVX2" : "own, NEON")
            ),
            ("blas", .string("none: libmcm has its own products, and shares no thread count with the host")),
            ("threads", .integer(Library.usableCPUs)),
            ("cpus_online", .integer(Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))),
            ("memory_bytes", .integer(Library.machineBytes)),
            ("libpng", .string(String(cString: png_get_libpng_ver(nil)))),
            ("system", .string(system)),
        ]
    }

    private static var architecture: String {
        #if arch(x86_64)
            "x86_64"
        #elseif arch(arm64)
            "arm64"
        #else
            "unknown"
        #endif
    }

    private static var system: String {
        var names = utsname()
        guard uname(&names) == 0 else { return "unknown" }
        func text<T>(_ field: T) -> String {
            withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        }
        return "\(text(names.sysname)) \(text(names.release))"
    }

    /// The first processor's lines of /proc/cpuinfo.
    private static func cpuInfo() -> [String: String] {
        guard let file = fopen("/proc/cpuinfo", "re") else { return [:] }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = fread(&bytes, 1, bytes.count, file)
        var info: [String: String] = [:]
        for line in String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            func trimmed(_ text: Substring) -> String {
                String(text.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
            }
            let key = trimmed(parts[0])
            if info[key] == nil { info[key] = trimmed(parts[1]) }
        }
        return info
    }
}
