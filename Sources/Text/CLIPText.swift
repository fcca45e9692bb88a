/// How CLIP sees text: normalised, then cut into words.
enum CLIPText {
    /// Composed (NFC), each run of whitespace one space, lower case scalar by scalar, whatever language and context.
    static func normalized(_ text: ArraySlice<Unicode.Scalar>) -> [Unicode.Scalar] {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: text)
        var result: [Unicode.Scalar] = []
        result.reserveCapacity(text.count)
        var afterSpace = false
        // The standard library composes text to compare and hash it; only this underscored property shows the result.
        for scalar in String(decoding: String(view)._nfcCodeUnits, as: UTF8.self).unicodeScalars {
            let isSpace = scalar.properties.isWhitespace
            if isSpace {
                if !afterSpace { result.append(" ") }
            } else if scalar.isASCII {
                result.append(("A"..."Z").contains(scalar) ? Unicode.Scalar(UInt8(scalar.value) | 0x20) : scalar)
            } else {
                result.append(contentsOf: scalar.properties.lowercaseMapping.unicodeScalars)
            }
            afterSpace = isSpace
        }
        return result
    }

    /// Hands over the UTF-8 bytes of each word of normalised text: a contraction ('s 't 're 've 'm 'll 'd), a run of
    /// letters, one digit, or a run of anything else but whitespace. A special token that was not found as one, since it
    /// had capitals, is three words: "<|", its name, "|>".
    static func forEachWord(_ text: ArraySlice<Unicode.Scalar>, _ body: ([UInt8]) -> Void) {
        // Made here: lazy globals do not survive a fork (CShims).
        let contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"].map { Array($0.unicodeScalars) }
        let specials = ["<|startoftext|>", "<|endoftext|>"].map { Array($0.unicodeScalars) }
        var rest = text
        while let first = rest.first {
            let length: Int
            if let special = specials.first(where: { rest.starts(with: $0) }) {
                body(Array("<|".utf8))
                body(special.dropFirst(2).dropLast(2).flatMap { Array($0.utf8) })
                body(Array("|>".utf8))
                rest = rest.dropFirst(special.count)
                continue
            } else if first == "'", let contraction = contractions.first(where: { rest.starts(with: $0) }) {
                length = contraction.count
            } else {
                switch first.wordClass {
                case .space:
                    rest = rest.dropFirst()
                    continue
                case .number:
                    length = 1
                case let kind:
                    length = rest.prefix { $0.wordClass == kind }.count
                }
            }
            body(rest.prefix(length).flatMap { Array($0.utf8) })
            rest = rest.dropFirst(length)
        }
    }
}

private enum WordClass {
    case space, letter, number, other
}

extension Unicode.Scalar {
    fileprivate var wordClass: WordClass {
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: .letter
        case .decimalNumber, .letterNumber, .otherNumber: .number
        default: properties.isWhitespace ? .space : .other
        }
    }
}
