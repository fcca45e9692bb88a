import Synchronization

/// A workspace between two uses. Calls that come one after the other use it again; of calls at the same time all but
/// one make their own.
public final class IdleWorkspace: @unchecked Sendable {  // a workspace is handed over whole
    // No lock: one that another thread held at a fork would stay locked in the child for ever.
    private let slot = Atomic<Unmanaged<Workspace>?>(nil)
    private let size = Atomic<Int>(0)

    public init() {}

    /// Bytes that the waiting workspace holds.
    public var bytes: Int { size.load(ordering: .relaxed) }

    public func withWorkspace<R>(threads: Int, _ body: (Workspace) throws -> R) throws -> R {
        let workspace =
            slot.exchange(nil, ordering: .acquiringAndReleasing)?.takeRetainedValue()
            ?? Workspace(threads: threads)
        defer {
            size.store(workspace.bytes, ordering: .relaxed)
            slot.exchange(Unmanaged.passRetained(workspace), ordering: .acquiringAndReleasing)?.release()
        }
        return try body(workspace)
    }

    deinit { slot.load(ordering: .acquiring)?.release() }
}
