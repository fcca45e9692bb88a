import Glibc
import Kernels

/// All bytes of a regular file. Errors: `.io`; `.unsupported` beyond `limit` bytes.
public func readFile(_ path: String, limit: Int) throws -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)  // nonblocking: a pipe must not hang the host
    guard descriptor >= 0 else { throw systemError(path) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw systemError(path) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw MCMError(.io, "\(path): is no regular file") }
    guard status.st_size <= limit else {
        throw MCMError(.unsupported, "\(path): has \(status.st_size) bytes, expected at most \(limit)")
    }
    try checkMemory(Int(status.st_size), path)
    return try [UInt8](unsafeUninitializedCapacity: Int(status.st_size)) { buffer, count in
        while count < buffer.count {
            let got = read(descriptor, buffer.baseAddress.map { $0 + count }, buffer.count - count)
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw systemError(path) }
            if got == 0 { break }  // it has become shorter since
            count += got
        }
    }
}

/// An array traps if it gets no memory; malloc can be asked before, with some room for the array's own.
public func checkMemory(_ bytes: Int, _ name: String) throws {
    guard bytes <= Int.max - 1 << 20, let probe = malloc(bytes + 1 << 20) else {
        throw MCMError(.outOfMemory, "\(name): no memory for \(bytes) bytes")
    }
    free(probe)
}
