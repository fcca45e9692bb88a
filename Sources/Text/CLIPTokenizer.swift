import Checkpoint
import Kernels

/// The tokenizer of CLIP's text encoders: transformers' `CLIPTokenizer`, as version 5 has it.
///
/// Text is searched for special tokens, composed (NFC), its whitespace made single spaces, its letters lower case; then
/// it is cut into words, and these are encoded by `BytePairEncoding`.
///
/// Version 4 of transformers has two tokenizers. `CLIPTokenizerFast` gives the same ids as this one, but for special
/// tokens in capitals, since both versions read the same files differently. The slow `CLIPTokenizer` of version 4,
/// without ftfy, makes each Chinese character a word, drops control, format, private and unassigned characters (joiners
/// of emoji among them), NUL and U+FFFD, knows the final sigma, ignores case in its pattern, which makes U+0345 a
/// letter, and looks for special tokens before it composes. Where text has none of these, its ids are the same too.
///
/// Unicode is the Swift library's, version 17. In transformers, letters and digits are those of version 16, and marks
/// that are newer than version 9 neither compose nor change places.
public struct CLIPTokenizer: Sendable {
    public let startID: Int
    public let endID: Int
    public let paddingID: Int
    /// Tokens of a prompt with start and end, 77 for Stable Diffusion.
    public let maximumLength: Int
    /// One more than the largest id: the rows that an embedding table needs.
    public let idCount: Int

    let vocabulary: Vocabulary
    private let pairs: BytePairEncoding
    private let rawTokens: AddedTokens
    private let normalizedTokens: AddedTokens

    /// Reads `vocab.json` and `merges.txt`, or `tokenizer.json`, which goes first; and where they exist
    /// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`.
    ///   component   folder of the tokenizer, e.g. "tokenizer_2"
    /// Errors: `.io` for files that are missing, `.format`, `.unsupported`.
    public init(_ folder: Folder, component: String = "tokenizer") throws {
        let files = try TokenizerFiles(folder, component: component)
        try self.init(files.model(), files.specialTokens())
    }

    init(_ model: TokenizerModel, _ special: TokenizerFiles.SpecialTokens) throws {
        var vocabulary = model.vocabulary
        func id(_ token: AddedToken) throws -> Int {
            guard let id = vocabulary.ids[token.content] else {
                throw MCMError(
                    .format, "\(vocabulary.name): has no special token \(inMessage(token.content)), expected one")
            }
            return id
        }
        for (token, declared) in special.declared {
            // A token that the vocabulary lacks comes after it, as in transformers, whatever its file says.
            let known = vocabulary.ids[token.content]
            let expected = known ?? vocabulary.ids.count
            guard declared == expected else {
                throw MCMError(
                    .format,
                    "\(special.name): the added token \(inMessage(token.content)) has the id \(declared), "
                        + "expected \(expected)")
            }
            if known == nil { try vocabulary.add(token.content, declared) }
        }
        let added = try special.all.map { (token: $0, id: try id($0)) }
        startID = try id(special.start)
        endID = try id(special.end)
        paddingID = try id(special.padding)
        maximumLength = special.maximumLength
        pairs = try BytePairEncoding(
            vocabulary, merges: model.merges, unknown: id(special.unknown), complete: Set(added.map(\.id)),
            name: model.mergesName)
        rawTokens = AddedTokens(added, normalized: false)
        normalizedTokens = AddedTokens(added, normalized: true)
        idCount = (vocabulary.tokens.keys.max() ?? -1) + 1
        self.vocabulary = vocabulary
    }

    /// The ids of a text, without start and end.
    public func encode(_ text: String) -> [Int] {
        var ids: [Int] = []
        for piece in rawTokens.split(Array(text.unicodeScalars)) {
            switch piece {
            case .token(let id): ids.append(id)
            case .text(let text): encode(raw: text, into: &ids)
            }
        }
        return ids
    }

    private func encode(raw text: ArraySlice<Unicode.Scalar>, into ids: inout [Int]) {
        for piece in normalizedTokens.split(CLIPText.normalized(text)) {
            switch piece {
            case .token(let id): ids.append(id)
            case .text(let text): CLIPText.forEachWord(text) { pairs.encode($0, into: &ids) }
            }
        }
    }

    /// What a text encoder takes: start, the ids of a text, end, and padding up to the length. Of a text that is too
    /// long the first tokens are kept.
    ///   length  at least 2; nil for `maximumLength`
    /// Errors: `.invalidArgument` for another length.
    public func encode(_ text: String, length: Int?) throws -> (ids: [Int], isTruncated: Bool) {
        let length = try checked(length, atLeast: 2)
        let ids = encode(text)
        return (framed(ids.prefix(length - 2), length: length), ids.count > length - 2)
    }

    /// Start, ids, end and padding.
    ///   ids  at most `length` - 2
    func framed(_ ids: some Collection<Int>, length: Int) -> [Int] {
        let framed = [startID] + ids + [endID]
        return framed + [Int](repeating: paddingID, count: max(0, length - framed.count))
    }

    func checked(_ length: Int?, atLeast minimum: Int) throws -> Int {
        let length = length ?? maximumLength
        guard (minimum...TokenizerFiles.lengthLimit).contains(length) else {
            throw MCMError(
                .invalidArgument, "length is \(length), expected \(minimum) to \(TokenizerFiles.lengthLimit) tokens")
        }
        return length
    }

    /// Text that has these tokens, for messages and tests: in lower case, a space after each word. Unknown ids are left
    /// out.
    public func decode(_ ids: some Sequence<Int>) -> String {
        let byteOf = Dictionary(zip(ByteCharacters.all(), 0...UInt8.max), uniquingKeysWith: { first, _ in first })
        var bytes: [UInt8] = []
        for token in ids.compactMap({ vocabulary.tokens[$0] }) {
            let isLast = token.hasSuffix(BytePairEncoding.endOfWord)
            let text = token.unicodeScalars.dropLast(isLast ? BytePairEncoding.endOfWord.utf8.count : 0)
            let written = text.compactMap { byteOf[$0] }
            bytes += written.count == text.count ? written : Array(String(text).utf8)
            if isLast { bytes.append(UInt8(ascii: " ")) }
        }
        var text = String(decoding: bytes, as: UTF8.self)[...]
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text.drop { $0.isWhitespace })
    }
}
