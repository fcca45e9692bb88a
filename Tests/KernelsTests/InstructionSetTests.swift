#if arch(x86_64)
    import CShims
    import Microkernels
    import MicrokernelsAVX512
    import TestSupport
    import Testing

    /// The inner loops are built for two instruction sets, and give the same bits.
    @Suite(.enabled(if: shim_cpu_has_avx512(), "this CPU has no AVX-512, or is kept from it"))
    struct InstructionSetTests {
        static let elements = [Microkernels.PanelElement.f32, .f16, .bf16, .i8]
        static let activations = [
            Microkernels.Activation.none, .silu, .mish, .gelu, .relu, .quickGELU, .geluTanh,
        ]

        @Test(arguments: elements) func products(element: Microkernels.PanelElement) {
            var random = SplitMix(seed: 1)
            for round in 0..<150 {
                let rows = random.int(1...40), k = random.int(1...(round % 10 == 0 ? 600 : 60)), n = random.int(1...100)
                let (lda, ldc, stride) = (k + random.int(0...3), n + random.int(0...3), (k + random.int(0...3)) * 16)
                let accumulate = random.bool()
                let a = randn(rows * lda, seed: random.next()), c = randn(rows * ldc, seed: random.next())
                let scales = randn((n + 15) / 16 * 16, seed: random.next())
                withStored(randn((n + 15) / 16 * stride, seed: random.next()), as: element) { b in
                    var one = c, other = c
                    Microkernels.gemm(
                        rows: rows, k: k, n: n, a: a, lda: lda, b: b.base, element: element, scales: scales,
                        panelStride: stride, c: &one, ldc: ldc, accumulate: accumulate)
                    MicrokernelsAVX512.gemm(
                        rows: rows, k: k, n: n, a: a, lda: lda, b: b.base, element: element.wide, scales: scales,
                        panelStride: stride, c: &other, ldc: ldc, accumulate: accumulate)
                    #expect(sameBits(one, other), "\(rows) x \(k) x \(n)")
                }
            }
        }

        @Test(arguments: elements) func winogradFilters(element: Microkernels.PanelElement) {
            var random = SplitMix(seed: 2)
            for _ in 0..<30 {
                let depth = random.int(1...20), inputs = depth + random.int(0...5), panels = random.int(1...3)
                let stride = panels * depth * 16 + 16 * random.int(0...1)
                withStored(randn(panels * inputs * 9 * 16, seed: random.next()), as: element) { filters in
                    var one = [Float](repeating: 0, count: 36 * stride), other = one
                    let scales = randn(16 * panels, seed: 3)
                    Microkernels.winogradFilters(
                        filters.base, element: element, scales: scales, inputs: inputs, depth: depth, panels: panels,
                        into: &one,
                        placeStride: stride)
                    MicrokernelsAVX512.winogradFilters(
                        filters.base, element: element.wide, scales: scales, inputs: inputs, depth: depth,
                        panels: panels, into: &other,
                        placeStride: stride)
                    #expect(sameBits(one, other), "\(inputs) inputs, \(panels) panels")
                }
            }
        }

        @Test func winogradInput() {
            var random = SplitMix(seed: 3)
            for _ in 0..<100 {
                let c = random.int(1...100), depth = 16 * random.int(1...4)
                let rows = random.int(0...1)..<random.int(2...6), columns = random.int(0...1)..<random.int(2...6)
                let group = 36 * (depth + 16), groups = (c + depth - 1) / depth
                let x = randn(36 * c, seed: random.next())
                var one = [Float](repeating: 0, count: groups * group), other = one
                Microkernels.winogradInput(
                    x, rowStride: 6 * c, c: c, rows: rows, columns: columns, depth: depth, into: &one,
                    placeStride: depth + 16, groupStride: group)
                MicrokernelsAVX512.winogradInput(
                    x, rowStride: 6 * c, c: c, rows: rows, columns: columns, depth: depth, into: &other,
                    placeStride: depth + 16, groupStride: group)
                #expect(sameBits(one, other), "\(c) channels, rows \(rows), columns \(columns)")
            }
        }

        @Test func winogradOutput() {
            var random = SplitMix(seed: 4)
            for _ in 0..<100 {
                let channels = random.int(1...40), c = channels + random.int(0...3), stride = 64
                let rows = random.int(1...4), columns = random.int(1...4)
                let products = randn(36 * stride, seed: random.next()), bias = randn(channels, seed: random.next())
                let residual = random.bool() ? randn(16 * c, seed: random.next()) : nil
                func run(_ transform: (UnsafePointer<Float>?, UnsafeMutablePointer<Float>) -> Void) -> [Float] {
                    var out = [Float](repeating: 0, count: 16 * c)
                    if let residual { transform(residual, &out) } else { transform(nil, &out) }
                    return out
                }
                let one = run {
                    Microkernels.winogradOutput(
                        products, placeStride: stride, channels: channels, bias: bias, residual: $0, into: $1,
                        rowStride: 4 * c, c: c, rows: rows, columns: columns)
                }
                let other = run {
                    MicrokernelsAVX512.winogradOutput(
                        products, placeStride: stride, channels: channels, bias: bias, residual: $0, into: $1,
                        rowStride: 4 * c, c: c, rows: rows, columns: columns)
                }
                #expect(sameBits(one, other), "\(channels) channels, \(rows) x \(columns)")
            }
        }

        /// Also with scores that are infinite or NaN.
        @Test func softmaxBlocks() {
            var random = SplitMix(seed: 5)
            for round in 0..<200 {
                func run(_ block: (UnsafeMutablePointer<Float>, Int, inout Float, inout Float) -> Float) -> [Float] {
                    var random = random
                    var largest = -Float.infinity, total: Float = 0
                    var seen: [Float] = []
                    for _ in 0..<3 {
                        var scores = randn(random.int(1...70), seed: random.next()).map { 40 * $0 }
                        if round % 8 == 0 { scores[random.int(0...(scores.count - 1))] = .nan }
                        if round % 8 == 1 { scores[random.int(0...(scores.count - 1))] = -.infinity }
                        if round % 8 == 2 { scores[random.int(0...(scores.count - 1))] = .infinity }
                        let factor = block(&scores, scores.count, &largest, &total)
                        seen += scores + [factor, largest, total]
                    }
                    // Which NaN it is depends on the order of a sum's operands, which is the compiler's.
                    return seen.map { $0.isNaN ? .nan : $0 }
                }
                let one = run { Microkernels.softmaxBlock($0, count: $1, largest: &$2, total: &$3) }
                let other = run { MicrokernelsAVX512.softmaxBlock($0, count: $1, largest: &$2, total: &$3) }
                #expect(sameBits(one, other), "round \(round)")
                _ = random.next()
            }
        }

        @Test func moments() {
            var random = SplitMix(seed: 6)
            for _ in 0..<100 {
                let pixels = random.int(1...50), channels = random.int(1...50)
                let x = randn(pixels * channels, seed: random.next())
                var one = [Float](repeating: 0, count: 2 * channels), other = one
                Microkernels.channelMoments(x, pixels: pixels, channels: channels, into: &one)
                MicrokernelsAVX512.channelMoments(x, pixels: pixels, channels: channels, into: &other)
                #expect(sameBits(one, other), "\(pixels) x \(channels)")
            }
        }

        @Test func layerNormsAndGates() {
            var random = SplitMix(seed: 10)
            for _ in 0..<100 {
                let rows = random.int(1...9), channels = random.int(1...100), count = rows * channels
                let x = randn(count, seed: random.next()).map { 3 * $0 + 1 }, y = randn(count, seed: random.next())
                let weight = randn(channels, seed: random.next()), bias = randn(channels, seed: random.next())
                var one = x, other = x
                Microkernels.layerNorm(
                    x, rows: rows, channels: channels, weight: weight, bias: bias, epsilon: 1e-5, into: &one)
                MicrokernelsAVX512.layerNorm(
                    x, rows: rows, channels: channels, weight: weight, bias: bias, epsilon: 1e-5, into: &other)
                #expect(sameBits(one, other), "\(rows) x \(channels)")
                Microkernels.multiplyGELU(x, y, into: &one, count: count)
                MicrokernelsAVX512.multiplyGELU(x, y, into: &other, count: count)
                #expect(sameBits(one, other), "\(count) values")
            }
        }

        @Test func transposedProducts() {
            var random = SplitMix(seed: 8)
            for _ in 0..<100 {
                let rows = Microkernels.gemmTransposedRows * random.int(1...4), k = random.int(1...300),
                    n = random.int(1...70)
                let lda = rows + random.int(0...5), padded = (n + 15) / 16 * 16, accumulate = random.bool()
                let a = randn(k * lda, seed: random.next()), b = randn(padded * k, seed: random.next())
                var one = randn(rows * n, seed: random.next()), other = one
                Microkernels.gemmTransposed(
                    rows: rows, k: k, n: n, a: a, lda: lda, b: b, panelStride: 16 * k, c: &one, ldc: n,
                    accumulate: accumulate)
                MicrokernelsAVX512.gemmTransposed(
                    rows: rows, k: k, n: n, a: a, lda: lda, b: b, panelStride: 16 * k, c: &other, ldc: n,
                    accumulate: accumulate)
                #expect(sameBits(one, other), "\(rows) x \(k) x \(n)")
            }
        }

        @Test(arguments: activations) func gradients(activation: Microkernels.Activation) {
            var random = SplitMix(seed: 9)
            for _ in 0..<50 {
                let pixels = random.int(1...9), channels = random.int(1...50), count = pixels * channels
                let x = randn(count, seed: random.next()).map { 10 * $0 }, g = randn(count, seed: random.next())
                let v = (0..<5).map { _ in randn(channels, seed: random.next()) }
                var one = x, other = x
                Microkernels.activationGradient(x, g, into: &one, count: count, activation)
                MicrokernelsAVX512.activationGradient(x, g, into: &other, count: count, activation.wide)
                #expect(sameBits(one, other), "\(count) values")
                Microkernels.scaleShiftGradient(
                    x, g, pixels: pixels, channels: channels, a: v[0], b: v[1], center: v[2], p: v[3], q: v[4],
                    into: &one, activation)
                MicrokernelsAVX512.scaleShiftGradient(
                    x, g, pixels: pixels, channels: channels, a: v[0], b: v[1], center: v[2], p: v[3], q: v[4],
                    into: &other, activation.wide)
                #expect(sameBits(one, other), "\(pixels) x \(channels)")
                var sums = [Float](repeating: 0, count: 2 * channels), others = sums
                Microkernels.scaleShiftSums(
                    x, g, pixels: pixels, channels: channels, a: v[0], b: v[1], center: v[2], into: &sums, activation)
                MicrokernelsAVX512.scaleShiftSums(
                    x, g, pixels: pixels, channels: channels, a: v[0], b: v[1], center: v[2], into: &others,
                    activation.wide)
                #expect(sameBits(sums, others), "\(pixels) x \(channels)")
            }
        }

        @Test(arguments: activations) func scalesShiftsAndActivations(activation: Microkernels.Activation) {
            var random = SplitMix(seed: 7)
            for _ in 0..<50 {
                let pixels = random.int(1...9), channels = random.int(1...50)
                let x = randn(pixels * channels, seed: random.next()).map { 10 * $0 }
                let a = randn(channels, seed: random.next()), b = randn(channels, seed: random.next())
                var one = x, other = x
                Microkernels.scaleShift(
                    x, pixels: pixels, channels: channels, a: a, b: b, into: &one, activation)
                MicrokernelsAVX512.scaleShift(
                    x, pixels: pixels, channels: channels, a: a, b: b, into: &other, activation.wide)
                #expect(sameBits(one, other), "\(pixels) x \(channels)")
                Microkernels.activate(x, into: &one, count: x.count, activation)
                MicrokernelsAVX512.activate(x, into: &other, count: x.count, activation.wide)
                #expect(sameBits(one, other), "\(x.count) values")
            }
        }
    }

    extension Microkernels.PanelElement {
        fileprivate var wide: MicrokernelsAVX512.PanelElement { .init(rawValue: rawValue)! }
    }

    extension Microkernels.Activation {
        fileprivate var wide: MicrokernelsAVX512.Activation { .init(rawValue: rawValue)! }
    }
#endif
