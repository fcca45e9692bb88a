import Kernels

/// Typed access to the keys of one JSON object, such as a config file. It remembers which keys were asked for, so that
/// an option this library does not know is refused instead of ignored.
///
/// All errors are `.format` and read like: unet/config.json: "layers_per_block" is "two", expected an integer >= 1
public final class JSONObject {
    /// What the object is called in messages, e.g. "unet/config.json".
    public let name: String
    public let members: [String: JSONValue]
    private var read: Set<String> = []

    public init(_ value: JSONValue, name: String) throws {
        guard case .object(let members) = value else {
            throw MCMError(.format, "\(name): is \(value), expected an object")
        }
        self.name = name
        self.members = members
    }

    /// Reads a whole file of the folder.
    ///   infinities   whether to take Python's Infinity and -Infinity, which are no JSON, for the largest numbers
    public convenience init(_ folder: Folder, _ file: String, infinities: Bool = false) throws {
        let name = folder.describe(file)
        let contents = try folder.open(file)
        guard contents.bytes.count <= 100_000_000 else {
            throw MCMError(.format, "\(name): has \(contents.bytes.count) bytes, expected at most 100000000")
        }
        try self.init(
            contents.withBytes { try JSONValue(parsing: $0, name: name, infinities: infinities) }, name: name)
    }

    /// Parses text that is an object.
    public convenience init(parsing text: String, name: String, infinities: Bool = false) throws {
        try self.init(JSONValue(parsing: text, name: name, infinities: infinities), name: name)
    }

    /// Whether the key is present and not null. Does not count as reading it.
    public func has(_ key: String) -> Bool { members[key] ?? .null != .null }

    /// The value as it is; null if the key is missing.
    public func value(_ key: String) -> JSONValue {
        read.insert(key)
        return members[key] ?? .null
    }

    // MARK: Values. A missing key gives `default`, or an error if there is none. Null is an error, except where the
    // method's name begins with "optional", which returns nil for missing and null.

    public func int(_ key: String, default: Int? = nil, in range: ClosedRange<Int> = .min ... .max) throws -> Int {
        try get(key, `default`, Self.expectation(range)) { Self.integer($0, range) }
    }

    public func optionalInt(_ key: String, in range: ClosedRange<Int> = .min ... .max) throws -> Int? {
        try has(key) ? int(key, in: range) : skip(key)
    }

    /// A list of integers, each in `range`, `count` of them.
    public func ints(
        _ key: String, default: [Int]? = nil, in range: ClosedRange<Int> = .min ... .max,
        count: ClosedRange<Int> = 0 ... .max
    ) throws -> [Int] {
        try list(key, `default`, count, Self.expectation(range)) { Self.integer($0, range) }
    }

    /// A finite number.
    public func double(
        _ key: String, default: Double? = nil,
        in range: ClosedRange<Double> = -.greatestFiniteMagnitude
            ... .greatestFiniteMagnitude
    ) throws -> Double {
        try get(key, `default`, Self.expectation(range)) { Self.number($0, range) }
    }

    public func optionalDouble(
        _ key: String, in range: ClosedRange<Double> = -.greatestFiniteMagnitude ... .greatestFiniteMagnitude
    ) throws -> Double? {
        try has(key) ? double(key, in: range) : skip(key)
    }

    public func doubles(
        _ key: String, default: [Double]? = nil,
        in range: ClosedRange<Double> = -.greatestFiniteMagnitude ... .greatestFiniteMagnitude,
        count: ClosedRange<Int> = 0 ... .max
    ) throws -> [Double] {
        try list(key, `default`, count, Self.expectation(range)) { Self.number($0, range) }
    }

    public func bool(_ key: String, default: Bool? = nil) throws -> Bool {
        try get(key, `default`, "true or false") { if case .bool(let value) = $0 { value } else { nil } }
    }

    public func optionalBool(_ key: String) throws -> Bool? {
        try has(key) ? bool(key) : skip(key)
    }

    /// A string; one of `choices` if any are given.
    public func string(_ key: String, default: String? = nil, oneOf choices: [String] = []) throws -> String {
        let expected = choices.isEmpty ? "a string" : choices.map(quoted).joined(separator: " or ")
        return try get(key, `default`, expected) { Self.string($0, choices) }
    }

    public func optionalString(_ key: String, oneOf choices: [String] = []) throws -> String? {
        try has(key) ? string(key, oneOf: choices) : skip(key)
    }

    /// One of an enumeration's raw values. Another one is `.unsupported`.
    public func choice<T: RawRepresentable & CaseIterable>(_ key: String, default: T) throws -> T
    where T.RawValue == String {
        guard let value = T(rawValue: try string(key, default: `default`.rawValue)) else {
            let known = T.allCases.map { quoted($0.rawValue) }.joined(separator: " or ")
            throw error(key, expected: known, kind: .unsupported)
        }
        return value
    }

    public func strings(_ key: String, default: [String]? = nil, count: ClosedRange<Int> = 0 ... .max) throws
        -> [String]
    {
        try list(key, `default`, count, "a string") { Self.string($0, []) }
    }

    public func object(_ key: String) throws -> JSONObject {
        let value = try get(key, nil, "an object") { if case .object = $0 { $0 } else { nil } }
        return try JSONObject(value, name: "\(name): \(quoted(key))")
    }

    public func optionalObject(_ key: String) throws -> JSONObject? {
        try has(key) ? object(key) : skip(key)
    }

    public func objects(_ key: String, count: ClosedRange<Int> = 0 ... .max) throws -> [JSONObject] {
        let values = try list(key, nil, count, "an object") { if case .object = $0 { $0 } else { nil } }
        return try values.enumerated().map { try JSONObject($1, name: "\(name): \(quoted(key))[\($0)]") }
    }

    // MARK: What is left

    /// Keys that nobody asked for, sorted. Those that begin with "_" are notes, such as "_class_name".
    public var unreadKeys: [String] {
        members.keys.filter { !read.contains($0) && !$0.hasPrefix("_") }.sorted()
    }

    /// Throws `.unsupported` for a key that was neither read nor is in `harmless`; null means "not used" and is fine.
    public func rejectUnknown(harmless: Set<String> = []) throws {
        for key in unreadKeys where !harmless.contains(key) && has(key) {
            throw MCMError(.unsupported, "\(name): the option \(quoted(key)) = \(members[key] ?? .null) is not known")
        }
    }

    /// An error that says what the key's value is and what was expected instead.
    public func error(_ key: String, expected: String, kind: MCMError.Kind = .format) -> MCMError {
        let found = members[key].map { "is \($0)" } ?? "is missing"
        return MCMError(kind, "\(name): \(quoted(key)) \(found), expected \(expected)")
    }

    // MARK: -

    private func skip<T>(_ key: String) -> T? {
        read.insert(key)
        return nil
    }

    private func get<T>(_ key: String, _ default: T?, _ expected: String, _ convert: (JSONValue) -> T?) throws -> T {
        read.insert(key)
        if members[key] == nil, let value = `default` { return value }
        guard let value = members[key].flatMap(convert) else { throw error(key, expected: expected) }
        return value
    }

    private func list<T>(
        _ key: String, _ default: [T]?, _ count: ClosedRange<Int>, _ element: String, _ convert: (JSONValue) -> T?
    ) throws -> [T] {
        let number =
            count.lowerBound == count.upperBound
            ? "\(count.lowerBound) elements"
            : count.upperBound < .max
                ? "\(count.lowerBound) to \(count.upperBound) elements"
                : count.lowerBound > 0 ? "at least \(count.lowerBound) elements" : "elements"
        return try get(key, `default`, "a list of \(number), each \(element)") { value in
            guard case .array(let values) = value, count.contains(values.count) else { return nil }
            let converted = values.compactMap(convert)
            return converted.count == values.count ? converted : nil
        }
    }

    private static func integer(_ value: JSONValue, _ range: ClosedRange<Int>) -> Int? {
        guard case .integer(let number) = value, range.contains(number) else { return nil }
        return number
    }

    private static func number(_ value: JSONValue, _ range: ClosedRange<Double>) -> Double? {
        let number: Double
        switch value {
        case .integer(let exact): number = Double(exact)
        case .number(let other): number = other
        default: return nil
        }
        return range.contains(number) ? number : nil
    }

    private static func string(_ value: JSONValue, _ choices: [String]) -> String? {
        guard case .string(let text) = value, choices.isEmpty || choices.contains(text) else { return nil }
        return text
    }

    private static func expectation(_ range: ClosedRange<Int>) -> String {
        switch (range.lowerBound, range.upperBound) {
        case (.min, .max): "an integer"
        case (let low, .max): "an integer >= \(low)"
        case (.min, let high): "an integer <= \(high)"
        case (let low, let high): "an integer from \(low) to \(high)"
        }
    }

    private static func expectation(_ range: ClosedRange<Double>) -> String {
        let limit = Double.greatestFiniteMagnitude
        return switch (range.lowerBound, range.upperBound) {
        case (-limit, limit): "a number"
        case (let low, limit): "a number >= \(low)"
        case (-limit, let high): "a number <= \(high)"
        case (let low, let high): "a number from \(low) to \(high)"
        }
    }
}
