import Checkpoint
import Networks
import Pipeline
import TestSupport

func sameBits(_ a: [Float], _ b: [Float]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern }
}

extension Session {
    var sampleValues: [Float] {
        get throws {
            var values = [Float](repeating: 0, count: count)
            try copySample(into: &values)
            return values
        }
    }
}
