import CLIPMerges
import Kernels

extension CLIPTokenizer {
    /// The tokenizer of OpenAI's CLIP, which all text encoders of Stable Diffusion have.
    ///   padding  what fills a prompt up: the end token, or "!" in OpenCLIP, which then is a token wherever it stands
    public static func standard(padding: String = "<|endoftext|>") throws -> CLIPTokenizer {
        let name = "CLIP's merges"
        var size = 0
        let bytes = UnsafeRawBufferPointer(start: clip_merges(&size), count: size)
        let merges = try TokenizerFiles.merges(bytes, name: name)
        // As transformers reads the files of Stable Diffusion 1 and 2: the former name the end token again, plainly.
        let isEnd = padding == "<|endoftext|>"
        let start = AddedToken(content: "<|startoftext|>", isNormalized: true)
        let end = AddedToken(content: "<|endoftext|>", isNormalized: !isEnd)
        let fill = isEnd ? end : AddedToken(content: padding)
        let all = ByteCharacters.all()
        let isPrintable = (UInt32(0)...255).map(ByteCharacters.isPrintable)
        let symbols = (zip(all, isPrintable).filter { $1 } + zip(all, isPrintable).filter { !$1 }).map { String($0.0) }
        let vocabulary = try Vocabulary(
            symbols + symbols.map { $0 + BytePairEncoding.endOfWord } + merges.map { $0.left + $0.right }
                + [start.content, end.content], name: name)
        return try CLIPTokenizer(
            TokenizerModel(vocabulary: vocabulary, merges: merges, mergesName: name),
            TokenizerFiles.SpecialTokens(
                start: start, end: end, unknown: end, padding: fill, declared: [],
                all: isEnd ? [start, end] : [start, end, fill], maximumLength: 77, name: name))
    }
}
