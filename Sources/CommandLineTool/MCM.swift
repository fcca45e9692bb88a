import ArgumentParser
import Glibc
import Kernels
import LibMCM

@main
struct MCM: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mcm",
        abstract: "Controllable diffusion: draw with pretrained models, train and use conditioning modules.",
        discussion: """
            Images, modules and data go to files, what was done to standard output, progress to standard error. \
            Results do not depend on the number of threads.

            EXIT STATUS
              0    done
              1    a file, the machine or what does not fit together is at fault
              64   the command line is
              130  stopped by Ctrl-C (143: by SIGTERM)
            """,
        version: "mcm \(Library.version)",
        subcommands: [
            Generate.self, Train.self, RecordBank.self, Inspect.self, Convert.self, Bench.self, Doctor.self,
        ])

    /// Errors are one line, whoever found them.
    static func main() {
        Console.open()
        do {
            if CommandLine.arguments.dropFirst().first != "doctor" { try Library.checkCPU() }
            try checkArguments()
            var command = try parseAsRoot()
            try command.run()
        } catch let error as MCMError {
            fail(error.message, code: exitCode(error))
        } catch {
            let code = MCM.exitCode(for: error).rawValue
            if code == 0 { printAndExit(MCM.fullMessage(for: error)) }  // help, a version, a script
            let text = MCM.message(for: error).split(whereSeparator: \.isNewline).joined(separator: " ")
            fail(text + (code == 64 ? "; see mcm --help" : ""), code: code)
        }
    }

    private static func printAndExit(_ text: String) -> Never {
        do {
            try Console.print(text)
        } catch {
            fail("\(error)", code: 1)
        }
        Glibc.exit(0)
    }

    /// An argument that is no text would come as another one.
    private static func checkArguments() throws {
        for i in 1..<max(1, Int(CommandLine.argc)) {
            if let argument = CommandLine.unsafeArgv[i], String(validatingCString: argument) == nil {
                throw ValidationError("Argument \(i) is not UTF-8: \(String(cString: argument))")
            }
        }
    }

    private static func exitCode(_ error: MCMError) -> Int32 {
        switch error.kind {
        case .cancelled: Interrupt.exitCode
        case .invalidArgument: 64
        default: 1
        }
    }

    private static func fail(_ text: String, code: Int32) -> Never {
        Console.say("error: \(text)")
        Glibc.exit(code)
    }
}

/// Standard output and error, unbuffered and complete.
enum Console {
    static func error(_ text: String) { _ = write(text, to: STDERR_FILENO) }

    /// One line of this program's. What files and arguments say in it cannot steer the terminal.
    static func say(_ text: String) {
        error("mcm: " + String(String.UnicodeScalarView(text.unicodeScalars.map { isControl($0) ? "?" : $0 })) + "\n")
    }

    static func isControl(_ character: Unicode.Scalar) -> Bool {
        [.control, .format, .lineSeparator, .paragraphSeparator].contains(character.properties.generalCategory)
    }

    /// A descriptor that is closed would be given to the next file, and be written to as this.
    static func open() {
        for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 {
            _ = Glibc.open("/dev/null", descriptor == STDOUT_FILENO ? O_RDONLY : O_RDWR)  // a result is not lost unsaid
        }
    }

    /// Throws if it cannot be written, such as to a full disk.
    static func print(_ text: String) throws {
        if !write(text + "\n", to: STDOUT_FILENO) { throw systemError("standard output") }
    }

    /// Whether standard error has lines that can be written over.
    static var isTerminal: Bool {
        guard isatty(STDERR_FILENO) != 0, let kind = getenv("TERM") else { return false }
        return strcmp(kind, "dumb") != 0
    }

    /// Of the terminal's lines.
    static var columns: Int {
        var size = winsize()
        return ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
    }

    private static func write(_ text: String, to descriptor: Int32) -> Bool {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if written < 0, errno == EINTR { continue }
            if written <= 0 { return false }
            rest = rest.dropFirst(written)
        }
        return true
    }
}
