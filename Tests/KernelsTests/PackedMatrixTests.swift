import TestSupport
import Testing

@testable import Kernels

@Suite struct PackedMatrixTests {
    static let elements = [PanelElement.f32, .f16, .bf16]
    /// (n, inputs, taps): whole panels, a rest, a single column.
    static let shapes = [(16, 4, 1), (35, 7, 9), (1, 3, 9), (64, 33, 1), (17, 1, 4)]

    /// Rows are ordered (input, tap) or (tap, input); columns beyond n are zero; elements keep their bits and width.
    @Test(arguments: elements, shapes) func placesEveryElement(element: PanelElement, shape: (Int, Int, Int)) throws {
        let (n, inputs, taps) = shape
        let filters = rounded(randn(n * inputs * taps, seed: 1), to: element)
        for inputMajor in [true, false] {
            for threads in [1, 3] {
                let b = try packed(
                    filters, n: n, inputs: inputs, taps: taps, inputMajor: inputMajor, element: element,
                    threads: threads)
                #expect((b.k, b.n, b.element) == (inputs * taps, n, element))
                #expect(b.bytes == (n + 15) / 16 * 16 * b.k * (element == .f32 ? 4 : 2))
                let all = StoredFloats(element, b.panels, count: b.bytes / element.size)
                var placed = true
                for column in 0..<((n + 15) / 16 * 16) {
                    for input in 0..<inputs {
                        for tap in 0..<taps {
                            let row = inputMajor ? input * taps + tap : tap * inputs + input
                            let found = all[(column / 16 * b.k + row) * 16 + column % 16]
                            let expected = column < n ? filters[(column * inputs + input) * taps + tap] : 0
                            placed = placed && found.bitPattern == expected.bitPattern
                        }
                    }
                }
                #expect(placed, "input major \(inputMajor), \(threads) threads")
            }
        }
    }

    /// The first in the file's order, wherever it is and whichever thread finds it.
    @Test(arguments: elements) func refusesWhatIsNotFinite(element: PanelElement) throws {
        for (bad, text) in [(Float.nan, "nan"), (.infinity, "inf"), (-.infinity, "-inf")] {
            for places in [[0], [34 * 63 + 62], [700, 699], [2000, 40, 1000]] {
                var filters = randn(35 * 63, seed: 2)
                for place in places { filters[place] = bad }
                for (inputs, taps, inputMajor) in [(63, 1, true), (7, 9, true), (7, 9, false)] {
                    let error = #expect(throws: MCMError.self) {
                        try packed(
                            filters, n: 35, inputs: inputs, taps: taps, inputMajor: inputMajor, element: element,
                            threads: 3)
                    }
                    #expect(error?.kind == .format)
                    #expect(error?.message == "holds \(text) at element \(places.min()!), expected finite numbers")
                }
            }
        }
    }

    /// The largest finite and the smallest numbers are numbers.
    @Test func acceptsEveryFiniteNumber() throws {
        let large: [PanelElement: Float] = [.f32: .greatestFiniteMagnitude, .f16: 65504, .bf16: 0x1.fep127]
        for (element, large) in large {
            let small: Float = element == .f16 ? 0x1p-24 : .leastNonzeroMagnitude
            let b = try matrix(k: 1, n: 6, element: element) { [large, -large, small, -small, 0, -0.0][$1] }
            let all = StoredFloats(element, b.panels, count: 16)
            #expect(all[0] == large && all[1] == -large && all[4] == 0 && all[5].sign == .minus)
            if element != .bf16 { #expect(all[2] == small && all[3] == -small) }
        }
    }

    @Test func aWrongNumberOfElementsIsAnError() {
        for (n, inputs, taps) in [(3, 4, 1), (4, 3, 2), (0, 3, 1), (-1, -12, 1)] {
            #expect(throws: MCMError.self) { try packed(randn(13, seed: 3), n: n, inputs: inputs, taps: taps) }
        }
    }
}
