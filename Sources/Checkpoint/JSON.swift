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
    public init(parsing bytes: UnsafeRawBufferPointer, name: String) throws {
        self = try JSONParser.parse(bytes, name: name)
    }

    /// Parses a string, e.g. one from a file's metadata.
    public init(parsing text: String, name: String) throws {
        var text = text
        self = try text.withUTF8 { try JSONValue(parsing: UnsafeRawBufferPointer($0), name: name) }
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
