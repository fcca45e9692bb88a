import Kernels
import TestSupport
import Testing

@Suite struct RandomTests {
    @Test func drawsEqualTorchBitForBit() throws {
        let fixture = try Fixture("randn")
        #expect(fixture.cases.count >= 60)
        for c in fixture.cases {
            let name = try c.string("name")
            var generator = Generator(seed: UInt64(c.value("seed").description) ?? 0)
            var values: [Float] = []
            for size in try c.ints("sizes") {
                var draw = [Float](repeating: 0, count: size)
                draw.withUnsafeMutableBufferPointer { generator.normal(into: $0.baseAddress!, count: size) }
                values += draw
            }
            let expected = try fixture.tensor(name)
            let wrong = zip(values, expected).filter { $0.bitPattern != $1.bitPattern }.count
            #expect(values.count == expected.count && wrong == 0, "\(name): \(wrong) of \(values.count) differ")
        }
    }
}
