import Glibc
import Testing

@testable import Kernels

@Suite struct WorkspaceTests {
    @Test func aReleasedBlockServesTheNextTensor() throws {
        let workspace = Workspace(threads: 1)
        let first = try address(1000, in: workspace)
        #expect(try address(1000, in: workspace) == first)
        #expect(try address(600, in: workspace) == first)
        // Too large, and so small that most of the block would lie idle.
        #expect(try address(1001, in: workspace) != first)
        #expect(try address(400, in: workspace) != first)
    }

    @Test func theSmallestBlockThatHoldsIsTaken() throws {
        let workspace = Workspace(threads: 1)
        let addresses = try withTensors([1800, 1200, 1500], in: workspace)
        #expect(try address(1100, in: workspace) == addresses[1])
        #expect(try address(1300, in: workspace) == addresses[2])
        #expect(try withTensors([1100, 1100, 1100], in: workspace) == [addresses[1], addresses[2], addresses[0]])
    }

    @Test func aBlockInUseIsNotGivenAway() throws {
        let workspace = Workspace(threads: 1)
        var x: Tensor? = try Tensor(1, 10, 10, 10, in: workspace)
        let first = UInt(bitPattern: x!.data)
        // A reshaped copy keeps the block when the original goes.
        let copy = x!.reshaped(1, 1, 100, 10)
        x = nil
        #expect(UInt(bitPattern: copy.data) == first && copy.count == 1000)
        let other = try Tensor(1, 10, 10, 10, in: workspace)
        #expect(other.data != copy.data)
        withExtendedLifetime((copy, other)) {}
    }

    @Test func tensorsOutliveTheirWorkspace() throws {
        let x = try Tensor(1, 1, 1, 100, in: Workspace(threads: 1))
        for i in 0..<100 { x.data[i] = Float(i) }
        #expect(values(x) == (0..<100).map { Float($0) })
    }

    @Test func blocksAreAlignedAndNeverEmpty() throws {
        let workspace = Workspace(threads: 0)
        #expect(workspace.threads == 1)
        for count in [0, 1, 15, 17, 1000] {
            let x = try Tensor(1, 1, 1, count, in: workspace)
            #expect(UInt(bitPattern: x.data) % 64 == 0)
            #expect(x.buffer.count == count)
        }
    }

    @Test func impossibleSizesAreErrors() {
        let workspace = Workspace(threads: 1)
        for count in [Int.max / 8, Int.max / 4, 1 << 60, 1 << 61, 1 << 62, Int.max, -1, .min] {
            expectOutOfMemory("\(count)") { _ = try Tensor(1, 1, 1, count, in: workspace) }
            expectOutOfMemory("\(count)") { _ = try FloatBuffer(count: count) }
        }
        expectOutOfMemory("2^60") { _ = try Tensor(1 << 15, 1 << 15, 1 << 15, 1 << 15, in: workspace) }
        expectOutOfMemory("2^80") { _ = try Tensor(1 << 20, 1 << 20, 1 << 20, 1 << 20, in: workspace) }
        expectOutOfMemory("2^64") { _ = try Tensor(1 << 32, 1 << 32, 1, 1, in: workspace) }
        expectOutOfMemory("negative") { _ = try Tensor(1, -2, -3, 1, in: workspace) }
        expectOutOfMemory("a matrix of 2^60") { _ = try PackedMatrix(k: 1 << 30, n: 1 << 30) { _, _ in 0 } }
        expectOutOfMemory("a matrix of 2^80") { _ = try PackedMatrix(k: 1 << 40, n: 1 << 40) { _, _ in 0 } }
    }

    /// All tensors together, whether at work or waiting, fit into the machine's memory. None of it is touched here.
    @Test(.enabled(if: systemGrants(4 * (machine / 10 * 8)), "this system grants less memory than it has"))
    func tensorsTogetherStayBelowTheMachinesMemory() throws {
        let workspace = Workspace(threads: 1)
        try withBlock(machine / 5 * 3, in: workspace) {
            expectOutOfMemory("3/5 and 3/5") { _ = try Tensor(1, 1, 1, machine / 5 * 3, in: workspace) }
            try withBlock(machine / 5, in: workspace) {}
        }
        // The free blocks make room for one that none of them holds.
        try withBlock(machine / 10 * 7, in: workspace) {
            expectOutOfMemory("7/10 and 2/5") { _ = try Tensor(1, 1, 1, machine / 5 * 2, in: workspace) }
        }
    }

    private func withBlock(_ count: Int, in workspace: Workspace, _ body: () throws -> Void) throws {
        let x = try Tensor(1, 1, 1, count, in: workspace)
        try withExtendedLifetime(x) { try body() }
    }

    private func expectOutOfMemory(
        _ what: Comment, at location: SourceLocation = #_sourceLocation, _ body: () throws -> Void
    ) {
        let error = #expect(throws: MCMError.self, what, sourceLocation: location, performing: body)
        #expect(error?.kind == .outOfMemory, what, sourceLocation: location)
    }

    /// Where a tensor of `count` floats lies that goes at once.
    private func address(_ count: Int, in workspace: Workspace) throws -> UInt {
        try withTensors([count], in: workspace)[0]
    }

    /// Where tensors lie that live together and go at once.
    private func withTensors(_ counts: [Int], in workspace: Workspace) throws -> [UInt] {
        let tensors = try counts.map { try Tensor(1, 1, 1, $0, in: workspace) }
        return withExtendedLifetime(tensors) { tensors.map { UInt(bitPattern: $0.data) } }
    }
}

/// The floats that the machine's memory holds.
private let machine = sysconf(Int32(_SC_PHYS_PAGES)) / 4 * sysconf(Int32(_SC_PAGESIZE))

private func systemGrants(_ bytes: Int) -> Bool {
    let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    return memory != MAP_FAILED && munmap(memory, bytes) == 0
}
