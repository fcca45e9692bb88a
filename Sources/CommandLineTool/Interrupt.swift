import Glibc
import LibMCM
import Synchronization

/// Ctrl-C while something is to be ended in order: it is noted, and a second one ends the process at once.
enum Interrupt {
    private static let isNoted = Atomic<Bool>(false)

    static var isPending: Bool { isNoted.load(ordering: .relaxed) }

    static func watch() {
        _ = isPending  // made now: a handler must not be its first user
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in Interrupt.isNoted.store(true, ordering: .relaxed) }
        action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND) | UInt32(SA_RESTART))
        sigaction(SIGINT, &action, nil)
        sigaction(SIGTERM, &action, nil)
    }

    /// Throws `.cancelled` if there was one.
    static func check(_ what: @autoclosure () -> String) throws {
        if isPending { throw MCMError(.cancelled, "cancelled \(what())") }
    }
}
