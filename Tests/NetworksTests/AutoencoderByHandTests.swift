import Checkpoint
import Foundation
import Kernels
import Networks
import TestSupport
import Testing

private let folder = ProcessInfo.processInfo.environment["MCM_AUTOENCODER"]

/// Real sizes, by hand: MCM_AUTOENCODER names a folder of an autoencoder in diffusers format with a file
/// reference.safetensors beside it, of latents (N, C, H, W) and of what diffusers decodes, or of an image and what it
/// encodes: bench/autoencoder.py writes it.
@Suite(.enabled(if: folder != nil)) struct AutoencoderByHandTests {
    @Test func equalsDiffusersAtRealSizes() throws {
        let path = folder ?? ""
        let json = try JSONObject(
            JSONValue(parsing: String(contentsOfFile: path + "/config.json", encoding: .utf8), name: path), name: path)
        let file = try SafetensorsFile(
            MappedFile(path: path + "/diffusion_pytorch_model.safetensors"), name: "weights")
        let checkpoint = try CheckpointSource(file)
        let config = try AutoencoderConfig(json)
        let net: any Autoencoder =
            switch config.kind {
            case .kl: try AutoencoderKL(config, Weights(checkpoint))
            case .vq: try VQModel(config, Weights(checkpoint))
            }
        try checkpoint.finish()
        let reference = try SafetensorsFile(MappedFile(path: path + "/reference.safetensors"), name: "reference")
        func values(_ name: String) throws -> [Float] {
            try reference.withElements(name) { elements in (0..<elements.count).map { elements[$0] } }
        }
        let inputs = Workspace(threads: 2)
        func tensor(_ name: String) throws -> Tensor? {
            guard let shape = reference.info(name)?.shape else { return nil }
            let x = try Tensor(shape[0], shape[2], shape[3], shape[1], in: inputs)
            fromNCHW(try values(name), into: x)
            return x
        }
        let tilings: [(String, Tiling)] =
            [("off", .off), ("256", .size(256)), ("384", .size(384)), ("512", .size(512))]
        for (input, output) in [("latents", "decoded"), ("image", "encoded")] {
            guard let x = try tensor(input) else { continue }
            let expected = try values(output)
            var first: [Float] = []
            for (name, tiling) in tilings {
                let workspace = Workspace(threads: 2)
                for round in 0..<(name == "off" ? 2 : 1) {
                    let start = ContinuousClock.now
                    let out: Tensor =
                        if input == "latents" {
                            try net.decode(x, tiling: tiling, in: workspace)
                        } else if let kl = net as? AutoencoderKL {
                            try kl.encode(x, tiling: tiling, in: workspace).moments
                        } else {
                            try (net as! VQModel).encode(x, tiling: tiling, in: workspace)
                        }
                    let time = ContinuousClock.now - start
                    var found = [Float](repeating: 0, count: out.count)
                    toNCHW(out, into: &found)
                    if first.isEmpty { first = found }
                    let error = relativeError(found, expected)
                    var squares = 0.0, peak: Float = 0
                    for (a, b) in zip(found, first) {
                        squares += Double(a - b) * Double(a - b)
                        peak = max(peak, abs(a - b))
                    }
                    let psnr = 10 * log10(4 * Double(found.count) / max(squares, 1e-30))
                    print(
                        "\(input), tiling \(name), round \(round): \(time), arena now \(workspace.bytes >> 20) MiB, "
                            + "peak \(workspace.peakBytes >> 20) MiB, from diffusers \(error), from untiled: "
                            + "PSNR \(psnr) dB, largest \(peak)")
                }
            }
        }
    }
}
