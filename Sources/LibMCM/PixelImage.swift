import Kernels
import Checkpoint
public import Images

extension PixelImage {
    /// Reads an 8-bit PNG as it is stored: 1, 3 or 4 channels, a palette as 3 or 4.
    public static func png(_ path: String) throws -> PixelImage { try PNG.read(path: path) }

    /// Writes a PNG at once or not at all.
    ///   text  entries that other programs show as comments; `PNG.text` reads them
    public func write(to path: String, text: [String: String] = [:]) throws {
        let file = try PNG.encode(self, text: text)
        try writeAtomically(to: path) { part in try file.withUnsafeBytes(part) }
    }
}

/// Lends views of images, each valid as long as `body` runs.
func withViews<R>(
    _ images: ArraySlice<PixelImage>, _ body: ([ImageView]) throws -> R
) throws -> R {
    guard let first = images.first else { return try body([]) }
    return try first.withView { view in
        try withViews(images.dropFirst()) { try body([view] + $0) }
    }
}
