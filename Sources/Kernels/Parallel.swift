import CShims
import Glibc
import Synchronization

/// Runs `body(i)` for every i in 0..<count, on up to `threads` threads, the caller's included. The order is not
/// defined: bodies write to separate places, and split their work by shape, never by thread, so that results do not
/// depend on the number of threads.
public func parallelFor(_ count: Int, threads: Int, _ body: (Int) -> Void) {
    parallelFor(count, threads: threads) { i, _ in body(i) }
}

/// The same with the number of the thread, in 0..<threads, for scratch memory: bodies at work at the same time have
/// different ones.
public func parallelFor(_ count: Int, threads: Int, _ body: (_ index: Int, _ thread: Int) -> Void) {
    if threads <= 1 || count <= 1 {
        for i in 0..<count { body(i, 0) }
        return
    }
    withoutActuallyEscaping(body) { body in
        withUnsafePointer(to: body) { body in
            ThreadPool.current.run(Job(count: count, helpers: min(threads, count) - 1, body: body))
        }
    }
}

/// The CPUs that this process may use.
public var usableCPUs: Int { Int(shim_usable_cpus()) }

/// One parallel loop. Threads draw indices until none is left.
private final class Job: @unchecked Sendable {  // `helpers` changes under the pool's lock only
    let count: Int
    var helpers: Int  // threads that may still join; its value is the number of the next one
    let active = Atomic<Int>(0)  // helpers at work
    private let next = Atomic<Int>(0)
    /// The caller's; a helper may hold the job a little longer, but calls nothing then.
    private let body: UnsafePointer<(Int, Int) -> Void>

    init(count: Int, helpers: Int, body: UnsafePointer<(Int, Int) -> Void>) {
        (self.count, self.helpers, self.body) = (count, helpers, body)
    }

    func work(thread: Int) {
        while true {
            let i = next.add(1, ordering: .relaxed).oldValue
            if i >= count { return }
            body.pointee(i, thread)
        }
    }
}

/// The process's worker threads: made when first needed, shared by all callers, joined when the library is unloaded or
/// the process exits. Invisible to the host but for the threads themselves.
///
/// A small network has hundreds of loops of a few microseconds, and waking a sleeping thread takes as long: who waits,
/// for work or for the last helper, first spins for some ten microseconds. An idle pool sleeps.
private final class ThreadPool: @unchecked Sendable {  // mutable state is atomic or under `mutex`
    /// The pool of this process. A child of fork has no worker threads, so it gets a new pool. No lock guards this:
    /// one that another thread held at the fork would stay locked in the child for ever.
    static var current: ThreadPool {
        let pid = getpid()
        var found = shared.load(ordering: .acquiring)
        while true {
            if let pool = found?.takeUnretainedValue(), pool.pid == pid { return pool }
            let fresh = Unmanaged.passRetained(ThreadPool(pid: pid))
            let (isOurs, other) = shared.compareExchange(
                expected: found, desired: fresh, ordering: .acquiringAndReleasing)
            if isOurs {
                shim_on_unload { ThreadPool.endCurrent() }
                return fresh.takeUnretainedValue()
            }
            fresh.release()
            found = other
        }
    }
    private static let shared = Atomic<Unmanaged<ThreadPool>?>(nil)  // retained for ever

    private let pid: pid_t
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let done = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var jobs: [Job] = []
    private let posted = Atomic<Int>(0)  // jobs so far
    private var workers: [pthread_t] = []
    private var isEnding = false
    private static let maximumWorkers = 255
    private static let spins = 1000

    private init(pid: pid_t) {
        self.pid = pid
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(wake, nil)
        pthread_cond_init(done, nil)
    }

    deinit {
        mutex.deallocate()
        wake.deallocate()
        done.deallocate()
    }

    /// Works on `job` until it is finished, with the help of idle workers.
    func run(_ job: Job) {
        // A thread that is cancelled while it waits would leave with the lock, and its helpers on its stack.
        var cancelState: Int32 = 0
        pthread_setcancelstate(Int32(PTHREAD_CANCEL_DISABLE), &cancelState)
        defer { pthread_setcancelstate(cancelState, nil) }

        pthread_mutex_lock(mutex)
        while workers.count < min(job.helpers, Self.maximumWorkers), startWorker() {}
        jobs.append(job)
        posted.add(1, ordering: .relaxed)
        // Costs nothing when nobody sleeps.
        if job.helpers == 1 { pthread_cond_signal(wake) } else { pthread_cond_broadcast(wake) }
        pthread_mutex_unlock(mutex)

        job.work(thread: 0)

        pthread_mutex_lock(mutex)
        jobs.removeAll { $0 === job }
        pthread_mutex_unlock(mutex)
        for _ in 0..<Self.spins {
            if job.active.load(ordering: .acquiring) == 0 { return }
            shim_pause()
        }
        pthread_mutex_lock(mutex)
        while job.active.load(ordering: .acquiring) > 0 { pthread_cond_wait(done, mutex) }
        pthread_mutex_unlock(mutex)
    }

    /// Starts one more worker; false if the system has no thread to give, then there are fewer.
    private func startWorker() -> Bool {
        if isEnding { return false }
        // Signals are the host's business: its handlers must not run on our threads.
        var all = sigset_t()
        var old = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &old)
        defer { pthread_sigmask(SIG_SETMASK, &old, nil) }
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self)
        let status = pthread_create(
            &thread, nil,
            { raw in
                Unmanaged<ThreadPool>.fromOpaque(raw!).takeRetainedValue().serve()
                return nil
            }, context.toOpaque())
        guard status == 0 else {
            context.release()
            return false
        }
        workers.append(thread)
        return true
    }

    private func serve() {
        pthread_mutex_lock(mutex)
        while !isEnding {
            guard let job = jobs.first(where: { $0.helpers > 0 }) else {
                awaitJob()
                continue
            }
            let thread = job.helpers
            job.helpers -= 1
            job.active.add(1, ordering: .relaxed)
            pthread_mutex_unlock(mutex)
            job.work(thread: thread)
            pthread_mutex_lock(mutex)
            if job.active.subtract(1, ordering: .releasing).newValue == 0 { pthread_cond_broadcast(done) }
        }
        pthread_mutex_unlock(mutex)
    }

    /// With the lock held, as on return.
    private func awaitJob() {
        let seen = posted.load(ordering: .relaxed)
        pthread_mutex_unlock(mutex)
        for _ in 0..<Self.spins where posted.load(ordering: .relaxed) == seen { shim_pause() }
        pthread_mutex_lock(mutex)
        if posted.load(ordering: .relaxed) == seen && !isEnding { pthread_cond_wait(wake, mutex) }
    }

    /// Ends and joins the workers of this process. Loops that come later run on their callers' threads alone.
    private static func endCurrent() {
        guard let pool = shared.load(ordering: .acquiring)?.takeUnretainedValue(), pool.pid == getpid() else { return }
        // A signal handler that calls exit may have interrupted a thread that holds the lock: then the workers stay.
        var tries = 0
        while pthread_mutex_trylock(pool.mutex) != 0 {
            tries += 1
            if tries > 100 { return }
            usleep(1000)
        }
        pool.isEnding = true
        let workers = pool.workers
        pool.workers = []
        pthread_cond_broadcast(pool.wake)
        pthread_mutex_unlock(pool.mutex)
        for worker in workers { pthread_join(worker, nil) }
    }
}
