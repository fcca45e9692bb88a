/// A JSON value. A number without fraction that fits is an `integer`, however it is written (2 or 2.0).
public enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// Parses UTF-8 text. `name` is for messages. Errors: `.format`.
    ///   infinities   whether to take Python's Infinity and -Infinity, which are no JSON, for the largest numbers
    public init(parsing bytes: UnsafeRawBufferPointer, name: String, infinities: Bool = false) throws {
        if infinities {
            let text = replacingInfinities(bytes)
            self = try text.withUnsafeBytes { try JSONValue(parsing: $0, name: name) }
        } else {
            self = try JSONParser.parse(bytes, name: name)
        }
    }

    /// Parses a string, e.g. one from a file's metadata.
    public init(parsing text: String, name: String, infinities: Bool = false) throws {
        var text = text
        self = try text.withUTF8 {
            try JSONValue(parsing: UnsafeRawBufferPointer($0), name: name, infinities: infinities)
        }
    }
}

extension JSONValue: CustomStringConvertible {
    /// JSON again, on one line and cut short, for messages.
    public var description: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): quoted(value)
        case .array(let values):
            "[" + values.prefix(8).map(\.description).joined(separator: ", ") + (values.count > 8 ? ", ...]" : "]")
        case .object(let members): members.isEmpty ? "{}" : "{...}"
        }
    }
}

extension JSONValue {
    /// Compact JSON text, keys in ascending order: the same value always gives the same text.
    public var text: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): jsonLiteral(value)
        case .array(let values): "[" + values.map(\.text).joined(separator: ",") + "]"
        case .object(let members):
            "{"
                + members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
                .map { jsonLiteral($0.key) + ":" + $0.value.text }.joined(separator: ",") + "}"
        }
    }
}

/// The text with a number of the same length in place of each Infinity outside of strings.
private func replacingInfinities(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    let (infinity, number) = (Array("Infinity".utf8), Array("1.0e+308".utf8))
    var text = Array(bytes)
    var (isInString, i) = (false, 0)
    while i < text.count {
        if text[i] == UInt8(ascii: "\"") { isInString.toggle() }
        if isInString {
            i += text[i] == UInt8(ascii: "\\") ? 2 : 1
        } else if text[i...].starts(with: infinity) {
            text.replaceSubrange(i..<(i + infinity.count), with: number)
            i += infinity.count
        } else {
            i += 1
        }
    }
    return text
}
