import Checkpoint
import Kernels

/// What `BytePairEncoding` needs. `mergesName` is for messages.
struct TokenizerModel {
    let vocabulary: Vocabulary
    let merges: [(left: String, right: String)]
    let mergesName: String
}

/// The files of a tokenizer's folder.
struct TokenizerFiles {
    /// No model has nearly as many positions.
    static let lengthLimit = 100_000

    private let folder: Folder
    private let component: String
    /// tokenizer.json, if there is one: vocabulary and merges are a few megabytes.
    private var whole: JSONObject?

    init(_ folder: Folder, component: String) throws {
        self.folder = folder
        self.component = component
        whole = try object("tokenizer.json")
    }

    private func path(_ file: String) -> String { component.isEmpty ? file : "\(component)/\(file)" }

    /// Nil if there is no such file.
    private func object(_ file: String) throws -> JSONObject? {
        folder.exists(path(file)) ? try JSONObject(folder, path(file)) : nil
    }

    // MARK: Vocabulary and merges

    func model() throws -> TokenizerModel {
        if let model = try whole?.object("model") {
            _ = try model.string("type", default: "BPE", oneOf: ["BPE"])
            _ = try model.string("end_of_word_suffix", oneOf: [BytePairEncoding.endOfWord])
            _ = try model.string("continuing_subword_prefix", default: "", oneOf: [""])
            return TokenizerModel(
                vocabulary: try Vocabulary(model.object("vocab")), merges: try merges(model), mergesName: model.name)
        }
        let merges = folder.describe(path("merges.txt"))
        let vocabulary = try Vocabulary(JSONObject(folder, path("vocab.json")))
        let file = try folder.open(path("merges.txt"))
        try file.check()
        return TokenizerModel(
            vocabulary: vocabulary, merges: try file.withBytes { try Self.merges($0, name: merges) }, mergesName: merges
        )
    }

    /// "merges" of a tokenizer.json: strings "a b", or since tokenizers 0.20 pairs ["a", "b"].
    private func merges(_ model: JSONObject) throws -> [(left: String, right: String)] {
        guard case .array(let values) = model.value("merges") else { throw model.error("merges", expected: "a list") }
        return try values.enumerated().map { index, value in
            switch value {
            case .string(let text):
                if let pair = Self.pair(text[...]) { return pair }
            case .array(let parts):
                if parts.count == 2, case .string(let left) = parts[0], case .string(let right) = parts[1] {
                    return (left, right)
                }
            default: break
            }
            throw MCMError(.format, "\(model.name): \"merges\"[\(index)] is \(value), expected two tokens")
        }
    }

    /// The contents of a merges.txt.
    static func merges(_ bytes: UnsafeRawBufferPointer, name: String) throws -> [(left: String, right: String)] {
        guard bytes.count <= 100_000_000 else {
            throw MCMError(.format, "\(name): has \(bytes.count) bytes, expected at most 100000000")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw MCMError(.format, "\(name): is no UTF-8 text")
        }
        // By bytes: to Swift, "\r\n" is one character.
        let (feed, carriageReturn) = (UInt8(ascii: "\n"), UInt8(ascii: "\r"))
        var lines = text.utf8.split(separator: feed, omittingEmptySubsequences: false).map {
            Substring($0.last == carriageReturn ? $0.dropLast() : $0)
        }
        if lines.last == "" { lines.removeLast() }
        guard lines.first == "#version: 0.2" else {
            let found = inMessage(String(lines.first ?? ""))
            throw MCMError(.format, "\(name): line 1 is \(found), expected \"#version: 0.2\"")
        }
        return try lines.enumerated().dropFirst().map { index, line in
            if let pair = pair(line) { return pair }
            throw MCMError(
                .format, "\(name): line \(index + 1) is \(inMessage(String(line))), expected two tokens and a space")
        }
    }

    /// Two tokens with a space between.
    private static func pair(_ text: Substring) -> (left: String, right: String)? {
        let space = UInt8(ascii: " ")
        guard let middle = text.utf8.firstIndex(of: space), middle > text.startIndex else { return nil }
        let right = text[text.utf8.index(after: middle)...]
        guard !right.isEmpty, !right.utf8.contains(space) else { return nil }
        return (String(text[..<middle]), String(right))
    }

    // MARK: Special tokens

    struct SpecialTokens {
        let start, end, unknown, padding: AddedToken
        /// Added tokens whose ids are said, in ascending order of these.
        let declared: [(token: AddedToken, id: Int)]
        /// All added tokens.
        let all: [AddedToken]
        let maximumLength: Int
        /// What declares them, in messages.
        let name: String
    }

    /// As transformers 5 reads them. If tokenizer_config.json lists added tokens, it says everything; otherwise
    /// special_tokens_map.json has the last word. A special token that is only named is searched for in the text as it
    /// is, and what is said of a token last counts.
    func specialTokens() throws -> SpecialTokens {
        let none = try JSONObject(.object([:]), name: path("tokenizer_config.json"))
        let config = try object("tokenizer_config.json") ?? none
        _ = try config.string("padding_side", default: "right", oneOf: ["right"])
        _ = try config.string("truncation_side", default: "right", oneOf: ["right"])
        let isComplete = config.has("added_tokens_decoder")
        let map = isComplete ? none : try object("special_tokens_map.json") ?? none
        let (declared, name) = try isComplete ? decoder(config) : addedTokens(named: config, map)
        var all: [String: AddedToken] = [:]
        for (token, _) in declared { all[token.content] = token }
        let listed = all
        func named(_ key: String, default: String? = nil) throws -> AddedToken? {
            let source = map.has(key) ? map : config
            guard source.has(key) || `default` != nil else { return nil }
            let value = source.has(key) ? source.value(key) : .string(`default` ?? "")
            let token = try self.token(value, "\(source.name): \(inMessage(key))", isSpecial: source === map)
            if let known = listed[token.content] { return known }
            all[token.content] = token
            return token
        }
        let (startText, endText) = ("<|startoftext|>", "<|endoftext|>")
        let endToken = AddedToken(content: endText)
        let start = try named("bos_token", default: startText) ?? AddedToken(content: startText)
        let end = try named("eos_token", default: endText) ?? endToken
        let unknown = try named("unk_token", default: endText) ?? endToken
        _ = try named("sep_token")
        let padding = try named("pad_token", default: endText) ?? endToken
        for key in ["cls_token", "mask_token"] { _ = try named(key) }
        for source in [config, map] {
            for key in ["additional_special_tokens", "extra_special_tokens"] where source.has(key) {
                guard case .array(let values) = source.value(key) else { continue }
                for value in values {
                    let token = try token(value, "\(source.name): \(inMessage(key))", isSpecial: true)
                    if all[token.content] == nil { all[token.content] = token }
                }
            }
        }
        return SpecialTokens(
            start: start, end: end, unknown: unknown, padding: padding, declared: declared,
            all: all.values.sorted { $0.content < $1.content }, maximumLength: try maximumLength(config), name: name)
    }

    /// transformers writes 1e30 where it knows no length.
    private func maximumLength(_ config: JSONObject) throws -> Int {
        switch config.value("model_max_length") {
        case .integer(let length) where (2...Self.lengthLimit).contains(length): return length
        case .number(let length) where length > Double(Self.lengthLimit): return 77
        case .integer(let length) where length > Self.lengthLimit: return 77
        case .null: return 77
        default: throw config.error("model_max_length", expected: "an integer >= 2")
        }
    }

    /// "added_tokens_decoder": tokens by ids.
    private func decoder(_ config: JSONObject) throws -> (declared: [(token: AddedToken, id: Int)], name: String) {
        let decoder = try config.object("added_tokens_decoder")
        let tokens = try decoder.members.map { key, value in
            guard let id = Int(key), id >= 0 else {
                throw MCMError(.format, "\(decoder.name): the key \(inMessage(key)) is no id")
            }
            return (token: try token(value, "\(decoder.name): \(inMessage(key))", isSpecial: false), id: id)
        }
        return (tokens.sorted { $0.id < $1.id }, decoder.name)
    }

    /// added_tokens.json and the "added_tokens" of tokenizer.json.
    private func addedTokens(
        named config: JSONObject, _ map: JSONObject
    ) throws -> (declared: [(token: AddedToken, id: Int)], name: String) {
        var tokens: [Int: AddedToken] = [:]
        var name = ""
        if let file = try object("added_tokens.json") {
            name = file.name
            for content in file.members.keys.sorted() {
                tokens[try file.int(content, in: 0 ... .max)] = AddedToken(content: content, isNormalized: true)
            }
        }
        if let file = whole, file.has("added_tokens") {
            name = file.name
            for added in try file.objects("added_tokens") {
                tokens[try added.int("id", in: 0 ... .max)] = try token(
                    .object(added.members), added.name, isSpecial: false)
            }
        }
        return (tokens.sorted { $0.key < $1.key }.map { ($0.value, $0.key) }, name)
    }

    /// A token's text, or an object with its "content" and how to search for it. `name` is for messages.
    private func token(_ value: JSONValue, _ name: String, isSpecial: Bool) throws -> AddedToken {
        if case .string(let content) = value, !content.isEmpty { return AddedToken(content: content) }
        guard case .object = value else {
            throw MCMError(
                .format, "\(name) is \(value), expected a token: a string, or an object with its \"content\"")
        }
        let object = try JSONObject(value, name: name)
        let content = try object.string("content")
        guard !content.isEmpty else { throw object.error("content", expected: "a token") }
        let special = try isSpecial || object.bool("special", default: false)
        return AddedToken(
            content: content, isNormalized: try object.bool("normalized", default: !special),
            stripsLeft: try object.bool("lstrip", default: false),
            stripsRight: try object.bool("rstrip", default: false),
            isSingleWord: try object.bool("single_word", default: false))
    }
}
