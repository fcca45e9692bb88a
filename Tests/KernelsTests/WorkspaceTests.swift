import Glibc
import Testing

@testable import Kernels

@Suite struct WorkspaceTests {
    @Test func theFirstGapThatHoldsIsTaken() throws {
        let workspace = Workspace(threads: 1)
        let start = try address(1008, in: workspace)
        for count in [1000, 1008, 600, 1] { #expect(try address(count, in: workspace) == start) }
        #expect(workspace.bytes == 4 * 1008)

        // Gaps of 96, 192 and 384 floats, apart from each other by 16.
        var tensors = try [96, 16, 192, 16, 384, 16].map { try Tensor(1, 1, 1, $0, in: workspace) as Tensor? }
        let places = tensors.map { UInt(bitPattern: $0!.data) }
        #expect(places == [0, 96, 112, 304, 320, 704].map { start + 4 * $0 })
        for i in [0, 4, 2] { tensors[i] = nil }
        let after = places[4] + 4 * 112
        #expect(try withTensors([100, 100, 80, 96], in: workspace) == [places[2], places[4], places[0], after])
        // A gap and those beside it become one, whichever comes first.
        for i in [3, 1] { tensors[i] = nil }
        #expect(try withTensors([704, 288], in: workspace) == [start, places[5] + 64])
        tensors[5] = nil
        #expect(try address(1008, in: workspace) == start)
        #expect(workspace.bytes == 4 * 1008)
    }

    /// A chunk is as large as the tensor that needs it or as half of what there is, and comes last.
    @Test func chunksAreAddedBehindTheOthers() throws {
        let workspace = Workspace(threads: 1)
        let first = try address(1600, in: workspace)
        let places = try withTensors([1600, 100, 600], in: workspace)
        #expect(workspace.bytes == 4 * 2400)
        #expect(places[0] == first && places[2] == places[1] + 4 * 112)
        let large = try address(2000, in: workspace)
        #expect(workspace.bytes == 4 * 4400)
        #expect(try withTensors([1600, 800, 2000], in: workspace) == [first, places[1], large])
        #expect(try withTensors([1000, 1000, 800], in: workspace) == [first, large, places[1]])
        #expect(workspace.bytes == 4 * 4400)
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
        var workspace: Workspace? = Workspace(threads: 1)
        let x = try Tensor(1, 1, 1, 60_000, in: workspace!)
        var y: Tensor? = try Tensor(1, 1, 1, 70_000, in: workspace!)  // in a chunk of its own
        for i in 0..<60_000 { (x.data[i], y!.data[i]) = (Float(i), Float(-i)) }
        weak let gone = workspace
        workspace = nil
        #expect((0..<60_000).allSatisfy { y!.data[$0] == Float(-$0) })
        y = nil
        #expect(values(x) == (0..<60_000).map { Float($0) })
        #expect(gone != nil)
    }

    @Test func theWorkspaceGoesWithItsLastTensor() throws {
        weak var workspace: Workspace?
        do {
            let strong = Workspace(threads: 1)
            workspace = strong
            _ = try Tensor(1, 1, 1, 100, in: strong)
        }
        #expect(workspace == nil)
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
        for (count, size) in [(1 << 60, 1 << 30), (0, 1 << 40)] {  // elements that nobody reads
            let elements = withUnsafeBytes(of: 0) { StoredFloats(.f32, $0.baseAddress!, count: count) }
            expectOutOfMemory("a matrix of \(size) x \(size)") {
                _ = try PackedMatrix(elements, n: size, inputs: size, threads: 1)
            }
        }
    }

    /// All chunks together fit into the machine's memory. None of it is touched here.
    @Test(.enabled(if: systemGrants(4 * (machine / 10 * 9)), "this system grants less memory than it has"))
    func chunksTogetherStayBelowTheMachinesMemory() throws {
        let workspace = Workspace(threads: 1)
        let place = try address(machine / 5 * 3, in: workspace)
        try withBlock(machine / 5 * 3, in: workspace) {
            expectOutOfMemory("3/5 and 3/5") { _ = try Tensor(1, 1, 1, machine / 5 * 3, in: workspace) }
            try withBlock(machine / 5, in: workspace) {}
        }
        #expect(workspace.bytes >= 4 * (machine / 5 * 4) && workspace.bytes <= 4 * machine)
        // Chunks stay: what none of them holds finds no room beside them, though no tensor is left.
        let bytes = workspace.bytes
        expectOutOfMemory("7/10 beside 4/5") { _ = try Tensor(1, 1, 1, machine / 10 * 7, in: workspace) }
        #expect(workspace.bytes == bytes)
        #expect(try address(machine / 5 * 3, in: workspace) == place)
        try withBlock(machine / 10 * 7, in: Workspace(threads: 1)) {}
    }

    // MARK: Sequences of tensors

    /// A computation: tensors taken, and released, in an order of a seed, none in the end.
    private func compute(
        seed: UInt64, in workspace: Workspace, largest: Int = 5000, _ look: ([Tensor]) throws -> Void = { _ in }
    ) throws -> [UInt] {
        var random = SplitMix(seed: seed), live: [Tensor] = [], addresses: [UInt] = []
        for step in 0..<200 {
            if live.isEmpty || step < 150 && live.count < 20 && random.int(0...2) > 0 {
                let x = try Tensor(1, 1, 1, random.int(0...largest), in: workspace)
                addresses.append(UInt(bitPattern: x.data))
                live.append(x)
            } else {
                live.remove(at: random.int(0...(live.count - 1)))
            }
            try look(live)
        }
        live = []
        return addresses
    }

    @Test func fromTheSecondTimeAllStaysAsItIs() throws {
        for seed in 1...200 as ClosedRange<UInt64> {
            let workspace = Workspace(threads: 1)
            let addresses = try compute(seed: seed, in: workspace)
            let bytes = workspace.bytes
            #expect(bytes > 0)
            for _ in 0..<3 {
                #expect(try compute(seed: seed, in: workspace) == addresses, "\(seed)")
                #expect(workspace.bytes == bytes, "\(seed)")
            }
        }
    }

    /// What another computation adds changes nothing for those before it, and is there for itself.
    @Test func computationsDoNotDisturbEachOther() throws {
        for seed in 1...50 as ClosedRange<UInt64> {
            let workspace = Workspace(threads: 1)
            let kinds = [(seed, 3000), (seed + 100, 6000), (seed + 200, 50), (seed + 300, 20_000), (seed, 6000)]
            var addresses: [[UInt]] = []
            for (seed, largest) in kinds {
                addresses.append(try compute(seed: seed, in: workspace, largest: largest))
            }
            let bytes = workspace.bytes
            for i in [0, 1, 2, 3, 4, 4, 2, 0, 3, 1] {
                #expect(try compute(seed: kinds[i].0, in: workspace, largest: kinds[i].1) == addresses[i], "\(seed)")
                #expect(workspace.bytes == bytes, "\(seed)")
            }
        }
    }

    /// Live tensors never share a float, whatever the order.
    @Test(arguments: 1...20) func tensorsNeverOverlap(seed: UInt64) throws {
        let workspace = Workspace(threads: 1)
        if seed % 2 == 0 { _ = try address(40_000, in: workspace) }  // one chunk for many of them
        var next: Float = 0
        var marks: [UInt: Float] = [:]
        // The third needs more than is there.
        for (seed, largest) in [(seed, 3000), (seed, 3000), (seed + 100, 6000), (seed + 100, 6000), (seed, 3000)] {
            _ = try compute(seed: seed, in: workspace, largest: largest) { live in
                for (i, x) in live.enumerated() where x.count > 0 {
                    let begin = UInt(bitPattern: x.data), end = begin + UInt(4 * x.count)
                    #expect(begin % 64 == 0)
                    for y in live[..<i] where y.count > 0 {
                        let other = UInt(bitPattern: y.data)
                        #expect(end <= other || other + UInt(4 * y.count) <= begin)
                    }
                    if i == live.count - 1, marks[begin] == nil || x.data[0] != marks[begin] {
                        next += 1
                        x.buffer.update(repeating: next)
                        marks[begin] = next
                    }
                }
                // What was written into a tensor is still there.
                for x in live where x.count > 0 {
                    let mark = marks[UInt(bitPattern: x.data)]
                    #expect(x.data[0] == mark && x.data[x.count - 1] == mark)
                }
                marks = marks.filter { mark in live.contains { UInt(bitPattern: $0.data) == mark.key } }
            }
        }
    }

    /// Chunks that hold nothing go; what is in use stays, and so do the places of chunks.
    @Test func trimmingGivesBackWhatIsNotInUse() throws {
        let workspace = Workspace(threads: 1)
        workspace.trim()
        var small: Tensor? = try Tensor(1, 1, 1, 1600, in: workspace)
        let large = try Tensor(1, 1, 1, 16000, in: workspace)
        large.buffer.update(repeating: 3)
        workspace.trim()
        #expect(workspace.bytes == 4 * 17600)
        withExtendedLifetime(small) {}
        small = nil
        workspace.trim()
        #expect(workspace.bytes == 4 * 16000 && workspace.peakBytes == 4 * 17600)
        let other = try Tensor(1, 1, 1, 32000, in: workspace)
        other.buffer.update(repeating: 4)
        #expect(workspace.bytes == 4 * 48000 && workspace.peakBytes == 4 * 48000)
        #expect(large.buffer.allSatisfy { $0 == 3 } && other.buffer.allSatisfy { $0 == 4 })
    }

    /// An allocation that fails, at any moment, leaves everything as it was.
    @Test func aFailureChangesNothing() throws {
        for seed in 1...20 as ClosedRange<UInt64> {
            let workspace = Workspace(threads: 1)
            func computeWithFailures() throws -> [UInt] {
                try compute(seed: seed, in: workspace) { live in
                    let bytes = workspace.bytes
                    for count in [machine, machine + 1] {  // beside a chunk, and at all
                        expectOutOfMemory("\(seed)") { _ = try Tensor(1, 1, 1, count, in: workspace) }
                    }
                    #expect(workspace.bytes == bytes)
                    live.last?.buffer.update(repeating: 1)
                }
            }
            let addresses = try computeWithFailures()
            let bytes = workspace.bytes
            #expect(try compute(seed: seed, in: workspace) == addresses && computeWithFailures() == addresses)
            #expect(workspace.bytes == bytes, "\(seed)")
        }
    }

    /// Where the system has less than what chunks like to be, it is asked for the tensor's own size.
    @Test func whatTheSystemRefusesIsAnError() async {
        await #expect(processExitsWith: .success) {
            let workspace = Workspace(threads: 1), mebi = 1 << 18  // floats
            let place = try address(256 * mebi, in: workspace)
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
            limit.rlim_cur = rlim_t(try addressSpace() + 4 * 16 * mebi)
            try #require(setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0)

            // What malloc has in reserve, but for 8 MiB.
            var reserve: [UnsafeMutableRawPointer] = []
            while let block = malloc(8 << 20) { reserve.append(block) }
            free(reserve.popLast())

            let x = try Tensor(1, 1, 1, 256 * mebi, in: workspace)
            let y = try Tensor(1, 1, 1, 2 * mebi, in: workspace)
            #expect(workspace.bytes == 4 * 258 * mebi)
            y.buffer.update(repeating: 1)
            for _ in 0..<3 { expectOutOfMemory("100 MiB") { _ = try Tensor(1, 1, 1, 100 * mebi, in: workspace) } }
            #expect(workspace.bytes == 4 * 258 * mebi && UInt(bitPattern: x.data) == place)
            #expect(y.data[0] == 1 && y.data[2 * mebi - 1] == 1)
            try withExtendedLifetime((x, y)) { _ = try Tensor(1, 1, 1, mebi, in: workspace) }
            exit(workspace.bytes == 4 * 259 * mebi ? 0 : 1)
        }
    }

    /// Gaps and chunks that are too small cost something beside what lives at the same time: half of it in the mean of
    /// these sequences, as much again in the worst.
    @Test func theArenaIsNotMuchLargerThanWhatLives() throws {
        var worst = 0.0, sum = 0.0
        for seed in 1...1000 as ClosedRange<UInt64> {
            let workspace = Workspace(threads: 1)
            var most = 0
            _ = try compute(seed: seed, in: workspace, largest: seed % 2 == 0 ? 5000 : 500_000) { live in
                most = max(most, live.reduce(0) { $0 + max(1, ($1.count + 15) / 16) * 64 })
            }
            #expect(workspace.bytes >= most)
            worst = max(worst, Double(workspace.bytes) / Double(most))
            sum += Double(workspace.bytes) / Double(most)
        }
        #expect(worst < 2.5 && sum / 1000 < 1.7)
        print("arena over peak: mean \(sum / 1000), worst \(worst)")
    }

    /// Of tensors that live one at a time, each a little larger than the last, most find a chunk: before one is added,
    /// all are smaller than the tensor and the last is a third of them or more.
    @Test func tensorsThatGrowTakeABoundedMultiple() throws {
        for growth in [1.002, 1.01, 1.1, 1.3, 1.5, 2, 3] {
            let workspace = Workspace(threads: 1)
            var count = 1600.0
            while count < 1e6 {
                let x = try Tensor(1, 1, 1, Int(count), in: workspace)
                withExtendedLifetime(x) {}
                #expect(Double(workspace.bytes) <= 4.5 * 4 * (count + 16), "\(growth)")
                count *= growth
            }
        }
    }

    private func withBlock(_ count: Int, in workspace: Workspace, _ body: () throws -> Void) throws {
        let x = try Tensor(1, 1, 1, count, in: workspace)
        try withExtendedLifetime(x) { try body() }
    }
}

/// The floats that the machine's memory holds.
private let machine = sysconf(Int32(_SC_PHYS_PAGES)) * (sysconf(Int32(_SC_PAGESIZE)) / 4)

private func systemGrants(_ bytes: Int) -> Bool {
    let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    return memory != MAP_FAILED && munmap(memory, bytes) == 0
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

/// The process's, in bytes.
private func addressSpace() throws -> Int {
    let file = try #require(fopen("/proc/self/statm", "r"))
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 200)
    fgets(&line, Int32(line.count), file)
    return strtol(line, nil, 10) * sysconf(Int32(_SC_PAGESIZE))
}
