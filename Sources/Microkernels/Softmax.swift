/// The state of one row's softmax while its scores come in blocks (Milakov and Gimelshein, "Online normalizer
/// calculation for softmax", 2018).
///   largest, total   of the blocks so far; -infinity and 0 before the first
///   scores           the next block, replaced by exp(score - the new largest)
///   returns          the factor by which what was summed with the earlier blocks' weights shrinks
public func softmaxBlock(
    _ scores: UnsafeMutablePointer<Float>, count: Int, largest: inout Float, total: inout Float
) -> Float {
    var top = V(repeating: largest)
    var j = 0
    while j + 16 <= count {
        top = max(top, load(scores + j))
        j += 16
    }
    var newLargest = largest
    for lane in 0..<16 where top[lane] > newLargest { newLargest = top[lane] }
    while j < count {
        if scores[j] > newLargest { newLargest = scores[j] }
        j += 1
    }
    var sums = V()
    j = 0
    while j + 16 <= count {
        let e = exp(load(scores + j) - newLargest)
        store(e, scores + j)
        sums += e
        j += 16
    }
    if j < count {
        var e = exp(load(scores + j, count - j) - newLargest)
        for lane in (count - j)..<16 { e[lane] = 0 }
        store(e, scores + j, count - j)
        sums += e
    }
    // The first block has nothing to shrink; -infinity minus -infinity would be NaN.
    let factor = largest == -.infinity ? 0 : exp(V(repeating: largest - newLargest))[0]
    total = total * factor + sum(sums)
    largest = newLargest
    return factor
}
