/// A prompt whose parts weigh more or less, written as in the Stable Diffusion web UI:
///
/// - `(text)` multiplies the weight by 1.1, `[text]` divides it by 1.1, and `(text:1.3)` multiplies it by 1.3.
///   Brackets nest, and their factors multiply: in `(a (b:1.5) c)` b weighs 1.65.
/// - A factor is an optional sign, then digits and full stops that make a number, with whitespace around if you like.
///   Only a round bracket has one. Any other colon is text: `(a:x)` is "a:x" at 1.1.
/// - `\(`, `\)`, `\[`, `\]` and `\\` are the characters after the backslash. Any other backslash disappears.
/// - A closing bracket without an opening one is text: `a)`, `a:1.5)`. An opening bracket without a closing one holds
///   up to the prompt's end: `(a b` is "a b" at 1.1, and in `((a) b` a weighs 1.21 and b 1.1.
/// - Round and square brackets need not nest in one another: `(a [b) c]` closes each kind on its own.
/// - Brackets around nothing leave nothing: `()`, `(:1.5)`.
///
/// The word BREAK has no meaning here.
public struct PromptWeights: Sendable, Equatable {
    /// Text of one weight. Neighbours differ in their weights.
    public struct Run: Sendable, Equatable {
        public internal(set) var text: String
        /// Finite, also as a `Float`.
        public internal(set) var weight: Double
    }

    public private(set) var runs: [Run] = []

    /// All of one weight, brackets included.
    public init(plain prompt: String) { runs = prompt.isEmpty ? [] : [Run(text: prompt, weight: 1)] }

    /// Every text is a prompt.
    public init(parsing prompt: String) {
        let prompt = Array(prompt.unicodeScalars)
        var parts: [(text: [Unicode.Scalar], weight: Double)] = []
        var round: [Int] = [], square: [Int] = []  // the parts before each open bracket
        func scale(from first: Int, by factor: Double) {
            for part in first..<parts.count { parts[part].weight = Self.product(parts[part].weight, factor) }
        }
        var position = 0
        while position < prompt.count {
            let scalar = prompt[position]
            var end = position + 1
            switch scalar {
            case "\\":
                if end < prompt.count, "()[]\\".unicodeScalars.contains(prompt[end]) {
                    parts.append(([prompt[end]], 1))
                    end += 1
                }
            case "(": round.append(parts.count)
            case "[": square.append(parts.count)
            case ")" where !round.isEmpty: scale(from: round.removeLast(), by: Self.step)
            case "]" where !square.isEmpty: scale(from: square.removeLast(), by: 1 / Self.step)
            case ":":
                if let first = round.last, let factor = Self.factor(prompt[end...]) {
                    round.removeLast()
                    scale(from: first, by: factor.value)
                    end = factor.end
                } else {
                    parts.append(([scalar], 1))
                }
            default:
                while end < prompt.count, !"\\()[]:".unicodeScalars.contains(prompt[end]) { end += 1 }
                parts.append((Array(prompt[position..<end]), 1))
            }
            position = end
        }
        for first in round { scale(from: first, by: Self.step) }
        for first in square { scale(from: first, by: 1 / Self.step) }
        for (text, weight) in parts {
            if runs.last?.weight != weight { runs.append(Run(text: "", weight: weight)) }
            runs[runs.count - 1].text.unicodeScalars.append(contentsOf: text)
        }
    }

    private static let step = 1.1

    private static func product(_ weight: Double, _ factor: Double) -> Double {
        let limit = Double(Float.greatestFiniteMagnitude)
        return min(max(weight * factor, -limit), limit)
    }

    /// What a colon is followed by: a number and a closing bracket; `end` is behind that.
    private static func factor(_ text: ArraySlice<Unicode.Scalar>) -> (value: Double, end: Int)? {
        let text = text.drop { $0.properties.isWhitespace }
        let sign = text.first == "+" || text.first == "-" ? 1 : 0
        let digits = text.dropFirst(sign).prefix { ("0"..."9").contains($0) || $0 == "." }
        let rest = text.dropFirst(sign + digits.count).drop { $0.properties.isWhitespace }
        var number = String.UnicodeScalarView()
        number.append(contentsOf: text.prefix(sign + digits.count))
        guard rest.first == ")", let value = Double(String(number)), value.isFinite else { return nil }
        return (value, rest.startIndex + 1)
    }
}
