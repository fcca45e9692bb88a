import Checkpoint
import Kernels

/// The ids of a model's tokens.
struct Vocabulary: Sendable {
    private(set) var ids: [String: Int] = [:]
    private(set) var tokens: [Int: String] = [:]
    /// What it is called in messages.
    let name: String

    /// An id is a row of an embedding table; no larger one is sensible, and memory may follow it.
    private static let idLimit = 9_999_999

    /// Errors: `.format` for what is no id, and for two tokens with the same one.
    init(_ object: JSONObject) throws {
        name = object.name
        ids = try object.members.mapValues { value in
            guard case .integer(let id) = value, (0...Self.idLimit).contains(id) else {
                throw MCMError(
                    .format, "\(object.name): holds \(value) as an id, expected an integer from 0 to \(Self.idLimit)")
            }
            return id
        }
        tokens.reserveCapacity(ids.count)
        for (token, id) in ids { try setToken(token, of: id) }
    }

    /// Tokens with ids from 0 on.
    init(_ list: [String], name: String) throws {
        self.name = name
        for (id, token) in list.enumerated() { try add(token, id) }
    }

    /// Adds a token that is not in it yet.
    mutating func add(_ token: String, _ id: Int) throws {
        try setToken(token, of: id)
        ids[token] = id
    }

    private mutating func setToken(_ token: String, of id: Int) throws {
        guard let other = tokens.updateValue(token, forKey: id) else { return }
        let both = [token, other].sorted().map(inMessage).joined(separator: " and ")
        throw MCMError(.format, "\(name): \(both) both have the id \(id), expected ids of their own")
    }
}

/// How a vocabulary's file writes bytes: those of printable Latin-1 characters as these, others as U+0100 and up.
enum ByteCharacters {
    /// (256)
    static func all() -> [Unicode.Scalar] {
        var rest: UInt8 = 0
        return (0...UInt8.max).map { byte in
            guard !isPrintable(UInt32(byte)) else { return Unicode.Scalar(byte) }
            defer { rest += 1 }
            return Unicode.Scalar(0x100 + UInt32(rest)) ?? " "
        }
    }

    /// The 188 that stand for themselves.
    static func isPrintable(_ byte: UInt32) -> Bool {
        switch byte {
        case 0x21...0x7e, 0xa1...0xac, 0xae...0xff: true
        default: false
        }
    }
}

/// Foreign text in a message: quoted, and cut where it gets too long.
func inMessage(_ text: String) -> String { JSONValue.string(text).description }
