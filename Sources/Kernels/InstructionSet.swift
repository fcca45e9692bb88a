import CShims
import Microkernels

#if arch(x86_64)
    import MicrokernelsAVX512
#endif

// The inner loops exist twice, built from the same sources: for the baseline (x86-64-v3, arm64) and for AVX-512. Which
// one runs is decided here, once per process. Both give the same bits.

/// How the elements of packed weights are stored.
public typealias PanelElement = Microkernels.PanelElement

#if arch(x86_64)
    /// The environment variable MCM_MAX_CPU_ISA=avx2 keeps a process from using AVX-512.
    var usesAVX512: Bool { @inline(__always) get { shim_cpu_has_avx512() } }
#endif

extension Microkernels.Activation {
    #if arch(x86_64)
        @inline(__always) var wide: MicrokernelsAVX512.Activation { .init(rawValue: rawValue).unsafelyUnwrapped }
    #endif
}

@inline(__always)
func gemm(
    rows: Int, k: Int, n: Int, a: UnsafePointer<Float>, lda: Int, b: UnsafeRawPointer, element: PanelElement = .f32,
    scales: UnsafePointer<Float>? = nil, panelStride: Int, c: UnsafeMutablePointer<Float>, ldc: Int, accumulate: Bool
) {
    #if arch(x86_64)
        if usesAVX512 {
            return MicrokernelsAVX512.gemm(
                rows: rows, k: k, n: n, a: a, lda: lda, b: b,
                element: .init(rawValue: element.rawValue).unsafelyUnwrapped, scales: scales,
                panelStride: panelStride, c: c, ldc: ldc, accumulate: accumulate)
        }
    #endif
    Microkernels.gemm(
        rows: rows, k: k, n: n, a: a, lda: lda, b: b, element: element, scales: scales, panelStride: panelStride, c: c,
        ldc: ldc, accumulate: accumulate)
}

@inline(__always)
func winogradFilters(
    _ filters: UnsafeRawPointer, element: PanelElement, scales: UnsafePointer<Float>?, inputs: Int, depth: Int,
    panels: Int, into out: UnsafeMutablePointer<Float>, placeStride: Int
) {
    #if arch(x86_64)
        if usesAVX512 {
            return MicrokernelsAVX512.winogradFilters(
                filters, element: .init(rawValue: element.rawValue).unsafelyUnwrapped, scales: scales, inputs: inputs,
                depth: depth, panels: panels, into: out, placeStride: placeStride)
        }
    #endif
    Microkernels.winogradFilters(
        filters, element: element, scales: scales, inputs: inputs, depth: depth, panels: panels, into: out,
        placeStride: placeStride)
}

@inline(__always)
func winogradInput(
    _ x: UnsafePointer<Float>, rowStride: Int, c: Int, rows: Range<Int>, columns: Range<Int>, depth: Int,
    into out: UnsafeMutablePointer<Float>, placeStride: Int, groupStride: Int
) {
    #if arch(x86_64)
        if usesAVX512 {
            return MicrokernelsAVX512.winogradInput(
                x, rowStride: rowStride, c: c, rows: rows, columns: columns, depth: depth, into: out,
                placeStride: placeStride, groupStride: groupStride)
        }
    #endif
    Microkernels.winogradInput(
        x, rowStride: rowStride, c: c, rows: rows, columns: columns, depth: depth, into: out, placeStride: placeStride,
        groupStride: groupStride)
}

@inline(__always)
func winogradOutput(
    _ products: UnsafePointer<Float>, placeStride: Int, channels: Int, bias: UnsafePointer<Float>,
    residual: UnsafePointer<Float>?, into out: UnsafeMutablePointer<Float>,
    rowStride: Int, c: Int, rows: Int, columns: Int
) {
    #if arch(x86_64)
        if usesAVX512 {
            return MicrokernelsAVX512.winogradOutput(
                products, placeStride: placeStride, channels: channels, bias: bias,
                residual: residual, into: out, rowStride: rowStride, c: c, rows: rows, columns: columns)
        }
    #endif
    Microkernels.winogradOutput(
        products, placeStride: placeStride, channels: channels, bias: bias, residual: residual,
        into: out, rowStride: rowStride, c: c, rows: rows, columns: columns)
}

@inline(__always)
func activate(
    _ x: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>, count: Int, _ activation: Microkernels.Activation
) {
    #if arch(x86_64)
        if usesAVX512 { return MicrokernelsAVX512.activate(x, into: out, count: count, activation.wide) }
    #endif
    Microkernels.activate(x, into: out, count: count, activation)
}

@inline(__always)
func multiplyGELU(
    _ x: UnsafePointer<Float>, _ gate: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>, count: Int
) {
    #if arch(x86_64)
        if usesAVX512 { return MicrokernelsAVX512.multiplyGELU(x, gate, into: out, count: count) }
    #endif
    Microkernels.multiplyGELU(x, gate, into: out, count: count)
}

@inline(__always)
func layerNorm(
    _ x: UnsafePointer<Float>, rows: Int, channels: Int, weight: UnsafePointer<Float>, bias: UnsafePointer<Float>,
    epsilon: Float, into out: UnsafeMutablePointer<Float>
) {
    #if arch(x86_64)
        if usesAVX512 {
            return MicrokernelsAVX512.layerNorm(
                x, rows: rows, channels: channels, weight: weight, bias: bias, epsilon: epsilon, into: out)
        }
    #endif
    Microkernels.layerNorm(
        x, rows: rows, channels: channels, weight: weight, bias: bias, epsilon: epsilon, into: out)
}

@inline(__always)
func channelMoments(
    _ x: UnsafePointer<Float>, pixels: Int, channels: Int, into out: UnsafeMutablePointer<Float>
) {
    #if arch(x86_64)
        if usesAVX512 { return MicrokernelsAVX512.channelMoments(x, pixels: pixels, channels: channels, into: out) }
    #endif
    Microkernels.channelMoments(x, pixels: pixels, channels: channels, into: out)
}

@inline(__always)
func scaleShift(
    _ x: UnsafePointer<Float>, pixels: Int, channels: Int, a: UnsafePointer<Float>, b: UnsafePointer<Float>,
    into out: UnsafeMutablePointer<Float>, _ activation: Microkernels.Activation
) {
    #if arch(x86_64)
        if usesAVX512 {
            return MicrokernelsAVX512.scaleShift(
                x, pixels: pixels, channels: channels, a: a, b: b, into: out, activation.wide)
        }
    #endif
    Microkernels.scaleShift(x, pixels: pixels, channels: channels, a: a, b: b, into: out, activation)
}

@inline(__always)
func softmaxBlock(
    _ scores: UnsafeMutablePointer<Float>, count: Int, largest: inout Float, total: inout Float
) -> Float {
    #if arch(x86_64)
        if usesAVX512 {
            return MicrokernelsAVX512.softmaxBlock(scores, count: count, largest: &largest, total: &total)
        }
    #endif
    return Microkernels.softmaxBlock(scores, count: count, largest: &largest, total: &total)
}

@inline(__always)
func gemmTransposed(
    rows: Int, k: Int, n: Int, a: UnsafePointer<Float>, lda: Int, b: UnsafePointer<Float>, panelStride: Int,
    c: UnsafeMutablePointer<Float>, ldc: Int, accumulate: Bool
) {
    #if arch(x86_64)
        if usesAVX512 {
            return MicrokernelsAVX512.gemmTransposed(
                rows: rows, k: k, n: n, a: a, lda: lda, b: b, panelStride: panelStride, c: c, ldc: ldc,
                accumulate: accumulate)
        }
    #endif
    Microkernels.gemmTransposed(
        rows: rows, k: k, n: n, a: a, lda: lda, b: b, panelStride: panelStride, c: c, ldc: ldc, accumulate: accumulate)
}

@inline(__always)
func activationGradient(
    _ x: UnsafePointer<Float>, _ gradient: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>, count: Int,
    _ activation: Microkernels.Activation
) {
    #if arch(x86_64)
        if usesAVX512 {
            return MicrokernelsAVX512.activationGradient(x, gradient, into: out, count: count, activation.wide)
        }
    #endif
    Microkernels.activationGradient(x, gradient, into: out, count: count, activation)
}

@inline(__always)
func scaleShiftSums(
    _ x: UnsafePointer<Float>, _ gradient: UnsafePointer<Float>, pixels: Int, channels: Int, a: UnsafePointer<Float>,
    b: UnsafePointer<Float>, center: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>,
    _ activation: Microkernels.Activation
) {
    #if arch(x86_64)
        if usesAVX512 {
            return MicrokernelsAVX512.scaleShiftSums(
                x, gradient, pixels: pixels, channels: channels, a: a, b: b, center: center, into: out, activation.wide)
        }
    #endif
    Microkernels.scaleShiftSums(
        x, gradient, pixels: pixels, channels: channels, a: a, b: b, center: center, into: out, activation)
}

@inline(__always)
func scaleShiftGradient(
    _ x: UnsafePointer<Float>, _ gradient: UnsafePointer<Float>, pixels: Int, channels: Int, a: UnsafePointer<Float>,
    b: UnsafePointer<Float>, center: UnsafePointer<Float>, p: UnsafePointer<Float>, q: UnsafePointer<Float>,
    into out: UnsafeMutablePointer<Float>, _ activation: Microkernels.Activation
) {
    #if arch(x86_64)
        if usesAVX512 {
            return MicrokernelsAVX512.scaleShiftGradient(
                x, gradient, pixels: pixels, channels: channels, a: a, b: b, center: center, p: p, q: q, into: out,
                activation.wide)
        }
    #endif
    Microkernels.scaleShiftGradient(
        x, gradient, pixels: pixels, channels: channels, a: a, b: b, center: center, p: p, q: q, into: out, activation)
}
