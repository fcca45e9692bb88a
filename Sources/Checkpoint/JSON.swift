import FoundationEssentials
import Kernels

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
            self = try decodeJSON(JSONValue.self, from: bytes, name: name) { $0.keyCount }
        }
    }

    /// Parses a string, e.g. one from a file's metadata.
    public init(parsing text: String, name: String, infinities: Bool = false) throws {
        var text = text
        self = try text.withUTF8 {
            try JSONValue(parsing: UnsafeRawBufferPointer($0), name: name, infinities: infinities)
        }
    }

    /// Keys of this object and of all that it holds.
    private var keyCount: Int {
        switch self {
        case .array(let values): values.reduce(0) { $0 + $1.keyCount }
        case .object(let members): members.values.reduce(members.count) { $0 + $1.keyCount }
        default: 0
        }
    }
}

extension JSONValue: Decodable {
    public init(from decoder: any Decoder) throws {
        let box = try decoder.singleValueContainer()
        if box.decodeNil() {
            self = .null
        } else if let value = try? box.decode(String.self) {
            self = .string(value)
        } else if let value = try? box.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? box.decode(Int.self) {
            self = .integer(value)
        } else if let value = try? box.decode(Double.self), value.isFinite {
            self = .number(value)
        } else if let value = try? box.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try box.decode([String: JSONValue].self))
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

/// Decodes JSON after checks that JSONDecoder leaves out. It keeps the first of duplicate keys without a word, so the
/// keys in the text are counted and compared with `keyCount` of the result.
func decodeJSON<T: Decodable>(
    _ type: T.Type, from bytes: UnsafeRawBufferPointer, name: String, keyCount: (T) -> Int
) throws -> T {
    let keysInText = try scanJSON(bytes, name: name)
    let value: T
    do {
        value = try JSONDecoder().decode(type, from: Data(bytes))
    } catch DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context),
        DecodingError.keyNotFound(_, let context)
    {
        let path = context.codingPath.map { quoted($0.stringValue) + ": " }.joined()
        throw MCMError(.format, "\(name): \(path)\(oneLine(context.debugDescription))")
    } catch {
        // JSONDecoder does not say where.
        throw MCMError(.format, "\(name): is no valid JSON, or has a number that does not fit")
    }
    guard keysInText == keyCount(value) else {
        throw MCMError(
            .format,
            "\(name): has \(keysInText) keys, \(keyCount(value)) of them distinct and known; expected no "
                + "duplicate or unknown key")
    }
    return value
}

/// Objects and arrays may nest this deep. Decoding is recursive, at about 3 KiB a level, and a host may have threads
/// with stacks of 128 KiB; configurations use four levels.
private let nestingLimit = 16

/// Checks what can be told without parsing: UTF-8, no control characters (which JSONDecoder may take for UTF-16),
/// limited nesting, no comma before a closing bracket. Returns the number of keys.
private func scanJSON(_ bytes: UnsafeRawBufferPointer, name: String) throws -> Int {
    func failure(_ text: String) -> MCMError { MCMError(.format, "\(name): is no JSON text: \(text)") }
    // A byte order mark is not JSON, though JSONDecoder would accept it.
    guard isUTF8(bytes), bytes.first != 0xef else { throw failure("expected UTF-8 without a byte order mark") }
    var keys = 0
    var depth = 0
    var inString = false
    var escaped = false
    var previous: UInt8 = 0
    for (offset, byte) in bytes.enumerated() {
        if inString {
            guard byte >= 0x20 else { throw failure("control character \(byte) at byte \(offset)") }
            if !escaped, byte == UInt8(ascii: "\"") { inString = false }
            escaped = !escaped && byte == UInt8(ascii: "\\")
            continue
        }
        switch byte {
        case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r"):
            continue
        case 0..<0x20:
            throw failure("control character \(byte) at byte \(offset)")
        case UInt8(ascii: "\""):
            inString = true
        case UInt8(ascii: ":"):
            keys += 1
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            depth += 1
            guard depth <= nestingLimit else { throw failure("nested deeper than \(nestingLimit) at byte \(offset)") }
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
            depth -= 1
            guard previous != UInt8(ascii: ",") else { throw failure("a comma before the bracket at byte \(offset)") }
        default:
            break
        }
        previous = byte
    }
    return keys
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
