import Checkpoint
import Kernels

/// Byte-level byte-pair encoding (Sennrich et al. 2016, as in GPT-2) with "</w>" after a word's last symbol: a word
/// begins as its UTF-8 bytes, and of all neighbours that a merge joins, those of the lowest rank are joined first, from
/// the left, until no merge is left.
struct BytePairEncoding: Sendable {
    private struct Pair: Hashable {
        let left: Int, right: Int
    }

    private struct Merge {
        let rank: Int
        let id: Int  // of both symbols joined
    }

    static let endOfWord = "</w>"

    /// (512) Ids of the bytes inside of words, then of those at their ends.
    private var symbols: [Int]
    private var joined: [Pair: Merge] = [:]

    /// - Parameters:
    ///   - vocabulary: ids of tokens, in which each byte is written as its `ByteCharacters`
    ///   - merges: what is joined, in ascending order of rank; of two equal ones the last counts
    ///   - unknown: id for bytes that the vocabulary lacks
    ///   - complete: ids that need no merge; every other one of several bytes must come from one, so that cut files are
    ///     found
    ///   - name: of the merges in messages
    /// Errors: `.format`.
    init(
        _ vocabulary: Vocabulary, merges: [(left: String, right: String)], unknown: Int, complete: Set<Int>,
        name: String
    ) throws {
        let characters = ByteCharacters.all().map { String($0) }
        symbols = (characters + characters.map { $0 + Self.endOfWord }).map { vocabulary.ids[$0] ?? unknown }
        joined.reserveCapacity(merges.count)
        var made = complete
        made.reserveCapacity(merges.count)
        for (rank, merge) in merges.enumerated() {
            func id(_ token: String) throws -> Int {
                guard let id = vocabulary.ids[token] else {
                    throw MCMError(
                        .format,
                        "\(name): merge \(rank + 1), \(inMessage(merge.left + " " + merge.right)), needs the token "
                            + "\(inMessage(token)), expected it in \(vocabulary.name)")
                }
                return id
            }
            let pair = Pair(left: try id(merge.left), right: try id(merge.right))
            let result = try id(merge.left + merge.right)
            joined[pair] = Merge(rank: rank, id: result)
            made.insert(result)
        }
        for (token, id) in vocabulary.ids where !made.contains(id) && !Self.isSymbol(token) {
            throw MCMError(
                .format, "\(name): has no merge that makes the token \(inMessage(token)) of \(vocabulary.name)")
        }
    }

    private static func isSymbol(_ token: String) -> Bool {
        let length = token.unicodeScalars.count
        return length == 1 || length == 1 + endOfWord.utf8.count && token.hasSuffix(endOfWord)
    }

    /// Appends the tokens of one word.
    ///   word  its UTF-8 bytes
    func encode(_ word: [UInt8], into ids: inout [Int]) {
        guard let last = word.last else { return }
        var symbols = word.dropLast().map { self.symbols[Int($0)] }
        symbols.append(self.symbols[256 + Int(last)])
        let end = symbols.count
        // A list with links in both directions: a symbol that is joined to its left neighbour leaves it.
        var next = Array(1...end)
        var previous = Array(-1..<end - 1)
        var candidates = Heap()
        func consider(_ position: Int) {
            guard position >= 0, next[position] < end else { return }
            guard let merge = joined[Pair(left: symbols[position], right: symbols[next[position]])] else { return }
            candidates.insert(.init(rank: merge.rank, position: position))
        }
        for position in 0..<end - 1 { consider(position) }
        while let candidate = candidates.popFirst() {
            let position = candidate.position
            // What was a candidate may have been joined to something else since.
            guard next[position] < end, next[position] > position,
                let merge = joined[Pair(left: symbols[position], right: symbols[next[position]])],
                merge.rank == candidate.rank
            else { continue }
            let right = next[position]
            symbols[position] = merge.id
            next[position] = next[right]
            if next[right] < end { previous[next[right]] = position }
            next[right] = 0  // no longer in the list
            consider(previous[position])
            consider(position)
        }
        var position = 0
        while position < end {
            ids.append(symbols[position])
            position = next[position]
        }
    }
}

/// A binary heap of merges that could be done: the lowest rank first, of equal ones the leftmost.
private struct Heap {
    struct Candidate: Comparable {
        let rank: Int
        let position: Int

        static func < (a: Candidate, b: Candidate) -> Bool { (a.rank, a.position) < (b.rank, b.position) }
    }

    private var items: [Candidate] = []

    mutating func insert(_ candidate: Candidate) {
        var hole = items.count
        items.append(candidate)
        while hole > 0, candidate < items[(hole - 1) / 2] {
            items[hole] = items[(hole - 1) / 2]
            hole = (hole - 1) / 2
        }
        items[hole] = candidate
    }

    mutating func popFirst() -> Candidate? {
        guard let first = items.first, let last = items.popLast() else { return nil }
        guard !items.isEmpty else { return first }
        var hole = 0
        while true {
            var child = 2 * hole + 1
            guard child < items.count else { break }
            if child + 1 < items.count, items[child + 1] < items[child] { child += 1 }
            guard items[child] < last else { break }
            items[hole] = items[child]
            hole = child
        }
        items[hole] = last
        return first
    }
}
