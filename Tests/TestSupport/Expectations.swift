public import Kernels
public import Testing

/// Expects `body` to throw an MCMError of this kind whose one line contains `text`.
public func expectFailure<R>(
    _ kind: MCMError.Kind, _ text: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> R
) {
    let error = #expect(throws: MCMError.self, sourceLocation: sourceLocation) { try body() }
    guard let error else { return }
    #expect(error.kind == kind, "\(error)", sourceLocation: sourceLocation)
    #expect(error.message.contains(text), "\(error)", sourceLocation: sourceLocation)
    #expect(!error.message.contains { $0.isNewline }, sourceLocation: sourceLocation)
}
