import Glibc
import TestSupport
import Testing

@testable import Checkpoint
@testable import Kernels

struct WriterTests {
    static let tensors: [SafetensorsWriter.Tensor] = [
        .init(name: "b", shape: [3], dtype: .f16, values: [0.5, -1, 65504]),
        .init(name: "c \"\\\n\u{1}\u{7f}é😀/", shape: [2, 2], values: [1, 2, 3, .infinity]),
        .init(name: "a", shape: [], values: [7]),
        .init(name: "empty", shape: [4, 0], values: []),
    ]

    @Test func roundTrip() throws {
        let metadata = ["format": "mcm", "config": #"{"a": ["\n", 1]}"#, "é": ""]
        let bytes = try SafetensorsWriter.serialize(Self.tensors, metadata: metadata)
        #expect(bytes == (try SafetensorsWriter.serialize(Self.tensors.reversed(), metadata: metadata)))
        try withFile(bytes) { file in
            #expect(file.metadata == metadata)
            #expect(file.names == ["a", "b", Self.tensors[1].name, "empty"])
            for tensor in Self.tensors {
                let info = try #require(file.info(tensor.name))
                #expect(info.dtype == tensor.dtype)
                #expect(info.shape == tensor.shape)
                #expect(info.range.lowerBound % info.dtype.size == 0)
                try #expect(values(file, tensor.name) == Array(tensor.values))
            }
        }
    }

    @Test func refuses() {
        let a = Self.tensors[2]
        expectFailure(.invalidArgument, "occurs twice") { try SafetensorsWriter.serialize([a, a]) }
        for bad in [
            SafetensorsWriter.Tensor(name: "x", shape: [2], values: [1]),
            .init(name: "x", shape: [-1, -1], values: [1]), .init(name: "x", shape: [1], dtype: .bf16, values: [1]),
            .init(name: "__metadata__", shape: [1], values: [1]),
        ] {
            expectFailure(.invalidArgument, "tensor \"") { try SafetensorsWriter.serialize([bad]) }
        }
    }

    @Test func writesAtomically() throws {
        let folder = try TemporaryFolder()
        try folder.add("old", "old")
        try SafetensorsWriter.write(Self.tensors, to: folder.path + "/old")
        let mapped = try MappedFile(path: folder.path + "/old")
        try #expect(SafetensorsFile(mapped, name: "old").names.count == 4)
        // Its mode stays, and so does a link to it.
        #expect(chmod(folder.path + "/old", 0o640) == 0 && symlink("old", folder.path + "/link") == 0)
        try SafetensorsWriter.write([], to: folder.path + "/link")
        var status = stat()
        #expect(lstat(folder.path + "/link", &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
        #expect(lstat(folder.path + "/old", &status) == 0 && status.st_mode & 0o7777 == 0o640)
        try #expect(SafetensorsFile(MappedFile(path: folder.path + "/old"), name: "old").names.isEmpty)
        expectFailure(.io, "/none/x: No such file or directory") {
            try SafetensorsWriter.write(Self.tensors, to: folder.path + "/none/x")
        }
        expectFailure(.io, "/dev/null: is no regular file") { try SafetensorsWriter.write([], to: "/dev/null") }
        expectFailure(.io, "no regular file") { try SafetensorsWriter.write(Self.tensors, to: folder.path) }
    }
}
