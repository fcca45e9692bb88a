import Checkpoint
import Kernels
import Networks
import TestSupport
import Testing

@Suite struct CLIPTextTests {
    @Test(arguments: [false, true]) func equalsTransformers(withoutPrefix: Bool) throws {
        let fixture = try Fixture("clip_text")
        #expect(fixture.cases.count >= 8)
        let workspace = Workspace(threads: 2)
        var worst = 0.0
        for c in fixture.cases {
            let name = try c.string("name")
            let net = try CLIPText(
                CLIPTextConfig(c.object("config")), Weights(withoutPrefix ? Version5() : GoldenWeights()),
                hasProjection: c.bool("projection"))
            let (n, ids) = (try c.int("batch"), try c.ints("ids"))
            func compare(_ x: Tensor, _ tensor: String) throws {
                let error = try relativeError(Array(x.buffer), fixture.tensor(tensor))
                #expect(error <= 1e-5, "\(tensor)")
                worst = max(worst, error)
            }
            for skipping in try c.ints("skipping") {
                let out = try net(ids, n: n, skipping: skipping, in: workspace)
                try compare(out.states, "\(name).\(skipping)")
                if let embeds = out.textEmbeds {
                    try compare(embeds, "\(name).embeds")
                } else {
                    try compare(out.pooled, "\(name).pooled")
                }
                if try c.ints("skipping").count > 1 {
                    let raw = try net(ids, n: n, skipping: skipping, isNormalized: false, in: workspace)
                    try compare(raw.states, "\(name).\(skipping).raw")
                }
            }
        }
        print("worst error of CLIPTextModel", worst)
    }

    @Test func bitsDependOnNeitherThreadsNorBatchNorLaterTokens() throws {
        let net = try CLIPText(tiny([:]), Weights(GoldenWeights()), hasProjection: true)
        let texts = [Array(0..<50), Array((20..<70).reversed())]
        func bits(_ ids: [Int], n: Int, threads: Int) throws -> [Float] {
            let states = try net(ids, n: n, in: Workspace(threads: threads)).states
            return withExtendedLifetime(states) { Array(states.buffer) }
        }
        let both = try bits(texts[0] + texts[1], n: 2, threads: 1)
        #expect(try bits(texts[0] + texts[1], n: 2, threads: 3) == both)
        #expect(try bits(texts[1], n: 1, threads: 2) == Array(both[(both.count / 2)...]))
        #expect(try bits(Array(texts[0][..<33]), n: 1, threads: 2) == Array(both[..<(33 * 8)]))
    }

    @Test func inputsThatDoNotFitAreErrors() throws {
        let net = try CLIPText(tiny([:]), Weights(GoldenWeights()), hasProjection: false)
        let workspace = Workspace(threads: 1)
        for (ids, n, skipping) in [
            ([], 1, 0), ([1], 0, 0), ([1], -1, 0), ([1, 2, 3], 2, 0), ([90], 1, 0), ([-1], 1, 0), ([.max], 1, 0),
            ([Int](repeating: 1, count: 78), 1, 0), ([1], 1, 3), ([1], 1, -1),
        ] {
            #expect(throws: MCMError.self) { _ = try net(ids, n: n, skipping: skipping, in: workspace) }
        }
        #expect(try net([1], n: 1, in: workspace).states.count == 8)
    }

    /// Old files hold position_ids, integers that nobody reads; they are not surplus.
    @Test func positionIdsAreNoParameters() throws {
        let recorder = Recorder()
        _ = try CLIPText(tiny([:]), Weights(recorder), hasProjection: true)
        for (extra, isSurplus) in [("text_model.embeddings.position_ids", false), ("text_model.embeddings.ids", true)] {
            var offset = 0
            var entries = recorder.tensors.map { key, shape in
                let begin = offset
                offset += 4 * shape.reduce(1, *)
                return #""\#(key)": {"dtype": "F32", "shape": \#(shape), "data_offsets": [\#(begin), \#(offset)]}"#
            }
            entries.append(
                #""\#(extra)": {"dtype": "I64", "shape": [1, 2], "data_offsets": [\#(offset), \#(offset + 16)]}"#)
            let header = Array("{\(entries.joined(separator: ", "))}".utf8)
            let bytes =
                withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header
                + [UInt8](repeating: 0, count: offset + 16)
            try bytes.withUnsafeBytes {
                let source = try CheckpointSource(SafetensorsFile(MemoryFile(borrowing: $0), name: "text"))
                _ = try CLIPText(tiny([:]), Weights(source), hasProjection: true)
                if isSurplus {
                    #expect(throws: MCMError.self) { try source.finish() }
                } else {
                    try source.finish()
                }
            }
        }
    }

    @Test(arguments: [
        ("model_type", "\"t5\""), ("hidden_act", "\"tanh\""), ("hidden_size", "0"), ("num_attention_heads", "3"),
        ("num_attention_heads", "0"), ("num_hidden_layers", "0"), ("vocab_size", "-1"), ("eos_token_id", "[1, 2]"),
        ("layer_norm_eps", "-1"), ("max_position_embeddings", "\"77\""), ("use_attention_mask", "true"),
        ("intermediate_size", "70000"), ("projection_dim", "0"),
    ])
    func damagedConfigsAreErrors(key: String, value: String) throws {
        let value = try JSONValue(parsing: value, name: "value")
        let error = #expect(throws: MCMError.self) { _ = try tiny([key: value]) }
        #expect(error?.message.contains("\n") == false && error?.message.contains(key) == true)
    }
}

private func tiny(_ options: [String: JSONValue]) throws -> CLIPTextConfig {
    let members: [String: JSONValue] = [
        "vocab_size": .integer(90), "hidden_size": .integer(8), "intermediate_size": .integer(16),
        "num_hidden_layers": .integer(2), "num_attention_heads": .integer(2), "projection_dim": .integer(6),
    ]
    return try CLIPTextConfig(
        JSONObject(.object(members.merging(options) { $1 }), name: "text_encoder/config.json"))
}

/// What a network asks for.
private final class Recorder: TensorSource {
    private let golden = GoldenWeights()
    private(set) var tensors: [(key: String, shape: [Int])] = []

    func contains(_ key: String) -> Bool { true }
    func finish() throws {}
    func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        tensors.append((key, shape))
        return try golden.withElements(key, shape: shape, body)
    }
}

/// Golden weights by the names that transformers 5 writes.
private final class Version5: TensorSource {
    private let golden = GoldenWeights()

    func contains(_ key: String) -> Bool { !key.hasPrefix("text_model.") }
    func finish() throws {}
    func withElements<R>(_ key: String, shape: [Int], _ body: (StoredFloats) throws -> R) throws -> R {
        try golden.withElements(
            key == "text_projection.weight" ? key : "text_model." + key, shape: shape, body)
    }
}
