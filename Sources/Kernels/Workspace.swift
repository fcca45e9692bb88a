import Glibc

/// Where the tensors of one computation live: an arena of chunks that grows while the computation runs for the first
/// time and is the same ever after.
///
/// A tensor lies in the first chunk that has room, at the first gap that holds it; only if there is none, a chunk is
/// added behind the others. So the same sequence of tensors, begun with none, gets the same places again: what was
/// added later is not touched before its turn. A computation allocates no tensor from its second time on.
///
/// One thread at a time; every session has its own.
public final class Workspace {
    /// The threads that kernels may use, the caller's included.
    public let threads: Int
    /// Where kernels note what they do, if gradients are wanted.
    public var tape: Tape?
    /// Where group norms have their moments from, if not from what they normalise.
    public var sharedMoments: SharedMoments?
    private var chunks: [Chunk] = []
    private var total = 0  // floats of all chunks
    /// The most memory that it has held at a time.
    public private(set) var peakBytes = 0

    public init(threads: Int) {
        self.threads = max(1, threads)
    }

    deinit {
        for chunk in chunks { free(chunk.base) }
    }

    /// Memory that it holds.
    public var bytes: Int { total * MemoryLayout<Float>.stride }

    /// Gives back the chunks that hold nothing: for a computation that goes on with tensors too large for them.
    public func trim() {
        for i in chunks.indices where chunks[i].isEmpty {
            free(chunks[i].base)
            total -= chunks[i].count
            chunks[i] = Chunk()
        }
    }

    final class Block {
        let pointer: UnsafeMutablePointer<Float>
        private let chunk: Int
        private let place: Range<Int>  // in the chunk
        private let workspace: Workspace

        fileprivate init(_ chunk: Int, _ place: Range<Int>, _ workspace: Workspace) {
            pointer = workspace.chunks[chunk].base! + place.lowerBound  // a chunk in use has not been given back
            (self.chunk, self.place, self.workspace) = (chunk, place, workspace)
        }

        deinit { workspace.chunks[chunk].give(back: place) }
    }

    func block(_ count: Int) throws -> Block {
        guard count <= machineFloats else {
            throw MCMError(.outOfMemory, "\(count) floats exceed the machine's memory")
        }
        let needed = (max(count, 1) + 15) / 16 * 16  // whole cache lines
        for i in chunks.indices {
            if let place = chunks[i].take(needed) { return Block(i, place, self) }
        }
        // A tensor's own size or, to have few chunks, half of what there is, but no more than 32 MiB in vain.
        let i = try addChunk(max(needed, min(total / 2, 8 << 20)), atLeast: needed)
        return Block(i, chunks[i].take(needed) ?? 0..<needed, self)
    }

    /// The new chunk's index: that of one given back, if any.
    private func addChunk(_ wanted: Int, atLeast needed: Int) throws -> Int {
        let size = min(wanted, machineFloats - total)
        guard size >= needed else {
            throw MCMError(
                .outOfMemory, "\(needed) floats beside the \(total) at work exceed the machine's memory")
        }
        let (base, count): (UnsafeMutablePointer<Float>, Int)
        if size > needed, let large = try? allocateFloats(size) {
            (base, count) = (large, size)
        } else {
            (base, count) = (try allocateFloats(needed), needed)
        }
        total += count
        peakBytes = max(peakBytes, bytes)
        let chunk = Chunk(base: base, count: count)
        if let i = chunks.firstIndex(where: { $0.count == 0 }) {
            chunks[i] = chunk
            return i
        }
        chunks.append(chunk)
        return chunks.count - 1
    }

    private struct Chunk {
        let base: UnsafeMutablePointer<Float>?  // nil for a chunk given back
        let count: Int
        private var gaps: [Range<Int>]  // ascending, apart from each other

        init(base: UnsafeMutablePointer<Float>, count: Int) {
            (self.base, self.count, gaps) = (base, count, [0..<count])
        }

        init() { (base, count, gaps) = (nil, 0, []) }

        var isEmpty: Bool { count > 0 && gaps == [0..<count] }

        mutating func take(_ count: Int) -> Range<Int>? {
            guard let i = gaps.firstIndex(where: { $0.count >= count }) else { return nil }
            let gap = gaps[i]
            let place = gap.lowerBound..<(gap.lowerBound + count)
            if place == gap { gaps.remove(at: i) } else { gaps[i] = place.upperBound..<gap.upperBound }
            return place
        }

        mutating func give(back place: Range<Int>) {
            var place = place
            var i = gaps.firstIndex { $0.lowerBound >= place.upperBound } ?? gaps.count
            if i < gaps.count, gaps[i].lowerBound == place.upperBound {
                place = place.lowerBound..<gaps.remove(at: i).upperBound
            }
            if i > 0, gaps[i - 1].upperBound == place.lowerBound {
                i -= 1
                place = gaps.remove(at: i).lowerBound..<place.upperBound
            }
            gaps.insert(place, at: i)
        }
    }
}
