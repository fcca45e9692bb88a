public import CMCM
import Images
import Kernels

@c @implementation public func mcm_png_size(
    _ path: UnsafePointer<CChar>!, _ width: UnsafeMutablePointer<UInt32>!, _ height: UnsafeMutablePointer<UInt32>!,
    _ channels: UnsafeMutablePointer<UInt32>!
) -> mcm_status {
    call {
        let header = try PNG.header(path: string(path, "path"))
        width?.pointee = UInt32(header.width)
        height?.pointee = UInt32(header.height)
        channels?.pointee = UInt32(header.channels)
    }
}

@c @implementation public func mcm_png_read(
    _ path: UnsafePointer<CChar>!, _ pixels: UnsafeMutablePointer<UInt8>!, _ size: Int
) -> mcm_status {
    call {
        let pixels = try pointer(pixels, "pixels")
        guard size >= 0 else { throw MCMError(.size, "pixels: a size beyond any memory") }
        try PNG.read(path: string(path, "path"), into: UnsafeMutableBufferPointer(start: pixels, count: size))
    }
}

@c @implementation public func mcm_png_write(
    _ path: UnsafePointer<CChar>!, _ image: UnsafePointer<mcm_image>!
) -> mcm_status {
    call { try PNG.write(imageView(image, "image"), to: string(path, "path")) }
}
