import Glibc
import Kernels

/// Regular files, by their paths below the folder, sorted. Links are followed: model caches consist of them.
func filesBelow(_ folder: String, depth: Int = 0) throws -> [String] {
    guard depth < 16 else { throw MCMError(.unsupported, "\(folder): is a folder within 16 others, expected fewer") }
    var found: [String] = []
    for name in try entries(folder) {
        var status = stat()
        guard stat("\(folder)/\(name)", &status) == 0 else { throw systemError("\(folder)/\(name)") }
        switch status.st_mode & S_IFMT {
        case S_IFREG: found.append(name)
        case S_IFDIR: found += try filesBelow("\(folder)/\(name)", depth: depth + 1).map { "\(name)/\($0)" }
        default: break
        }
    }
    return found
}

private func entries(_ folder: String) throws -> [String] {
    guard let list = opendir(folder) else { throw systemError(folder) }
    defer { closedir(list) }
    var names: [String] = []
    while let entry = readdir(list) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
}

/// Those that the file `name` below `root` lies in.
func makeFolders(_ root: String, above name: String) throws {
    var path = root
    for part in name.split(separator: "/").dropLast() {
        path += "/" + part
        guard mkdir(path, 0o777) == 0 || errno == EEXIST else { throw systemError(path) }
    }
}

/// A folder of this process's own making.
func removeTree(_ path: String) {
    for name in (try? entries(path)) ?? [] {
        if unlink("\(path)/\(name)") != 0 { removeTree("\(path)/\(name)") }
    }
    rmdir(path)
}
