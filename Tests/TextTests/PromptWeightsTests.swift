import TestSupport
import Testing

@testable import Text

struct PromptWeightsTests {
    @Test(
        arguments: [
            ("", []),
            ("a cat", [("a cat", 1)]),
            ("(a (b:1.5) c)", [("a ", 1.1), ("b", 1.65), (" c", 1.1)]),
            ("(a:1.3) [b] ((c))", [("a", 1.3), (" ", 1), ("b", 1 / 1.1), (" ", 1), ("c", 1.21)]),
            (
                "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
                [
                    ("a ", 1), ("house", 1.573), (" ", 1.1), ("on", 1), (" a ", 1.1), ("hill", 0.55), (", sun, ", 1.1),
                    ("sky", 1.4641), (".", 1.1),
                ]
            ),
            (#"a \(b\) \[c\] \\ \d\"#, [(#"a (b) [c] \ d"#, 1)]),
            (#"(a\):1.5)"#, [("a)", 1.5)]),
            ("(a:x)", [("a:x", 1.1)]),
            (":", [(":", 1)]),
            ("a:1.5)", [("a:1.5)", 1)]),
            ("a)] b", [("a)] b", 1)]),
            ("[a:1.5]", [("a:1.5", 1 / 1.1)]),
            ("()", []), ("(:1.5)", []), ("[[]]", []), ("((", []),
            ("(a b", [("a b", 1.1)]),
            ("((a) b", [("a", 1.21), (" b", 1.1)]),
            ("[a [b", [("a ", 1 / 1.1), ("b", 1 / 1.21)]),
            ("(a [b) c]", [("a ", 1.1), ("b", 1), (" c", 1 / 1.1)]),
            ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
            (
                "(a:1.)(b:.5)(c:+2)(d:-1)(e:0)(f: 1.2\t)",
                [
                    ("a", 1), ("b", 0.5), ("c", 2), ("d", -1), ("e", 0), ("f", 1.2),
                ]
            ),
            ("(a:1.2.3)", [("a:1.2.3", 1.1)]), ("(a:.)", [("a:.", 1.1)]), ("(a:)", [("a:", 1.1)]),
            ("(a:+)", [("a:+", 1.1)]), ("(a:1e3)", [("a:1e3", 1.1)]), ("(a:nan)", [("a:nan", 1.1)]),
            ("(a:0x1)", [("a:0x1", 1.1)]), ("(a:1.5", [("a:1.5", 1.1)]), ("(a:b:2)", [("a:b", 2)]),
            ("(\u{301}a\r\n)", [("\u{301}a\r\n", 1.1)]),
        ] as [(String, [(String, Double)])])
    func parsing(prompt: String, expected: [(text: String, weight: Double)]) {
        let runs = PromptWeights(parsing: prompt).runs
        #expect(runs.map(\.text) == expected.map(\.text))
        for (run, expected) in zip(runs, expected) { #expect(abs(run.weight - expected.weight) < 1e-12, "\(prompt)") }
    }

    @Test func weightsStayFinite() {
        let large = String(repeating: "9", count: 300)
        for prompt in ["((a:\(large)):\(large))", "((a:-\(large)):\(large))"] {
            let runs = PromptWeights(parsing: prompt).runs
            #expect(runs.count == 1 && runs.allSatisfy { Float($0.weight).isFinite && abs($0.weight) > 1e38 })
        }
        let infinite = "(a:\(large)\(large))"
        #expect(PromptWeights(parsing: infinite).runs.map(\.text) == ["a:\(large)\(large)"])
        let deep = PromptWeights(parsing: String(repeating: "(", count: 10_000) + "a")
        #expect(deep.runs.allSatisfy { Float($0.weight).isFinite })
    }

    @Test func tokens() throws {
        let tokenizer = try tokenizer(smallFiles(merges: [("a", "b</w>")]))
        let (ab, a, b, start, end) = (512, 353, 354, 513, 514)
        // A word does not go on in the next run.
        let one = try tokenizer.encode(PromptWeights(parsing: "ab (a:2)b"), length: 6)
        #expect(one.chunks.map(\.ids) == [[start, ab, a, b, end, end]])
        #expect(one.chunks.map(\.weights) == [[1, 1, 2, 1, 1, 1]])
        #expect(!one.isTruncated)

        let long = PromptWeights(parsing: "a (b a:2) b a")
        let cut = try tokenizer.encode(long, length: 4)
        #expect(cut.chunks.map(\.ids) == [[start, a, b, end]] && cut.isTruncated)
        #expect(cut.chunks.map(\.weights) == [[1, 1, 2, 1]])
        let chunks = try tokenizer.encode(long, length: 4, overflow: .chunk)
        #expect(chunks.chunks.map(\.ids) == [[start, a, b, end], [start, a, b, end], [start, a, end, end]])
        #expect(chunks.chunks.map(\.weights) == [[1, 1, 2, 1], [1, 2, 1, 1], [1, 1, 1, 1]])
        #expect(!chunks.isTruncated)

        let full = try tokenizer.encode(PromptWeights(parsing: "a b a b"), length: 4, overflow: .chunk)
        #expect(full.chunks.count == 2)
        for overflow in [WeightedTokens.Overflow.truncate, .chunk] {
            let empty = try tokenizer.encode(PromptWeights(parsing: "()"), overflow: overflow)
            #expect(empty.chunks.map(\.ids) == [[start] + [Int](repeating: end, count: 76)])
            #expect(empty.chunks.map(\.weights) == [[Float](repeating: 1, count: 77)])
        }
        for length in [Int.min, 0, 2, .max] {
            expectFailure(.invalidArgument, "length is \(length), expected 3 to") {
                try tokenizer.encode(long, length: length)
            }
        }
    }
}
