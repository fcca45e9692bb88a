import Glibc
import LibMCM
import Synchronization

/// Ctrl-C or a request to end, while something is to be ended in order: it is noted, and a second one ends the process
/// at once.
enum Interrupt {
    private static let noted = Atomic<Int32>(0)

    static var isPending: Bool { noted.load(ordering: .relaxed) != 0 }

    /// As shells have it: 130 after Ctrl-C, 143 after SIGTERM.
    static var exitCode: Int32 { 128 + (isPending ? noted.load(ordering: .relaxed) : SIGINT) }

    /// From now on. A signal that was to be ignored, as by nohup, stays so.
    static func watch() {
        _ = isPending  // made now: a handler must not be its first user
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { Interrupt.noted.store($0, ordering: .relaxed) }
        action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND) | UInt32(SA_RESTART))
        for signal in [SIGINT, SIGTERM] {
            var old = sigaction()
            sigaction(signal, nil, &old)
            let isIgnored = unsafeBitCast(old.__sigaction_handler.sa_handler, to: Int.self) == 1  // SIG_IGN
            if !isIgnored { sigaction(signal, &action, nil) }
        }
    }

    /// Throws `.cancelled` if there was one.
    static func check(_ what: @autoclosure () -> String) throws {
        if isPending { throw MCMError(.cancelled, "cancelled \(what())") }
    }
}
