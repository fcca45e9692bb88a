import Glibc
import Kernels

/// Where a model's files come from: a folder on disk, or files in memory that are named as in one.
/// File names are relative and use "/", e.g. "unet/config.json".
public enum Folder {
    case disk(String)
    /// Borrowed bytes, see `MemoryFile`.
    case memory([String: UnsafeRawBufferPointer])

    /// Opens a file. Errors: `.io` if there is none, `.format` if the name leaves the folder.
    public func open(_ name: String) throws -> any FileBytes {
        guard Self.staysInside(name) else {
            throw MCMError(.format, "\(quoted(name)): is no plain relative path, expected one that stays in the folder")
        }
        switch self {
        case .disk:
            return try MappedFile(path: describe(name))
        case .memory(let files):
            guard let bytes = files[name] else {
                throw MCMError(.io, "\(name): is missing, expected it among the files in memory")
            }
            return MemoryFile(borrowing: bytes)
        }
    }

    public func exists(_ name: String) -> Bool {
        guard Self.staysInside(name) else { return false }
        switch self {
        case .disk: return access(describe(name), F_OK) == 0
        case .memory(let files): return files[name] != nil
        }
    }

    /// A file's name in messages; for a folder on disk it is the file's path.
    public func describe(_ name: String) -> String {
        guard case .disk(let root) = self else { return name }
        return root.isEmpty || root.hasSuffix("/") ? root + name : root + "/" + name
    }

    /// Names come from files that others wrote. Symbolic links are followed all the same: model caches consist of them.
    static func staysInside(_ name: String) -> Bool {
        guard !name.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f || $0 == UInt8(ascii: "\\") }) else { return false }
        return name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { part in
            !part.isEmpty && part != "." && part != ".."
        }
    }
}
