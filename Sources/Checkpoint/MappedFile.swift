import Glibc
import Kernels

/// Whether the path leads to a file, not to a folder or to nothing.
public func isRegularFile(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
}

/// The bytes of one file, in memory or mapped from disk.
public protocol FileBytes: AnyObject, Sendable {
    /// Valid as long as this object is; `withBytes` keeps it alive.
    var bytes: UnsafeRawBufferPointer { get }

    /// Throws if the bytes may no longer be touched. Call it before each larger read.
    func check() throws

    /// Says that a range is about to be read, and that it has been and is not soon read again.
    func willRead(_ range: Range<Int>)
    func hasRead(_ range: Range<Int>)
}

extension FileBytes {
    public func willRead(_ range: Range<Int>) {}
    public func hasRead(_ range: Range<Int>) {}

    public func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try withExtendedLifetime(self) { try body(bytes) }
    }
}

/// A file mapped read-only. A model's tensors are read once, so mapping saves the copy that reading would make.
///
/// Touching a mapped page past the end of a file that has been truncated kills the process (SIGBUS). `check()`
/// looks at the size again and throws, but a file truncated between that look and the read is still fatal; only a
/// copy of the file would be safe from that.
public final class MappedFile: FileBytes, @unchecked Sendable {  // immutable after init; the pages are read-only
    public let path: String
    public let bytes: UnsafeRawBufferPointer
    private let descriptor: Int32

    /// Errors: `.io` if `path` cannot be opened, is no regular file, or cannot be mapped.
    public init(path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)  // nonblocking: a pipe must not hang the host
        guard descriptor >= 0 else { throw systemError(path) }
        do {
            bytes = try Self.map(descriptor, path)
        } catch {
            close(descriptor)
            throw error
        }
        self.path = path
        self.descriptor = descriptor
    }

    deinit {
        if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) }
        close(descriptor)
    }

    public func check() throws {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw systemError(path) }
        guard status.st_size >= bytes.count else {
            throw MCMError(.io, "\(path): has shrunk to \(status.st_size) bytes while in use, expected \(bytes.count)")
        }
    }

    public func willRead(_ range: Range<Int>) { advise(range, MADV_WILLNEED) }

    /// The pages stay in the system's cache, but no longer count as this process's memory.
    public func hasRead(_ range: Range<Int>) { advise(range, MADV_DONTNEED) }

    private func advise(_ range: Range<Int>, _ advice: Int32) {
        let page = sysconf(Int32(_SC_PAGESIZE))
        let first = range.lowerBound / page * page
        if let base = bytes.baseAddress, range.upperBound > first {
            madvise(UnsafeMutableRawPointer(mutating: base) + first, range.upperBound - first, advice)
        }
    }

    private static func map(_ descriptor: Int32, _ path: String) throws -> UnsafeRawBufferPointer {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw systemError(path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            let kind = status.st_mode & S_IFMT == S_IFDIR ? "a directory" : "no regular file"
            throw MCMError(.io, "\(path): is \(kind), expected a file")
        }
        let size = status.st_size
        guard size > 0 else { return UnsafeRawBufferPointer(start: nil, count: 0) }  // mmap refuses empty files
        guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
            throw systemError(path)
        }
        return UnsafeRawBufferPointer(start: base, count: size)
    }
}

/// Bytes that the caller owns and keeps valid and unchanged for as long as this object lives. In libmcm that is the
/// duration of one C call, so everything that stays in a model is copied out of it.
public final class MemoryFile: FileBytes, @unchecked Sendable {  // nothing writes to the bytes while they are lent
    public let bytes: UnsafeRawBufferPointer

    public init(borrowing bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    public func check() {}
}
