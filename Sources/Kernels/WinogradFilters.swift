import CShims
import Microkernels

/// Output channels that one task computes.
let winogradColumns = 32

/// How the filters of a convolution are divided. Sums are made group by group, so groups depend on the number of
/// inputs alone; strides and counts are in floats.
struct WinogradBlocking {
    let inputs, outputs: Int
    /// Inputs come in groups of `depth`: a group's transformed filters for one block of outputs fit into the L2 cache.
    let groups, depth: Int

    init(inputs: Int, outputs: Int) {
        (self.inputs, self.outputs) = (inputs, outputs)
        depth = ((inputs + (inputs + 95) / 96 - 1) / ((inputs + 95) / 96) + 15) / 16 * 16
        groups = (inputs + depth - 1) / depth
    }

    var columnBlocks: Int { (outputs + winogradColumns - 1) / winogradColumns }

    func columns(_ block: Int) -> Range<Int> {
        (block * winogradColumns)..<min((block + 1) * winogradColumns, outputs)
    }

    func inputs(_ group: Int) -> Range<Int> { (group * depth)..<min((group + 1) * depth, inputs) }

    /// Between places: one cache line more than needed, for places a multiple of 4096 bytes apart would share a set of
    /// the L1 cache.
    var filterStride: Int { winogradColumns * depth + 16 }
    /// Of one block and group: (36, columns / 16, depth, 16).
    var filterCount: Int { winogradPlaces * filterStride }
    /// Of all blocks and groups.
    var totalCount: Int { columnBlocks * groups * filterCount }

    /// Asks for one of 36 shares of what `transform` reads.
    @inline(__always)
    func prefetch(_ weight: PackedMatrix, _ block: Int, _ group: Int, share: Int) {
        let columns = columns(block), inputs = inputs(group)
        let lines = inputs.count * weight.element.size / 16 + 1  // of 64 bytes: 9 * 16 elements per input, over 36
        for panel in (columns.lowerBound / 16)..<((columns.upperBound + 15) / 16) {
            let first = (panel * weight.k + inputs.lowerBound * 9) * 16 * weight.element.size
            for line in (share * lines)..<((share + 1) * lines) { shim_prefetch_far(weight.panels + first + line * 64) }
        }
    }

    func transform(_ weight: PackedMatrix, _ block: Int, _ group: Int, into out: UnsafeMutablePointer<Float>) {
        winogradFilters(
            filters(weight, block, group), element: weight.element,
            scales: weight.scales.map { $0.data + columns(block).lowerBound }, inputs: inputs,
            depth: inputs(group).count,
            panels: (columns(block).count + 15) / 16, into: out, placeStride: filterStride)
    }

    /// The first filter of a block and group.
    func filters(_ weight: PackedMatrix, _ block: Int, _ group: Int) -> UnsafeRawPointer {
        let first = (columns(block).lowerBound / 16 * weight.k + inputs(group).lowerBound * 9) * 16
        return UnsafeRawPointer(weight.panels + first * weight.element.size)
    }
}

/// All filters of a convolution, transformed.
final class TransformedFilters: Sendable {
    private let storage: FloatBuffer

    static func bytes(_ conv: Conv2D) -> Int {
        WinogradBlocking(inputs: conv.inputs, outputs: conv.outputs).totalCount * MemoryLayout<Float>.stride
    }

    init(_ conv: Conv2D, threads: Int) throws {
        let blocking = WinogradBlocking(inputs: conv.inputs, outputs: conv.outputs)
        let storage = try FloatBuffer(count: blocking.totalCount)
        self.storage = storage
        parallelFor(blocking.columnBlocks * blocking.groups, threads: threads) { task in
            blocking.transform(
                conv.weight, task / blocking.groups, task % blocking.groups,
                into: storage.data + task * blocking.filterCount)
        }
    }

    /// Blocks of `filterCount` floats, group by group within block by block.
    var data: UnsafePointer<Float> { UnsafePointer(storage.data) }
}
