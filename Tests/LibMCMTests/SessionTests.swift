import Testing

@testable import LibMCM

@Test func version() { #expect(Library.version == "0.1.0") }
