import Glibc
import Synchronization
import Testing

@testable import Kernels

@Suite struct ParallelTests {
    @Test(arguments: [0, 1, 2, 3, 8, 50, 300]) func everyIndexIsVisitedOnce(threads: Int) {
        for count in [0, 1, 2, 3, 7, 8, 9, 100, 1000] {
            #expect(visits(count, threads: threads) == [Int](repeating: 1, count: count), "\(count)")
        }
    }

    @Test func loopsMayBeNested() {
        let inner = Tally(5 * 7)
        parallelFor(5, threads: 3) { i in
            parallelFor(7, threads: 4) { j in inner.counts[i * 7 + j] += 1 }
        }
        #expect(inner.all == [Int](repeating: 1, count: 5 * 7))
    }

    @Test func hostThreadsDoNotDisturbEachOther() {
        let right = Atomic<Int>(0)
        onHostThreads(8) { host in
            for round in 0..<200 {
                let count = 1 + (host * 31 + round * 7) % 60
                if visits(count, threads: 1 + (host + round) % 5) == [Int](repeating: 1, count: count) {
                    right.add(1, ordering: .relaxed)
                }
            }
        }
        #expect(right.load(ordering: .relaxed) == 8 * 200)
    }

    @Test func bodiesAtWorkHaveDifferentThreadNumbers() {
        let wrong = Atomic<Int>(0)
        onHostThreads(4) { host in
            let threads = 2 + host
            let busy = Atomic<UInt>(0)  // a bit per number
            for _ in 0..<20 {
                parallelFor(100, threads: threads) { _, thread in
                    let bit = UInt(1) << UInt(thread)
                    let before = busy.bitwiseOr(bit, ordering: .relaxed).oldValue
                    if before & bit != 0 || thread >= threads { wrong.add(1, ordering: .relaxed) }
                    for _ in 0..<20 { sched_yield() }
                    busy.bitwiseAnd(~bit, ordering: .relaxed)
                }
            }
        }
        #expect(wrong.load(ordering: .relaxed) == 0)
    }

    /// In a process of its own, where no other test takes the workers.
    @Test func workersHelpBeforeAndAfterFork() async {
        await #expect(processExitsWith: .success) {
            endAfter(seconds: 30)
            guard areAtWorkTogether(4), isEveryIndexVisited() else { _exit(2) }
            guard isTrueInChild({ areAtWorkTogether(4) && isEveryIndexVisited() }) else { _exit(3) }
            // The parent's workers are still there.
            _exit(areAtWorkTogether(4) ? 0 : 4)
        }
    }

    /// A thread that does not exist in the child must not have left anything locked there.
    @Test func aForkMayMeetLoopsOfOtherThreads() async {
        await #expect(processExitsWith: .success) {
            endAfter(seconds: 60)
            var thread = pthread_t()
            pthread_create(
                &thread, nil,
                { _ in
                    while true { parallelFor(2, threads: 2) { _ in } }
                }, nil)
            for _ in 0..<400 {
                guard isTrueInChild(isEveryIndexVisited) else { _exit(2) }
            }
            _exit(0)
        }
    }
}

/// Counters that the bodies of a loop write to, each to its own place.
private final class Tally: @unchecked Sendable {
    let counts: UnsafeMutableBufferPointer<Int>

    init(_ count: Int) {
        counts = .allocate(capacity: count)
        counts.initialize(repeating: 0)
    }

    deinit { counts.deallocate() }

    var all: [Int] { Array(counts) }
}

/// How often a loop calls its body with each index.
private func visits(_ count: Int, threads: Int) -> [Int] {
    let tally = Tally(count)
    parallelFor(count, threads: threads) { i in
        // Now and then a body is late: the loop must not end without it.
        if i % 8 == 7 { sched_yield() }
        tally.counts[i] += 1
    }
    return tally.all
}

private func isEveryIndexVisited() -> Bool { visits(100, threads: 4) == [Int](repeating: 1, count: 100) }

/// Whether `threads` bodies can be at work at the same time: each waits for all others.
private func areAtWorkTogether(_ threads: Int) -> Bool {
    let arrived = Atomic<Int>(0)
    parallelFor(threads, threads: threads) { _ in
        arrived.add(1, ordering: .relaxed)
        while arrived.load(ordering: .relaxed) < threads { sched_yield() }
    }
    return arrived.load(ordering: .relaxed) == threads
}

/// Whether `body` is true in a child of fork, and comes to an end there.
private func isTrueInChild(_ body: () -> Bool) -> Bool {
    // Swift hides fork, whose children must not call most of what they could; what the library does there is tested.
    let fork = unsafeBitCast(dlsym(nil, "fork")!, to: (@convention(c) () -> pid_t).self)
    let child = fork()
    if child == 0 {
        endAfter(seconds: 15)
        _exit(body() ? 0 : 1)
    }
    var status: Int32 = -1
    return child > 0 && waitpid(child, &status, 0) == child && status == 0
}

/// Ends this process by a signal if it still runs then, because its threads wait for each other for ever.
private func endAfter(seconds: UInt32) {
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGALRM)
    pthread_sigmask(SIG_UNBLOCK, &signals, nil)
    alarm(seconds)
}

/// Runs `body` on `count` threads that the library does not know, at the same time.
func onHostThreads(_ count: Int, _ body: (Int) -> Void) {
    withoutActuallyEscaping(body) { body in
        final class Start {
            let index: Int
            let body: (Int) -> Void
            init(_ index: Int, _ body: @escaping (Int) -> Void) { (self.index, self.body) = (index, body) }
        }
        let threads = (0..<count).map { index in
            var thread = pthread_t()
            let status = pthread_create(
                &thread, nil,
                { raw in
                    let start = Unmanaged<Start>.fromOpaque(raw!).takeRetainedValue()
                    start.body(start.index)
                    return nil
                }, Unmanaged.passRetained(Start(index, body)).toOpaque())
            precondition(status == 0)
            return thread
        }
        for thread in threads { pthread_join(thread, nil) }
    }
}
