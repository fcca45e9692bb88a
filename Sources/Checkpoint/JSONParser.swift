import Kernels

/// Reads one JSON text (RFC 8259), strictly: UTF-8 without a byte order mark, no duplicate keys, limited nesting,
/// numbers that fit. Time is linear in the text.
struct JSONParser {
    /// Objects and arrays may nest this deep. Parsing is recursive, and a host may have threads with small stacks;
    /// configurations use four levels.
    private static let nestingLimit = 16

    private let bytes: UnsafeRawBufferPointer
    private let name: String
    private var position = 0

    /// Parses the whole text. Errors: `.format`.
    static func parse(_ bytes: UnsafeRawBufferPointer, name: String) throws -> JSONValue {
        var parser = JSONParser(bytes, name)
        guard isUTF8(bytes), bytes.first != 0xef else {
            throw parser.failure("expected UTF-8 without a byte order mark")
        }
        let value = try parser.value(depth: 0)
        guard parser.next == nil else { throw parser.failure("expected its end") }
        return value
    }

    private init(_ bytes: UnsafeRawBufferPointer, _ name: String) {
        self.bytes = bytes
        self.name = name
    }

    /// The byte at the position, if there is one.
    private var byte: UInt8? { position < bytes.count ? bytes[position] : nil }

    /// The first byte that is no whitespace; the position moves there.
    private var next: UInt8? {
        mutating get {
            while let byte, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
            return byte
        }
    }

    private func failure(_ expected: String) -> MCMError {
        MCMError(.format, "\(name): is no valid JSON at byte \(position): \(expected)")
    }

    private mutating func value(depth: Int) throws -> JSONValue {
        switch next {
        case UInt8(ascii: "{"): return .object(try object(depth: depth + 1))
        case UInt8(ascii: "["): return .array(try array(depth: depth + 1))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "n"):
            try word("null")
            return .null
        case UInt8(ascii: "t"):
            try word("true")
            return .bool(true)
        case UInt8(ascii: "f"):
            try word("false")
            return .bool(false)
        default: return try number()
        }
    }

    private mutating func object(depth: Int) throws -> [String: JSONValue] {
        var pairs: [(key: String, value: JSONValue)] = []
        try list(end: UInt8(ascii: "}"), depth) { parser in
            guard parser.next == UInt8(ascii: "\"") else { throw parser.failure("expected a key") }
            let key = try parser.string()
            guard parser.next == UInt8(ascii: ":") else { throw parser.failure("expected a colon") }
            parser.position += 1
            pairs.append((key, try parser.value(depth: depth)))
        }
        // With its size known, a large dictionary takes half the time.
        var members: [String: JSONValue] = [:]
        members.reserveCapacity(pairs.count)
        for (key, value) in pairs where members.updateValue(value, forKey: key) != nil {
            throw failure("expected no duplicate of the key \(quoted(key)) in the object before")
        }
        return members
    }

    private mutating func array(depth: Int) throws -> [JSONValue] {
        var values: [JSONValue] = []
        try list(end: UInt8(ascii: "]"), depth) { parser in values.append(try parser.value(depth: depth)) }
        return values
    }

    /// What stands between two brackets, with a comma after each element but the last.
    private mutating func list(end: UInt8, _ depth: Int, _ element: (inout JSONParser) throws -> Void) throws {
        guard depth <= Self.nestingLimit else { throw failure("nested deeper than \(Self.nestingLimit)") }
        position += 1  // the opening bracket
        if next == end {
            position += 1
            return
        }
        while true {
            try element(&self)
            let separator = next
            guard separator == end || separator == UInt8(ascii: ",") else {
                throw failure("expected a comma or a bracket")
            }
            position += 1
            if separator == end { return }
            guard next != end else { throw failure("a comma before the bracket") }
        }
    }

    private mutating func word(_ text: StaticString) throws {
        for offset in 0..<text.utf8CodeUnitCount {
            guard byte == text.utf8Start[offset] else { throw failure("expected \(text)") }
            position += 1
        }
    }

    private mutating func string() throws -> String {
        position += 1  // the opening quote
        var start = position
        var text = ""
        while let byte {
            guard byte >= 0x20 else { throw failure("control character \(byte) in a string") }
            guard byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else {
                position += 1
                continue
            }
            text += String(decoding: bytes[start..<position], as: UTF8.self)
            position += 1
            if byte == UInt8(ascii: "\"") { return text }
            text.unicodeScalars.append(try escape())
            start = position
        }
        throw failure("expected the string's end")
    }

    /// What the escape sequence after a backslash stands for.
    private mutating func escape() throws -> Unicode.Scalar {
        defer { position += 1 }
        switch byte {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): break
        default: throw failure("expected an escape sequence")
        }
        var code = try hexadecimal()
        if code & 0xfc00 == 0xd800 {  // the first half of a UTF-16 pair
            position += 1
            try word("\\")
            guard byte == UInt8(ascii: "u") else { throw failure("expected the second half of a surrogate pair") }
            let low = try hexadecimal()
            guard low & 0xfc00 == 0xdc00 else { throw failure("expected the second half of a surrogate pair") }
            code = 0x10000 + ((code & 0x3ff) << 10 | low & 0x3ff)
        }
        guard let scalar = Unicode.Scalar(code) else { throw failure("expected no half of a surrogate pair") }
        return scalar
    }

    /// The four digits after the position, which moves to the last of them.
    private mutating func hexadecimal() throws -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            position += 1
            switch byte {
            case .some(let digit) where (0x30...0x39).contains(digit): code = code << 4 | UInt32(digit - 0x30)
            case .some(let letter) where (0x41...0x46).contains(letter & 0xdf):
                code = code << 4 | UInt32(letter & 0xdf - 0x41 + 10)
            default: throw failure("expected four hexadecimal digits")
            }
        }
        return code
    }

    private mutating func number() throws -> JSONValue {
        let start = position
        if byte == UInt8(ascii: "-") { position += 1 }
        let leadingZero = byte == UInt8(ascii: "0")
        let digits = try digits("a value")
        guard digits == 1 || !leadingZero else { throw failure("expected no zero in front of a number") }
        if byte == UInt8(ascii: ".") {
            position += 1
            _ = try self.digits("a digit")
        }
        if byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E") {
            position += 1
            if byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") { position += 1 }
            _ = try self.digits("a digit")
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if let integer = Int(text) { return .integer(integer) }
        guard let number = Double(text), number.isFinite else { throw failure("a number that does not fit") }
        return Int(exactly: number).map(JSONValue.integer) ?? .number(number)
    }

    /// Moves past digits, of which there must be one at least, and counts them.
    private mutating func digits(_ expected: StaticString) throws -> Int {
        let start = position
        while let byte, (0x30...0x39).contains(byte) { position += 1 }
        guard position > start else { throw failure("expected \(expected)") }
        return position - start
    }
}
