/// A token that text is searched for before it is split into words, such as "<|endoftext|>".
struct AddedToken: Sendable {
    let content: String
    /// Searched for in normalised text, itself normalised; otherwise in the text as it is.
    var isNormalized = false
    /// Takes whitespace on this side along.
    var stripsLeft = false, stripsRight = false
    /// Not found as a part of a word.
    var isSingleWord = false
}

/// Finds added tokens: of those that begin first, the longest.
struct AddedTokens: Sendable {
    enum Piece {
        case text(ArraySlice<Unicode.Scalar>)
        case token(Int)
    }

    private struct Pattern {
        let scalars: [Unicode.Scalar]  // never empty
        let token: AddedToken
        let id: Int
    }

    private let patterns: [Pattern]  // the longest first

    /// Takes those tokens that are normalised, or those that are not.
    init(_ tokens: [(token: AddedToken, id: Int)], normalized: Bool) {
        patterns = tokens.filter { $0.token.isNormalized == normalized }.map { token, id in
            let content = Array(token.content.unicodeScalars)
            return Pattern(scalars: normalized ? CLIPText.normalized(content[...]) : content, token: token, id: id)
        }
        .filter { !$0.scalars.isEmpty }.sorted { ($1.scalars.count, $0.id) < ($0.scalars.count, $1.id) }
    }

    /// The tokens of a text and what lies between them.
    func split(_ text: [Unicode.Scalar]) -> [Piece] {
        var pieces: [Piece] = []
        var done = 0  // everything before is in pieces
        var position = 0
        while position < text.count {
            guard let match = patterns.first(where: { text[position...].starts(with: $0.scalars) }) else {
                position += 1
                continue
            }
            var start = position
            var end = position + match.scalars.count
            position = end
            if match.token.isSingleWord,
                start > 0 && text[start - 1].isWord || end < text.count && text[end].isWord
            {
                continue
            }
            if match.token.stripsLeft { while start > done, text[start - 1].properties.isWhitespace { start -= 1 } }
            if match.token.stripsRight { while end < text.count, text[end].properties.isWhitespace { end += 1 } }
            if start > done { pieces.append(.text(text[done..<start])) }
            pieces.append(.token(match.id))
            done = end
        }
        if done < text.count { pieces.append(.text(text[done...])) }
        return pieces
    }
}

extension Unicode.Scalar {
    /// What regular expressions call \w (Unicode Technical Standard 18, annex C).
    fileprivate var isWord: Bool {
        switch properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: true
        default: properties.isAlphabetic || properties.isJoinControl
        }
    }
}
