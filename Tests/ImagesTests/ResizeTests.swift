import Checkpoint
import Testing

@testable import Images

struct ResizeTests {
    /// torch's results, Tests/Fixtures/resize.safetensors. Torch computes positions and weights in float, we in double.
    @Test func likeTorch() throws {
        let path = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
        let file = try SafetensorsFile(
            MappedFile(path: path + "/Fixtures/resize.safetensors"), name: "resize.safetensors")
        let cases = try JSONValue(parsing: #require(file.metadata["cases"]), name: "cases")
        let metadata = try JSONObject(.object(["cases": cases]), name: "metadata")
        var worst: [String: Float] = [:]
        for item in try metadata.objects("cases") {
            let (name, mode, size) = (try item.string("name"), try item.string("mode"), try item.ints("size"))
            let input = try item.string("input")
            let shape = try #require(file.info(input)).shape
            let shrinks = size[0] < shape[2] || size[1] < shape[3]
            let rule: ResizeRule
            switch mode {
            case "area": rule = .area
            case "nearest_exact": rule = .nearest
            case "bilinear_antialias": rule = .bilinear
            case "bilinear" where !shrinks: rule = .bilinear  // the same, unless an axis shrinks
            default: continue
            }
            let planes = try tensor(file, input)
            let expected = try tensor(file, name)
            let found = resized(planes, shape[1], shape[2], shape[3], size[0], size[1], rule)
            let scale = planes.map(abs).max() ?? 1
            let error = zip(found, expected).map { abs($0 - $1) / scale }.max() ?? 0
            worst[mode] = max(worst[mode] ?? 0, error)
            #expect(found.count == expected.count && error <= 1e-6, "\(name): \(error)")
        }
        #expect(worst.count == 4 && worst["nearest_exact"] == 0)
        print("resize, worst relative error:", worst)
    }

    private func tensor(_ file: SafetensorsFile, _ name: String) throws -> [Float] {
        try file.withElements(name) { elements in (0..<elements.count).map { elements[$0] } }
    }

    /// Planes (c, h, w) in, planes (c, H, W) out, with a pixel stride of c + 1 on the way.
    private func resized(
        _ planes: [Float], _ c: Int, _ h: Int, _ w: Int, _ H: Int, _ W: Int, _ rule: ResizeRule
    ) -> [Float] {
        var target = [Float](repeating: -77, count: H * W * (c + 1))
        resample(
            width: w, height: h, channels: c, targetWidth: W, targetHeight: H, rule: rule, into: &target,
            pixelStride: c + 1
        ) { y, row in
            for x in 0..<w { for k in 0..<c { row[x * c + k] = planes[(k * h + y) * w + x] } }
        }
        #expect((0..<H * W).allSatisfy { target[$0 * (c + 1) + c] == -77 })
        return (0..<c).flatMap { k in (0..<H * W).map { target[$0 * (c + 1) + k] } }
    }

    @Test func tapsStayInside() {
        for rule in ResizeRule.allCases {
            for (count, target) in [(1, 1), (1, 65536), (65536, 1), (65536, 65535), (7, 3), (3, 7), (65535, 65536)] {
                let all = taps(rule, from: count, to: target)
                #expect(all.count == target)
                for tap in all {
                    let inside = tap.first >= 0 && !tap.weights.isEmpty && tap.first + tap.weights.count <= count
                    let sum = tap.weights.reduce(0, +)
                    #expect(inside && abs(sum - 1) < 1e-9)
                }
            }
        }
    }

    @Test func sameSizeChangesNothing() {
        let planes = (0..<6 * 5).map { _ in Float.random(in: 0...1) }
        for rule in ResizeRule.allCases { #expect(resized(planes, 1, 6, 5, 6, 5, rule) == planes) }
    }
}
