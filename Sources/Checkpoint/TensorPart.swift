import Kernels

/// What part of a stored tensor is the one that is asked for, where checkpoints of other programs keep several together
/// or in another shape.
enum TensorPart: Equatable {
    case whole
    /// (o, i, 1) or (o, i, 1, 1) as (o, i).
    case squeezed
    /// (a, b) as (b, a).
    case transposed
    /// The rows in groups of n, of which each k-th is taken: `rows` rows at a time, nil for all there are. Squeezed too.
    case slice(_ k: Int, of: Int, rows: Int? = nil)

    /// Of the part; nil if the tensor has no such part.
    func shape(of shape: [Int]) -> [Int]? {
        switch self {
        case .whole: return shape
        case .squeezed:
            return shape.count > 2 ? (shape[2...].allSatisfy { $0 == 1 } ? Array(shape[..<2]) : nil) : shape
        case .transposed: return shape.count == 2 ? [shape[1], shape[0]] : nil
        case .slice(_, let n, let rows):
            guard var part = Self.squeezed.shape(of: shape), let total = part.first, total % n == 0,
                rows == nil || total / n % rows! == 0
            else { return nil }
            part[0] = total / n
            return part
        }
    }

    /// Lends the part's elements, row-major.
    ///   shape  of the whole, which has such a part
    func withElements<R>(
        _ whole: StoredFloats, shape: [Int], _ body: (StoredFloats) throws -> R
    ) throws -> R {
        switch self {
        case .whole, .squeezed: return try body(whole)
        case .transposed:
            let (a, b) = (shape[0], shape[1])
            return try copy(whole.count, { $0 % a * b + $0 / a }, of: whole, body)
        case .slice(let k, let n, let rows):
            let count = whole.count / n, width = shape[0] > 0 ? whole.count / shape[0] : 0
            guard let rows, rows * n != shape[0] else { return try body(whole[(k * count)..<((k + 1) * count)]) }
            let group = rows * width
            return try copy(count, { ($0 / group * n + k) * group + $0 % group }, of: whole, body)
        }
    }

    private func copy<R>(
        _ count: Int, _ place: (Int) -> Int, of whole: StoredFloats, _ body: (StoredFloats) throws -> R
    ) throws -> R {
        let values = try FloatBuffer(count: count)
        for i in 0..<count { values.data[i] = whole[place(i)] }
        return try withExtendedLifetime(values) { try body(StoredFloats(.f32, values.data, count: count)) }
    }
}
