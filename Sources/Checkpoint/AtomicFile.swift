import Glibc
import Kernels

/// Writes a file so that `path` is at no time incomplete: to a temporary file beside it, which then takes its name and
/// its mode; a symbolic link goes on pointing where it did.
/// Errors: `.io`, and those of `content`; then the old file, if any, is still there.
///   content  hands the bytes over, in as many parts as it likes
public func writeAtomically(
    to path: String, _ content: (_ part: (UnsafeRawBufferPointer) throws -> Void) throws -> Void
) throws {
    let (target, temporary, descriptor) = try openTemporary(for: path)
    defer { close(descriptor) }
    do {
        try content { try writeAll($0, to: descriptor, path) }
        var old = stat()
        if stat(target, &old) == 0 { fchmod(descriptor, old.st_mode & 0o7777) }
        try replace(target, by: temporary, descriptor)
    } catch {
        unlink(temporary)
        throw error
    }
}

/// Throws what `writeAtomically` would at once, so that it is known before the work whose result is to be written.
public func checkWritable(_ path: String) throws {
    let (_, temporary, descriptor) = try openTemporary(for: path)
    close(descriptor)
    unlink(temporary)
}

private func openTemporary(for path: String) throws -> (target: String, temporary: String, descriptor: Int32) {
    let target = try replaceable(path)
    let temporary = "\(target).\(getpid())-\(UInt32.random(in: 0 ... .max)).tmp"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw systemError(path) }
    return (target, temporary, descriptor)
}

/// Where a file is to be written for `path` to hold it: `path` itself, or what it is a link to.
/// Throws `.io` for what must not be replaced, such as a device or a folder.
public func replaceable(_ path: String) throws -> String {
    var status = stat()
    guard stat(path, &status) == 0 else { return path }
    guard status.st_mode & S_IFMT == S_IFREG else { throw MCMError(.io, "\(path): is no regular file") }
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFLNK else { return path }
    guard let resolved = realpath(path, nil) else { throw systemError(path) }
    defer { free(resolved) }
    return String(cString: resolved)
}

/// Gives a complete file its name, so that it survives a power failure from then on.
///   descriptor  of `temporary`, which lies in the same folder
public func replace(_ path: String, by temporary: String, _ descriptor: Int32) throws {
    guard fsync(descriptor) == 0, rename(temporary, path) == 0 else { throw systemError(path) }
    // The new name too is to survive; not every file system can do that.
    let folder = path.lastIndex(of: "/").map { path[...$0] } ?? "."
    let directory = open(String(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if directory >= 0 {
        fsync(directory)
        close(directory)
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
