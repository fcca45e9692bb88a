import Kernels

/// What an image's pixels are, read from a PNG's first chunks before anything is allocated for them.
public struct PNGHeader: Sendable, Equatable {
    enum Colour: UInt8 {
        case grey = 0
        case rgb = 2
        case palette = 3
        case greyAlpha = 4
        case rgba = 6
    }

    public let width: Int
    public let height: Int
    /// Channels as read: 1, 3 or 4. A palette counts as 3, or as 4 if it has transparent colours.
    public let channels: Int
    let colour: Colour
}

/// A PNG file split into what defines its pixels and the rest, which is dropped.
///
/// Dropping keeps stored values as they are (libpng's simplified reader applies gAMA, cHRM and iCCP, which would turn
/// one class index into another), and keeps text and profile chunks of any size away from the decoder.
struct PNGChunks {
    let header: PNGHeader
    /// A complete PNG of IHDR, PLTE, a palette's tRNS, IDAT and IEND.
    let essential: [UInt8]

    static let signature: [UInt8] = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]
    private static let pixelLimit = 1 << 26

    init(_ file: UnsafeRawBufferPointer, name: String) throws {
        guard file.starts(with: Self.signature) else {
            throw MCMError(.format, "\(name): does not begin with the PNG signature")
        }
        guard file.count >= 33, big32(file, 8) == 13, type(file, 12) == "IHDR" else {
            throw MCMError(.format, "\(name): does not begin with an IHDR chunk of 13 bytes")
        }
        let (width, height) = try Self.size(file, name)
        let colour = try Self.colour(file, name)

        var essential = Self.signature
        essential.reserveCapacity(file.count)
        var transparent = false
        try Self.forEach(in: file, name) { kind, chunk in
            let isTransparency = kind == "tRNS" && colour == .palette
            if isTransparency || ["IHDR", "PLTE", "IDAT", "IEND"].contains(kind) {
                essential.append(contentsOf: file[chunk])
            } else if file[chunk.lowerBound + 4] & 0x20 == 0 {
                throw MCMError(
                    .unsupported, "\(name): has a chunk of an unknown critical type at byte \(chunk.lowerBound)")
            }
            transparent = transparent || isTransparency
        }
        let channels = colour == .grey ? 1 : colour == .rgba || transparent ? 4 : 3
        header = PNGHeader(width: width, height: height, channels: channels, colour: colour)
        self.essential = essential
    }

    /// Visits the chunks up to IEND.
    ///   chunk  its bytes of the file: length (4), type (4), data, CRC (4)
    static func forEach(
        in file: UnsafeRawBufferPointer, _ name: String, _ body: (_ type: String, _ chunk: Range<Int>) throws -> Void
    ) throws {
        guard file.starts(with: Self.signature) else {
            throw MCMError(.format, "\(name): does not begin with the PNG signature")
        }
        var offset = Self.signature.count
        var last = ""
        while last != "IEND" {
            guard file.count - offset >= 12, case let length = big32(file, offset), length <= file.count - offset - 12
            else { throw MCMError(.format, "\(name): is cut off, expected chunks up to IEND") }
            last = type(file, offset + 4)
            try body(last, offset..<(offset + 12 + length))
            offset += 12 + length
        }
    }

    private static func size(_ file: UnsafeRawBufferPointer, _ name: String) throws -> (Int, Int) {
        let (width, height) = (big32(file, 16), big32(file, 20))
        let sides = 1...ImageView.sizeLimit
        guard sides.contains(width), sides.contains(height), width * height <= pixelLimit else {
            throw MCMError(
                width == 0 || height == 0 ? .format : .unsupported,
                "\(name): is \(width) x \(height) pixels, expected sides of 1 to \(ImageView.sizeLimit) and at most "
                    + "\(pixelLimit) pixels")
        }
        return (width, height)
    }

    private static func colour(_ file: UnsafeRawBufferPointer, _ name: String) throws -> PNGHeader.Colour {
        let depth = file[24]
        guard let colour = PNGHeader.Colour(rawValue: file[25]), [1, 2, 4, 8, 16].contains(depth) else {
            throw MCMError(.format, "\(name): has colour type \(file[25]) with \(depth) bits, which no PNG has")
        }
        // Fewer bits would be scaled to 0...255, which is right for greys and wrong for class indices.
        guard depth == 8 || (depth < 8 && colour == .palette) else {
            throw MCMError(.unsupported, "\(name): has \(depth) bits per channel, expected 8")
        }
        guard colour != .greyAlpha else {
            throw MCMError(.unsupported, "\(name): is greyscale with alpha, expected greyscale, RGB, RGBA or a palette")
        }
        return colour
    }
}

/// The big-endian number at `offset`, which the caller has checked.
func big32(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> Int {
    Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
}

private func type(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> String {
    String(decoding: bytes[offset..<offset + 4], as: UTF8.self)
}
