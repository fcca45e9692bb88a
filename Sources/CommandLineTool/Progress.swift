import Glibc
import LibMCM

/// How far something is: a bar with the time that is left on a terminal, else a line for each tenth of the way, or each
/// half minute.
struct Progress {
    private let what: String
    private let total: Int
    private let isQuiet: Bool
    private let clock = ContinuousClock()
    /// The first update, from which time is counted: loading and the allocation of memory are before it.
    private var first: (done: Int, time: ContinuousClock.Instant)?
    private var last: (done: Int, time: ContinuousClock.Instant)

    ///   what  a name for one of `total`, e.g. "step"
    init(_ what: String, of total: Int, isQuiet: Bool) {
        (self.what, self.total, self.isQuiet) = (what, total, isQuiet)
        last = (0, clock.now)
    }

    ///   note  what else is known
    mutating func update(_ done: Int, _ note: String = "") {
        if isQuiet { return }
        let now = clock.now
        guard let first else {
            (self.first, last) = ((done, now), (done, now))
            return show(done, left: nil, note)
        }
        let perItem = seconds(now - first.time) / Double(max(1, done - first.done))
        let isTenth = done * 10 / max(1, total) > last.done * 10 / max(1, total)
        guard Console.isTerminal || done >= total || isTenth || now - last.time > .seconds(30) else { return }
        last = (done, now)
        show(done, left: perItem * Double(max(0, total - done)), note)
    }

    /// Leaves the line.
    mutating func end() {
        if !isQuiet, Console.isTerminal, first != nil { Console.error("\n") }
        first = nil
    }

    private func show(_ done: Int, left: Double?, _ note: String) {
        let parts = ["\(what) \(done) of \(total)"] + (note.isEmpty ? [] : [note])
        let rest = left.map { done < total ? ", \(duration($0)) left" : "" } ?? ""
        guard Console.isTerminal else { return Console.error(parts.joined(separator: ", ") + rest + "\n") }
        // One line, or the next would not overwrite it: the bar takes what the words leave.
        let columns = Console.columns - 1
        let words = (parts.joined(separator: ", ") + rest).prefix(columns)
        let width = min(24, columns - words.count - 3)
        guard width >= 4 else { return Console.error("\r\u{1b}[K" + words) }
        let filled = total > 0 ? min(width, done * width / total) : width
        let bar = String(repeating: "=", count: filled) + String(repeating: " ", count: width - filled)
        Console.error("\r\u{1b}[K[\(bar)] " + words)
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
    if abs(value) >= 1e9 {
        let exponent = log10(abs(value)).rounded(.down)
        return "\((value / pow(10, exponent - 2)).rounded() / 100)e\(Int(exponent))"
    }
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
