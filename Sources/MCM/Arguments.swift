import CMCM
import Images
import Kernels

// From C's arguments to Swift's: every pointer, size and number is checked here, before anything happens.

/// A handle's object, which stays with the caller.
func object<T: AnyObject>(_ handle: OpaquePointer?, _ type: T.Type, _ name: String) throws -> T {
    guard let handle else { throw null(name) }
    return Unmanaged<T>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue()
}

/// A handle for an object, owned by the caller.
func handle(_ object: AnyObject) -> OpaquePointer {
    OpaquePointer(Unmanaged.passRetained(object).toOpaque())
}

/// Gives up the caller's ownership.
func release(_ handle: OpaquePointer?) {
    if let handle { Unmanaged<AnyObject>.fromOpaque(UnsafeRawPointer(handle)).release() }
}

func pointer<T>(_ pointer: UnsafePointer<T>?, _ name: String) throws -> UnsafePointer<T> {
    guard let pointer else { throw null(name) }
    return pointer
}

func pointer<T>(_ pointer: UnsafeMutablePointer<T>?, _ name: String) throws -> UnsafeMutablePointer<T> {
    guard let pointer else { throw null(name) }
    return pointer
}

private func null(_ name: String) -> MCMError { MCMError(.invalidArgument, "\(name) is NULL") }

/// `count` elements; NULL is fine for none. No more than `limit` are looked at: a count beyond it is a mistake.
///   isBatch  whether the limit is the number of images, for messages
func list<T>(
    _ start: UnsafePointer<T>?, _ count: Int, limit: Int, isBatch: Bool = false, _ name: String
) throws -> UnsafeBufferPointer<T> {
    let start = count == 0 ? nil : try pointer(start, name)
    guard (0...limit).contains(count) else {
        let most = isBatch ? "the batch size \(limit)" : "\(limit)"
        throw MCMError(.size, "\(name): a count of \(count), expected at most \(most)")
    }
    return UnsafeBufferPointer(start: start, count: count)
}

/// The same for structs, by their addresses: the first one's struct_size is the distance to the next, and each is read
/// only when its own has been checked.
func structs<T: SizedStruct>(
    _ start: UnsafePointer<T>?, _ count: Int, limit: Int, isBatch: Bool = false, _ name: String
) throws -> [UnsafePointer<T>] {
    guard let base = try list(start, count, limit: limit, isBatch: isBatch, name).baseAddress else { return [] }
    let stride = Int(try checked(base, name).struct_size)
    return (0..<count).map { i in
        (UnsafeRawPointer(base) + i * stride).assumingMemoryBound(to: T.self)
    }
}

func string(_ text: UnsafePointer<CChar>?, _ name: String) throws -> String {
    guard let string = String(validatingCString: try pointer(text, name)) else {
        throw MCMError(.invalidArgument, "\(name) is not valid UTF-8")
    }
    return string
}

/// `expected` finite floats; `count` is what the caller says there are.
func floats(
    _ values: UnsafePointer<Float>?, _ count: Int, _ expected: Int, _ name: String
) throws -> UnsafePointer<Float> {
    let values = try pointer(values, name)
    try check(count, expected, "\(name): a count of")
    if let bad = (0..<expected).first(where: { !values[$0].isFinite }) {
        throw MCMError(
            .invalidArgument, "\(name) holds \(values[bad]) at element \(bad), expected finite numbers")
    }
    return values
}

/// A buffer for `expected` elements; `count` is what the caller says it has.
func output<T>(
    _ values: UnsafeMutablePointer<T>?, _ count: Int, _ expected: Int, _ name: String
) throws -> UnsafeMutablePointer<T> {
    let values = try pointer(values, name)
    try check(count, expected, "\(name): a size of")
    return values
}

private func check(_ found: Int, _ expected: Int, _ what: String) throws {
    if found != expected { throw MCMError(.size, "\(what) \(found), expected \(expected)") }
}

func imageView(_ image: UnsafePointer<mcm_image>?, _ name: String) throws -> ImageView {
    let image = try checked(image, name)
    guard let data = image.data else { throw MCMError(.invalidArgument, "\(name): data is NULL") }
    guard let dtype = [MCM_U8: ImageView.DType.u8, MCM_F32: .f32][image.dtype] else {
        throw MCMError(.invalidArgument, "\(name): dtype is \(image.dtype), expected MCM_U8 or MCM_F32")
    }
    guard image.reserved == 0 else {
        throw MCMError(.invalidArgument, "\(name): reserved is \(image.reserved), expected 0")
    }
    guard image.row_stride >= 0 else { throw MCMError(.invalidArgument, "\(name): row_stride is beyond any memory") }
    return try ImageView(
        data: data, dtype: dtype, width: Int(image.width), height: Int(image.height), channels: Int(image.channels),
        rowStride: image.row_stride, name: name)
}

/// A condition's modality and images, at most one per sample.
func condition(
    _ condition: UnsafePointer<mcm_condition>?, batch: Int
) throws -> (modality: String, images: [ImageView]) {
    let condition = try checked(condition, "condition")
    let modality = try string(condition.modality, "condition: modality")
    let title = "condition \"\(modality)\""
    let images = try structs(
        condition.images, Int(condition.image_count), limit: batch, isBatch: true, "\(title): images")
    guard !images.isEmpty else { throw MCMError(.invalidArgument, "\(title): image_count is 0") }
    return (modality, try images.enumerated().map { try imageView($1, "\(title): image \($0)") })
}

/// Copies text into a C char array, cut off to fit, zero-terminated.
func copy<T>(_ text: String, into field: inout T) {
    withUnsafeMutableBytes(of: &field) { bytes in
        bytes.initializeMemory(as: UInt8.self, repeating: 0)
        for (i, byte) in text.utf8.prefix(bytes.count - 1).enumerated() { bytes[i] = byte }
    }
}
