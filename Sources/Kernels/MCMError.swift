import Glibc

/// The one error type of the library: a kind, which the C layer maps to a status, and one line of text that says
/// which file, tensor, key or argument, what was found and what was expected.
public struct MCMError: Error, Equatable, CustomStringConvertible {
    public enum Kind: Sendable {
        // Misuse by the caller.
        case invalidArgument, structSize, size, state, incompatible
        // Data or environment.
        case io, format, unsupported, outOfMemory, cpu
        // A callback asked to stop.
        case cancelled
    }

    public let kind: Kind
    public let message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    public var description: String { message }
}

/// Throws unless shapes agree. Configurations can ask for networks whose parts do not fit together; memory must not be
/// read out of bounds because of one.
@inline(__always)
public func require(_ condition: Bool, _ message: @autoclosure () -> String) throws {
    if !condition { throw MCMError(.format, "the network does not fit together: \(message())") }
}

/// `.io` with the text of errno. Call it right after the call that failed.
public func systemError(_ path: String) -> MCMError {
    let code = errno
    let text = strerror(code).map { String(cString: $0) } ?? "error \(code)"
    return MCMError(.io, "\(path.isEmpty ? "an empty path" : path): \(text)")
}
