/// A JSON string literal of `text`, quotes included.
func jsonLiteral(_ text: String) -> String {
    var literal = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": literal += "\\\""
        case "\\": literal += "\\\\"
        case "\n": literal += "\\n"
        case "\u{0}"..<"\u{20}", "\u{7f}"..."\u{9f}", "\u{2028}", "\u{2029}":
            let digits = String(scalar.value, radix: 16)
            literal += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: literal.unicodeScalars.append(scalar)
        }
    }
    return literal + "\""
}

/// `text` in a message: quoted, on one line, and cut where it gets too long to read.
public func quoted(_ text: String) -> String {
    let limit = 200
    guard text.utf8.count > limit else { return jsonLiteral(text) }
    return jsonLiteral(String(text.unicodeScalars.prefix(limit))) + "..."
}

/// Foreign text inside a message, kept on one line.
func oneLine(_ text: String) -> String {
    String(text.unicodeScalars.prefix(300).map { $0.value < 0x20 ? " " : Character($0) })
}

/// Whether all of `bytes` is well-formed UTF-8.
func isUTF8(_ bytes: UnsafeRawBufferPointer) -> Bool {
    String(validating: bytes, as: UTF8.self) != nil
}
