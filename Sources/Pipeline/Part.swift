import Checkpoint
import Glibc
import Networks
import Synchronization

/// A network with what its weights take.
struct Loaded<Network: Sendable>: Sendable {
    let network: Network
    let parameterCount: Int
    /// Memory of the weights, and of filters kept transformed.
    let bytes, cacheBytes: Int
    /// Sums of squares of the weights, and of what rounding to 8 bits changed them by.
    let squares: (all: Double, error: Double)

    /// Makes a network of all of a checkpoint.
    init(
        _ checkpoint: CheckpointSource, _ options: WeightOptions, _ make: (Weights) throws -> Network
    ) throws {
        let counter = CountingSource(checkpoint, cacheBytes: options.cacheBytes)
        network = try make(Weights(counter, rounds: options.rounds, threads: options.threads))
        try checkpoint.finish()
        (parameterCount, bytes, cacheBytes) = (counter.count, counter.bytes, counter.cachedBytes)
        squares = counter.squares
    }
}

/// How weights are prepared.
struct WeightOptions: Sendable {
    var threads: Int
    /// Memory that filters kept transformed may take.
    var cacheBytes = 0
    /// Whether large matrices become 8-bit integers.
    var rounds = false
}

/// A network that is not needed all the time: there from the beginning, or made when it is needed and let go afterwards.
final class Part<Network: Sendable>: Sendable {
    private final class Holder: Sendable {
        let content: Loaded<Network>
        init(_ content: Loaded<Network>) { self.content = content }
    }

    /// What this process has made, under a lock.
    private final class Slot: Sendable {
        struct Content: ~Copyable {
            weak var holder: Holder?
        }

        let pid = getpid()
        let content = Mutex(Content())
    }

    private let kept: Holder?
    private let make: @Sendable () throws -> Loaded<Network>
    private let slot = Atomic<Unmanaged<Slot>>(.passRetained(Slot()))

    /// There from the beginning.
    init(_ content: Loaded<Network>) {
        kept = Holder(content)
        make = { content }
    }

    /// Made when it is needed.
    init(whenNeeded make: @escaping @Sendable () throws -> Loaded<Network>) { (kept, self.make) = (nil, make) }

    deinit { slot.load(ordering: .acquiring).release() }

    /// A child of fork gets a slot of its own: a lock that another thread held at the fork, perhaps for as long as
    /// loading takes, stays locked in the child for ever. What was there before is therefore never released.
    private var current: Slot {
        let pid = getpid()
        var found = slot.load(ordering: .acquiring)
        while found.takeUnretainedValue().pid != pid {
            let fresh = Unmanaged.passRetained(Slot())
            let (isOurs, other) = slot.compareExchange(
                expected: found, desired: fresh, ordering: .acquiringAndReleasing)
            if isOurs { return fresh.takeUnretainedValue() }
            fresh.release()
            found = other
        }
        return found.takeUnretainedValue()
    }

    /// Lends the network; those who use it at the same time share one. Errors: also those of making it.
    func use<R>(_ body: (Network) throws -> R) throws -> R {
        let holder =
            try kept
            ?? current.content.withLock { slot in
                if let holder = slot.holder { return holder }
                let holder = Holder(try make())
                slot.holder = holder
                return holder
            }
        return try withExtendedLifetime(holder) { try body(holder.content.network) }
    }

    /// Memory that it takes now.
    var memory: (weights: Int, cache: Int) {
        guard let content = (kept ?? current.content.withLock { $0.holder })?.content else { return (0, 0) }
        return (content.bytes, content.cacheBytes)
    }
}
