import CShims

// Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015):
// for a 6 x 6 tile d of the input and a filter g,
//
//     Y = A^T [ (G g G^T) * (B^T d B) ] A          (4 x 4)
//
// where * is elementwise, 36 products instead of 144. Over channels each of the 36 places becomes a matrix product.
// Interpolation points 0, 1, -1, 2, -2, infinity.

/// The 36 places of a transformed tile or filter.
public let winogradPlaces = 36

private struct Six { var a, b, c, d, e, f: V }
private struct Four { var a, b, c, d: V }

/// B^T x
@inline(always)
private func inputTransform(_ x0: V, _ x1: V, _ x2: V, _ x3: V, _ x4: V, _ x5: V) -> Six {
    let p = fma(x2, -4, x4), q = fma(x1, -4, x3), r = x4 - x2, s = x3 - x1
    return Six(
        a: fma(x0, 4, fma(x2, -5, x4)), b: p + q, c: p - q, d: fma(s, 2, r), e: fma(s, -2, r),
        f: fma(x1, 4, fma(x3, -5, x5)))
}

/// A^T x
@inline(always)
private func outputTransform(_ x0: V, _ x1: V, _ x2: V, _ x3: V, _ x4: V, _ x5: V) -> Four {
    let p = x1 + x2, m = x1 - x2, q = x3 + x4, r = x3 - x4
    return Four(a: x0 + p + q, b: fma(r, 2, m), c: fma(q, 4, p), d: fma(r, 8, m) + x5)
}

/// G x
@inline(always)
private func filterTransform(_ x0: V, _ x1: V, _ x2: V) -> Six {
    let p = (x0 + x2) * (-1 / 6), q = fma(x0, 1 / 24, x2 * (1 / 6))
    return Six(
        a: x0 * 0.25, b: fma(x1, -1 / 6, p), c: fma(x1, 1 / 6, p), d: fma(x1, 1 / 12, q), e: fma(x1, -1 / 12, q), f: x2)
}

/// Six rows of a transformed tile or filter, to six places.
@inline(always) private func put(_ x: Six, _ p: Output, _ stride: Int) {
    store(x.a, p)
    store(x.b, p + stride)
    store(x.c, p + 2 * stride)
    store(x.d, p + 3 * stride)
    store(x.e, p + 4 * stride)
    store(x.f, p + 5 * stride)
}

/// Transforms filters into panels for `gemm`.
///   filters  packed as panels [outputs / 16][inputs][9][16]: the first of `panels`, at its first input
///   scales   of the outputs, for integers
///   inputs   that a whole panel has
///   depth    inputs to transform
///   out      (36, panels, depth, 16), places `placeStride` floats apart
public func winogradFilters(
    _ filters: UnsafeRawPointer, element: PanelElement, scales: UnsafePointer<Float>? = nil, inputs: Int, depth: Int,
    panels: Int, into out: UnsafeMutablePointer<Float>, placeStride: Int
) {
    switch element {
    case .f32: transformFilters(F32Row.self, filters, nil, inputs, depth, panels, out, placeStride)
    case .f16: transformFilters(F16Row.self, filters, nil, inputs, depth, panels, out, placeStride)
    case .bf16: transformFilters(BF16Row.self, filters, nil, inputs, depth, panels, out, placeStride)
    case .i8: transformFilters(I8Row.self, filters, scales, inputs, depth, panels, out, placeStride)
    }
}

@inline(always)
private func transformFilters<P: PanelRow>(
    _: P.Type, _ filters: UnsafeRawPointer, _ scales: Input?, _ inputs: Int, _ depth: Int, _ panels: Int,
    _ out: Output, _ stride: Int
) {
    for panel in 0..<panels {
        let source = filters + panel * 9 * inputs * MemoryLayout<P.Stored>.size
        let scale = scales.map { load($0 + 16 * panel) } ?? V()
        for i in 0..<depth {
            // A few filters ahead: they come from memory, and the work between is too long for the CPU to see them.
            for line in 0..<9 { shim_prefetch(source + (9 * (i + 12) + line) * MemoryLayout<P.Stored>.size) }
            let to = out + (panel * depth + i) * 16
            @inline(always) func column(_ kx: Int) -> Six {  // of G g
                filterTransform(
                    P.load(source, 9 * i + kx, scale), P.load(source, 9 * i + 3 + kx, scale),
                    P.load(source, 9 * i + 6 + kx, scale))
            }
            let x = column(0), y = column(1), z = column(2)
            put(filterTransform(x.a, y.a, z.a), to, stride)
            put(filterTransform(x.b, y.b, z.b), to + 6 * stride, stride)
            put(filterTransform(x.c, y.c, z.c), to + 12 * stride, stride)
            put(filterTransform(x.d, y.d, z.d), to + 18 * stride, stride)
            put(filterTransform(x.e, y.e, z.e), to + 24 * stride, stride)
            put(filterTransform(x.f, y.f, z.f), to + 30 * stride, stride)
        }
    }
}

/// Transforms one 6 x 6 tile of the input for all its channels.
///   x         the pixel at the tile's first row and column, which may lie outside: only pixels in rows and columns
///             `rows` and `columns` are read, the others count as zero
///   rowStride, c   floats between pixels below and beside each other
///   rows, columns  the part of the tile that lies in the image, within 0..<6
///   out       channels in groups of `depth` (a multiple of 16), (c / depth, 36, tiles, depth): this tile's row in the
///             first place of the first group; places are `placeStride` floats apart, groups `groupStride`. Up to 15
///             floats after the last channel are zeroed
public func winogradInput(
    _ x: UnsafePointer<Float>, rowStride: Int, c: Int, rows: Range<Int>, columns: Range<Int>, depth: Int,
    into out: UnsafeMutablePointer<Float>, placeStride: Int, groupStride: Int
) {
    let isWhole = rows.count == 6 && columns.count == 6
    var group = out
    var from = 0
    while from < c {
        let to = min(from + depth, c)
        var j = from
        while j < to {
            let count = to - j
            let tile = x + j
            let place = group + (j - from)
            if isWhole && count >= 16 {
                transformInput(place, placeStride) { y, x in load(tile + (y * rowStride + x * c)) }
            } else {
                transformInput(place, placeStride) { y, x in
                    rows.contains(y) && columns.contains(x) ? load(tile + (y * rowStride + x * c), count) : V()
                }
            }
            j += 16
        }
        group += groupStride
        from = to
    }
}

/// One vector of channels of a tile.
@inline(always)
private func transformInput(_ out: Output, _ stride: Int, _ pixel: (_ y: Int, _ x: Int) -> V) {
    @inline(always) func column(_ x: Int) -> Six {  // of B^T d
        inputTransform(pixel(0, x), pixel(1, x), pixel(2, x), pixel(3, x), pixel(4, x), pixel(5, x))
    }
    let p = column(0), q = column(1), r = column(2), s = column(3), t = column(4), u = column(5)
    put(inputTransform(p.a, q.a, r.a, s.a, t.a, u.a), out, stride)
    put(inputTransform(p.b, q.b, r.b, s.b, t.b, u.b), out + 6 * stride, stride)
    put(inputTransform(p.c, q.c, r.c, s.c, t.c, u.c), out + 12 * stride, stride)
    put(inputTransform(p.d, q.d, r.d, s.d, t.d, u.d), out + 18 * stride, stride)
    put(inputTransform(p.e, q.e, r.e, s.e, t.e, u.e), out + 24 * stride, stride)
    put(inputTransform(p.f, q.f, r.f, s.f, t.f, u.f), out + 30 * stride, stride)
}

/// Transforms one tile of products back and writes its 4 x 4 pixels: product + bias + residual.
///   products        (36, channels), places `placeStride` floats apart, `channels` padded to a multiple of 16
///   bias            (channels)
///   residual, out   the tile's first pixel; `rowStride` and `c` floats between pixels below and beside each other
///   rows, columns   pixels of the tile that lie in the image, 1...4
public func winogradOutput(
    _ products: UnsafePointer<Float>, placeStride: Int, channels: Int, bias: UnsafePointer<Float>,
    residual: UnsafePointer<Float>?, into out: UnsafeMutablePointer<Float>, rowStride: Int, c: Int, rows: Int,
    columns: Int
) {
    var j = 0
    while j < channels {
        let count = min(16, channels - j)
        let isWhole = rows == 4 && columns == 4 && count == 16
        let start = load(bias + j, count)
        let to = out + j
        switch (isWhole, residual) {
        case (true, nil):
            transformOutput(products + j, placeStride) { v, y, x in store(v + start, to + (y * rowStride + x * c)) }
        case (true, let residual?):
            let from = residual + j
            transformOutput(products + j, placeStride) { v, y, x in
                let offset = y * rowStride + x * c
                store(v + start + load(from + offset), to + offset)
            }
        case (false, _):
            transformOutput(products + j, placeStride) { v, y, x in
                if y >= rows || x >= columns { return }
                let offset = y * rowStride + x * c
                var v = v + start
                if let residual { v += load(residual + j + offset, count) }
                store(v, to + offset, count)
            }
        }
        j += 16
    }
}

/// One vector of channels of a tile; `put` gets its 16 pixels.
@inline(always)
private func transformOutput(_ products: Input, _ stride: Int, _ put: (V, _ y: Int, _ x: Int) -> Void) {
    @inline(always) func column(_ i: Int) -> Four {  // of A^T m
        let m = products + i * stride
        return outputTransform(
            load(m), load(m + 6 * stride), load(m + 12 * stride), load(m + 18 * stride), load(m + 24 * stride),
            load(m + 30 * stride))
    }
    @inline(always) func row(_ y: Int, _ r: Four) {
        put(r.a, y, 0)
        put(r.b, y, 1)
        put(r.c, y, 2)
        put(r.d, y, 3)
    }
    let p = column(0), q = column(1), r = column(2), s = column(3), t = column(4), u = column(5)
    row(0, outputTransform(p.a, q.a, r.a, s.a, t.a, u.a))
    row(1, outputTransform(p.b, q.b, r.b, s.b, t.b, u.b))
    row(2, outputTransform(p.c, q.c, r.c, s.c, t.c, u.c))
    row(3, outputTransform(p.d, q.d, r.d, s.d, t.d, u.d))
}
