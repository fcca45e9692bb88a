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

/// Lends views of images, valid as long as `body` runs.
func withViews<R>(_ images: [PixelImage], _ body: ([ImageView]) throws -> R) throws -> R {
    if images.count == 1 { return try images[0].withView { try body([$0]) } }
    try checkMemory(images.reduce(0) { $0 + $1.pixels.count }, "images")
    return try images.flatMap(\.pixels).withUnsafeBytes { bytes in
        var rest = bytes.baseAddress
        return try body(
            images.compactMap { image in
                guard let data = rest else { return nil }
                rest = data + image.pixels.count
                return try ImageView(
                    data: data, dtype: .u8, width: image.width, height: image.height, channels: image.channels,
                    name: "image")
            })
    }
}
