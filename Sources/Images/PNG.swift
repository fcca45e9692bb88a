import CPNG
import Glibc
import Kernels

/// 8-bit PNG files. Values are read and written as stored; no gamma or colour profile is applied.
public enum PNG {
    /// What the pixels are to be.
    public enum Form: Sendable {
        /// 1, 3 or 4 channels, as the file has them; a palette becomes RGB or RGBA.
        case asStored
        /// One channel; only from a greyscale file, since a class index has no meaning in others.
        case grey
        /// 1 or 3 channels, from a greyscale, RGB or opaque palette file.
        case opaque
    }

    /// Bytes of a file.
    public static let fileLimit = 256 << 20

    /// Size and channels of the image. Errors: `.io`, `.format`, `.unsupported`.
    public static func header(path: String) throws -> PNGHeader {
        try readFile(path, limit: fileLimit).withUnsafeBytes { try header($0, name: path) }
    }

    /// The same of a file in memory; `name` is for messages.
    public static func header(_ file: UnsafeRawBufferPointer, name: String) throws -> PNGHeader {
        try PNGChunks(file, name: name).header
    }

    /// Errors: `.io`, `.format` for a damaged file, `.unsupported` for other PNGs than those of `PNGHeader` and `Form`.
    public static func read(path: String, as form: Form = .asStored) throws -> PixelImage {
        try readFile(path, limit: fileLimit).withUnsafeBytes { try read($0, as: form, name: path) }
    }

    /// The same of a file in memory; `name` is for messages.
    public static func read(
        _ file: UnsafeRawBufferPointer, as form: Form = .asStored, name: String
    ) throws -> PixelImage {
        let chunks = try PNGChunks(file, name: name)
        let header = chunks.header
        switch form {
        case .grey where header.colour != .grey:
            throw MCMError(.unsupported, "\(name): is \(header.colour.title), expected an 8-bit greyscale PNG")
        case .opaque where header.channels == 4:
            throw MCMError(.unsupported, "\(name): is \(header.colour.title) with alpha, expected a PNG without")
        default: break
        }
        let count = header.width * header.height * header.channels
        try checkMemory(count, name)
        let pixels = try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            try decode(chunks, into: buffer, name)
            initialized = count
        }
        return try PixelImage(width: header.width, height: header.height, channels: header.channels, pixels: pixels)
    }

    /// Reads an image as it is stored, without gaps, into memory of exactly its size.
    public static func read(path: String, into pixels: UnsafeMutableBufferPointer<UInt8>) throws {
        try readFile(path, limit: fileLimit).withUnsafeBytes { file in
            let chunks = try PNGChunks(file, name: path)
            let header = chunks.header
            let count = header.width * header.height * header.channels
            guard pixels.count == count else {
                throw MCMError(.size, "\(path): has \(count) bytes of pixels, found room for \(pixels.count)")
            }
            try decode(chunks, into: pixels, path)
        }
    }

    /// Writes an 8-bit image. Errors: `.invalidArgument`; `.io`, after which the file may be incomplete.
    public static func write(_ image: ImageView, to path: String) throws {
        var (control, stride) = try writing(image, path)
        // Not png_image_write_to_file: after an error it deletes what `path` names, be it a device.
        guard let file = fopen(path, "wbe") else { throw systemError(path) }
        let written = png_image_write_to_stdio(&control, file, 0, image.data, stride, nil) != 0
        guard fclose(file) == 0, written else {
            throw written ? systemError(path) : MCMError(.io, "\(path): \(message(control))")
        }
    }

    public static func write(_ image: PixelImage, to path: String) throws {
        try image.withView { try write($0, to: path) }
    }

    /// The bytes of a file.
    ///   text  entries of its own, see PNGText
    public static func encode(_ image: PixelImage, text: [String: String] = [:]) throws -> [UInt8] {
        try image.withView { view in
            var (control, stride) = try writing(view, "image")
            var size = png_alloc_size_t(0)
            // Asked without memory, libpng compresses only to say how much it wants.
            guard png_image_write_to_memory(&control, nil, &size, 0, view.data, stride, nil) != 0 else {
                throw MCMError(.io, "image: \(message(control))")
            }
            try checkMemory(Int(size), "image")
            let file = try [UInt8](unsafeUninitializedCapacity: Int(size)) { buffer, count in
                guard png_image_write_to_memory(&control, buffer.baseAddress, &size, 0, view.data, stride, nil) != 0
                else { throw MCMError(.io, "image: \(message(control))") }
                count = Int(size)
            }
            return try text.isEmpty ? file : PNGText.insert(text, into: file)
        }
    }

    private static func writing(_ image: ImageView, _ name: String) throws -> (png_image, stride: Int32) {
        guard image.dtype == .u8, let stride = Int32(exactly: image.rowStride) else {
            throw MCMError(.invalidArgument, "\(name): expected an 8-bit image with a row stride below 2 GiB")
        }
        var control = png_image()
        control.version = png_uint_32(PNG_IMAGE_VERSION)
        control.width = png_uint_32(image.width)
        control.height = png_uint_32(image.height)
        control.format = format(channels: image.channels)
        return (control, stride)
    }

    /// The text entries of a file, see PNGText. Errors: `.io`, `.format`, `.unsupported`.
    public static func text(path: String) throws -> [String: String] {
        try readFile(path, limit: fileLimit).withUnsafeBytes { try PNGText.read($0, name: path) }
    }

    private static func decode(
        _ chunks: PNGChunks, into buffer: UnsafeMutableBufferPointer<UInt8>, _ name: String
    ) throws {
        let channels = chunks.header.channels
        var storage = png_image()
        storage.version = png_uint_32(PNG_IMAGE_VERSION)
        // libpng keeps the addresses of both from one call to the next.
        try withUnsafeMutablePointer(to: &storage) { control in
            try chunks.essential.withUnsafeBytes { file in
                defer { png_image_free(control) }
                guard png_image_begin_read_from_memory(control, file.baseAddress, file.count) != 0 else {
                    throw MCMError(.format, "\(name): \(message(control.pointee))")
                }
                // A damaged tRNS is dropped by libpng with no more than a warning.
                let hasAlpha = control.pointee.format & png_uint_32(PNG_FORMAT_FLAG_ALPHA) != 0
                guard Int(control.pointee.width) * Int(control.pointee.height) * channels == buffer.count,
                    hasAlpha == (channels == 4)
                else { throw MCMError(.format, "\(name): the chunks contradict each other") }
                control.pointee.format = format(channels: channels)
                guard png_image_finish_read(control, nil, buffer.baseAddress, 0, nil) != 0 else {
                    throw MCMError(.format, "\(name): \(message(control.pointee))")
                }
            }
        }
    }

    private static func format(channels: Int) -> png_uint_32 {
        let (colour, alpha) = (png_uint_32(PNG_FORMAT_FLAG_COLOR), png_uint_32(PNG_FORMAT_FLAG_ALPHA))
        return channels == 1 ? 0 : channels == 3 ? colour : colour | alpha
    }

    private static func message(_ control: png_image) -> String {
        withUnsafeBytes(of: control.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}

extension PNGHeader.Colour {
    fileprivate var title: String {
        switch self {
        case .grey: "greyscale"
        case .greyAlpha: "greyscale"
        case .rgb, .rgba: "RGB"
        case .palette: "a palette PNG"
        }
    }
}
