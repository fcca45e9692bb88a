import Checkpoint
import Networks
import Pipeline
import TestSupport

/// The golden weights of a network by its config.
func goldenTensors(_ unet: String) throws -> [SafetensorsWriter.Tensor] {
    let recorder = RecordedWeights()
    let json = try JSONObject(JSONValue(parsing: unet, name: "tiny"), name: "tiny")
    _ = try UNet2D(UNet2DConfig(json), Weights(recorder))
    return recorder.tensors
}

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
