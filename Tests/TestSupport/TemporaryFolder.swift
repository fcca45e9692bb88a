import Checkpoint
import Glibc
import Kernels

/// A folder that goes away with the object. Files are at most one level deep.
public final class TemporaryFolder {
    public let path: String
    private var made: [String] = []

    public init() throws {
        var template = Array("/tmp/mcm-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw systemError("/tmp") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Writes a file, in a folder of this one if the name says so.
    public func add(_ name: String, _ bytes: [UInt8]) throws {
        if let slash = name.firstIndex(of: "/") {
            let folder = "\(path)/\(name[..<slash])"
            if mkdir(folder, 0o777) == 0 { made.insert(folder, at: 0) }
        }
        try writeAtomically(to: "\(path)/\(name)") { write in try bytes.withUnsafeBytes(write) }
        made.insert("\(path)/\(name)", at: 0)
    }

    public func add(_ name: String, _ text: String) throws { try add(name, Array(text.utf8)) }

    public func remove(_ name: String) { unlink("\(path)/\(name)") }

    deinit {
        for file in made where unlink(file) != 0 { rmdir(file) }
        rmdir(path)
    }
}
