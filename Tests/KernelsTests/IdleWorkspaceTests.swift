import Glibc
import Synchronization
import Testing

@testable import Kernels

@Suite struct IdleWorkspaceTests {
    @Test func callsInTurnUseOneWorkspace() throws {
        let idle = IdleWorkspace()
        #expect(idle.bytes == 0)
        var seen: [ObjectIdentifier] = [], first: Workspace?
        for _ in 0..<3 {
            try idle.withWorkspace(threads: 2) { workspace in
                first = first ?? workspace
                #expect(workspace.threads == 2)
                seen.append(ObjectIdentifier(workspace))
                _ = try Tensor(1, 1, 1, 1000, in: workspace)
                _ = try Tensor(1, 1, 1, 500, in: workspace)
            }
            #expect(idle.bytes == 4 * 1008)
        }
        #expect(Set(seen).count == 1)
        withExtendedLifetime(first) {}
    }

    /// Each has its own; the outer one, which ends last, waits for the next call.
    @Test func callsMayBeNested() throws {
        let idle = IdleWorkspace()
        var outer: Workspace?, inner: Workspace?
        try idle.withWorkspace(threads: 1) { first in
            let x = try Tensor(1, 1, 1, 2000, in: first)
            try idle.withWorkspace(threads: 1) { second in
                #expect(first !== second)
                let y = try Tensor(1, 1, 1, 100, in: second)
                #expect(x.data != y.data)
                inner = second
            }
            #expect(idle.bytes == 4 * 112)
            outer = first
            withExtendedLifetime(x) {}
        }
        #expect(idle.bytes == 4 * 2000)
        try idle.withWorkspace(threads: 1) { #expect($0 === outer) }
        withExtendedLifetime(inner) {}
    }

    @Test func anErrorReturnsTheWorkspace() throws {
        let idle = IdleWorkspace()
        #expect(throws: MCMError.self) {
            try idle.withWorkspace(threads: 1) { workspace in
                _ = try Tensor(1, 1, 1, 1000, in: workspace)
                throw MCMError(.state, "")
            }
        }
        #expect(idle.bytes == 4 * 1008)
    }

    /// Threads that call at the same time never have the same workspace, and leave one that works.
    @Test func callsAtTheSameTime() throws {
        let idle = IdleWorkspace()
        let wrong = Atomic<Int>(0)
        onHostThreads(6) { host in
            for round in 0..<300 {
                let mark = Float(host * 1000 + round)
                do {
                    try idle.withWorkspace(threads: 1) { workspace in
                        let x = try Tensor(1, 1, 1, 100 * (1 + (host + round) % 3), in: workspace)
                        x.buffer.update(repeating: mark)
                        sched_yield()
                        if !values(x).allSatisfy({ $0 == mark }) { wrong.add(1, ordering: .relaxed) }
                    }
                } catch {
                    wrong.add(1, ordering: .relaxed)
                }
            }
        }
        #expect(wrong.load(ordering: .relaxed) == 0)
        try idle.withWorkspace(threads: 1) { _ = try Tensor(1, 1, 1, 300, in: $0) }
        // The order of the sizes decides: a chunk for each at most.
        #expect((4 * 304...4 * (112 + 208 + 304)).contains(idle.bytes))
    }
}
