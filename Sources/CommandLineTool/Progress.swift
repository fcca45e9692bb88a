import LibMCM

/// How far something is: a bar with the time that is left on a terminal, else a line for each tenth of the way, or each
/// half minute.
struct Progress {
    private let what: String
    private let total: Int
    private let isQuiet: Bool
    private let clock = ContinuousClock()
    private let begin: ContinuousClock.Instant
    private var first: Int?  // done when the clock began
    private var last: (done: Int, time: ContinuousClock.Instant)

    ///   what  a name for one of `total`, e.g. "step"
    init(_ what: String, of total: Int, isQuiet: Bool) {
        (self.what, self.total, self.isQuiet) = (what, total, isQuiet)
        begin = clock.now
        last = (0, begin)
    }

    ///   note  what else is known
    mutating func update(_ done: Int, _ note: String = "") {
        if isQuiet { return }
        let now = clock.now
        // The first one tells nothing: memory is allocated in it.
        guard let first else {
            (self.first, last) = (done - 1, (done, now))
            return show(done, left: nil, note)
        }
        let perItem = seconds(now - begin) / Double(max(1, done - first))
        let isTenth = done * 10 / max(1, total) > last.done * 10 / max(1, total)
        guard done >= total || isTenth || now - last.time > .seconds(Console.isTerminal ? 0 : 30) || Console.isTerminal
        else { return }
        last = (done, now)
        show(done, left: perItem * Double(max(0, total - done)), note)
    }

    /// Leaves the line.
    func end() {
        if !isQuiet, Console.isTerminal, first != nil { Console.error("\n") }
    }

    private func show(_ done: Int, left: Double?, _ note: String) {
        let parts = ["\(what) \(done) of \(total)"] + (note.isEmpty ? [] : [note])
        let rest = left.map { done < total ? ", \(duration($0)) left" : "" } ?? ""
        guard Console.isTerminal else { return Console.error(parts.joined(separator: ", ") + rest + "\n") }
        let width = 24, filled = total > 0 ? min(width, done * width / total) : width
        let bar = String(repeating: "=", count: filled) + String(repeating: " ", count: width - filled)
        Console.error("\r\u{1b}[K[\(bar)] " + parts.joined(separator: ", ") + rest)
    }
}

func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
}

/// "0:07", "1:02:33".
func duration(_ seconds: Double) -> String {
    let s = Int(min(max(0, seconds.isFinite ? seconds : 0), 1e9).rounded(.up))
    func two(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }
    return s < 3600 ? "\(s / 60):\(two(s % 60))" : "\(s / 3600):\(two(s / 60 % 60)):\(two(s % 60))"
}

/// With three digits that count.
func short(_ value: Double) -> String {
    guard value.isFinite, value != 0 else { return "\(value)" }
    var (unit, x) = (1.0, abs(value))
    while x < 100 && unit < 1e9 { (x, unit) = (x * 10, unit * 10) }
    let rounded = (value * unit).rounded() / unit
    return unit == 1 ? "\(Int(rounded))" : "\(rounded)"
}

/// "7.2 MB".
func size(_ bytes: Int) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"]
    var (value, i) = (Double(bytes), 0)
    while value >= 1000 && i < 4 { (value, i) = (value / 1000, i + 1) }
    return i == 0 ? "\(bytes) bytes" : "\((value * 10).rounded() / 10) \(units[i])"
}
