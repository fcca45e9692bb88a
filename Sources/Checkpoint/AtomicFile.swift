import Glibc
import Kernels

/// Writes a file so that `path` is at no time incomplete: to a temporary file beside it, which then takes its name.
/// Errors: `.io`, and those of `content`; then the old file, if any, is still there.
///   content  hands the bytes over, in as many parts as it likes
public func writeAtomically(
    to path: String, _ content: (_ part: (UnsafeRawBufferPointer) throws -> Void) throws -> Void
) throws {
    var status = stat()
    guard stat(path, &status) != 0 || status.st_mode & S_IFMT == S_IFREG else {
        throw MCMError(.io, "\(path): is no regular file")  // renaming would replace a device
    }
    let temporary = "\(path).\(getpid())-\(UInt32.random(in: 0 ... .max)).tmp"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw systemError(path) }
    do {
        try content { try writeAll($0, to: descriptor, path) }
        guard fsync(descriptor) == 0 else { throw systemError(path) }
        guard rename(temporary, path) == 0 else { throw systemError(path) }
        close(descriptor)
        // The new name too is to survive a power failure; not every file system can do that.
        let folder = path.lastIndex(of: "/").map { path[...$0] } ?? "."
        let directory = open(String(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if directory >= 0 {
            fsync(directory)
            close(directory)
        }
    } catch {
        close(descriptor)
        unlink(temporary)
        throw error
    }
}

/// All bytes, where the descriptor stands. `path` is for messages.
public func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, _ path: String) throws {
    var rest = bytes[...]
    while let base = UnsafeRawBufferPointer(rebasing: rest).baseAddress, !rest.isEmpty {
        let written = Glibc.write(descriptor, base, rest.count)
        if written < 0, errno == EINTR { continue }
        guard written > 0 else { throw systemError(path) }
        rest = rest.dropFirst(written)
    }
}
