import Kernels

/// Borrowed pixels: rows from top to bottom, channels interleaved. The caller keeps them valid.
public struct ImageView {
    public enum DType: Sendable {
        /// 0...255.
        case u8
        /// [0, 1] for grey and RGB, the class index itself for labels.
        case f32

        public var size: Int { self == .u8 ? 1 : 4 }
    }

    /// Largest width and height.
    public static let sizeLimit = 65536

    public let data: UnsafeRawPointer
    public let dtype: DType
    public let width: Int
    public let height: Int
    public let channels: Int
    /// Bytes from row to row.
    public let rowStride: Int

    /// Checks all but the memory itself.
    ///   data        the first row; need not be aligned
    ///   width       pixels, 1...65536; `height` too
    ///   channels    1, 3 or 4
    ///   rowStride   bytes from row to row; 0 for rows without gaps
    ///   name        of the image in messages
    /// Errors: `.invalidArgument`.
    public init(
        data: UnsafeRawPointer, dtype: DType, width: Int, height: Int, channels: Int, rowStride: Int = 0, name: String
    ) throws {
        let sides = 1...Self.sizeLimit
        guard sides.contains(width), sides.contains(height) else {
            throw MCMError(.invalidArgument, "\(name): is \(width) x \(height), expected sides of \(sides)")
        }
        guard [1, 3, 4].contains(channels) else {
            throw MCMError(.invalidArgument, "\(name): has \(channels) channels, expected 1, 3 or 4")
        }
        let rowBytes = width * channels * dtype.size
        let stride = rowStride == 0 ? rowBytes : rowStride
        guard stride >= rowBytes, stride <= Int.max / Self.sizeLimit else {
            throw MCMError(
                .invalidArgument, "\(name): row stride is \(rowStride), expected 0 or at least \(rowBytes) bytes")
        }
        self.data = data
        self.dtype = dtype
        self.width = width
        self.height = height
        self.channels = channels
        self.rowStride = stride
    }

    /// Intensity `i` of row `y`, in [0, 1] where 8-bit pixels are 0...255; i = x * channels + channel.
    public func intensity(_ y: Int, _ i: Int) -> Float {
        dtype == .u8 ? element(y, i) / 255 : element(y, i)
    }

    /// Of the RGB pixel at (x, y), in [0, 1]: ITU-R BT.601's, with 8 bits those of Pillow's convert("L").
    func luminance(_ y: Int, _ x: Int) -> Float {
        let (r, g, b) = (element(y, 3 * x), element(y, 3 * x + 1), element(y, 3 * x + 2))
        // Exact in Double, so that three equal channels give what they are.
        let value = (19595 * Double(r) + 38470 * Double(g) + 7471 * Double(b)) / 65536
        return dtype == .u8 ? Float((value + 0.5).rounded(.down)) / 255 : Float(value)
    }

    /// Element `i` of row `y`, i = x * channels + channel, as stored.
    func element(_ y: Int, _ i: Int) -> Float {
        let row = data + y * rowStride
        switch dtype {
        case .u8: return Float(row.load(fromByteOffset: i, as: UInt8.self))
        case .f32: return row.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)
        }
    }
}

/// Pixels of our own: 8 bits, rows from top to bottom without gaps, channels interleaved.
public struct PixelImage: Sendable, Equatable {
    public let width: Int
    public let height: Int
    /// 1 grey, 3 RGB, 4 RGBA.
    public let channels: Int
    /// height * width * channels.
    public let pixels: [UInt8]

    /// Errors: `.invalidArgument` for sizes that `ImageView` refuses, `.size` for a wrong number of pixels.
    public init(width: Int, height: Int, channels: Int, pixels: [UInt8]) throws {
        self.width = width
        self.height = height
        self.channels = channels
        self.pixels = pixels
        try withView { view in
            let expected = view.height * view.rowStride
            guard pixels.count == expected else {
                throw MCMError(.size, "image: has \(pixels.count) bytes of pixels, expected \(expected)")
            }
        }
    }

    public func withView<R>(_ body: (ImageView) throws -> R) throws -> R {
        try pixels.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { throw MCMError(.size, "image: has no pixels") }
            return try body(
                ImageView(data: base, dtype: .u8, width: width, height: height, channels: channels, name: "image"))
        }
    }
}
