import Glibc
import TestSupport
import Testing

@testable import Checkpoint
@testable import Kernels

struct FileTests {
    @Test func mapping() throws {
        let folder = try TemporaryFolder()
        try folder.add("file", "text")
        try folder.add("empty", "")
        try #expect(MappedFile(path: folder.path + "/file").withBytes(Array.init) == Array("text".utf8))
        try #expect(MappedFile(path: folder.path + "/empty").withBytes { $0.isEmpty })
        expectFailure(.io, "/none: No such file or directory") { try MappedFile(path: folder.path + "/none") }
        expectFailure(.io, "is a directory") { try MappedFile(path: folder.path) }
        expectFailure(.io, "no regular file") { try MappedFile(path: "/dev/null") }
        expectFailure(.io, "No such file") { try MappedFile(path: "") }
    }

    @Test func truncatedWhileMapped() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/file"
        try folder.add("file", try SafetensorsTests.small())
        let file = try SafetensorsFile(MappedFile(path: path), name: path)
        try #expect(values(file, "conv.bias") == [5, 6])
        try #require(truncate(path, 20) == 0)
        expectFailure(.io, "has shrunk to 20 bytes") { try values(file, "conv.bias") }
    }

    /// Tensors of a mapped file, larger than pages and at odd places, may be read again and again in any order.
    @Test func mappedTensorsAreReadAgain() throws {
        let folder = try TemporaryFolder()
        let tensors = (0..<6).map { i in
            let count = [5000, 3, 0, 12_345, 1, 2048][i]
            return SafetensorsWriter.Tensor(
                name: "\(i)", shape: [count], dtype: i % 2 == 0 ? .f16 : .f32,
                values: (0..<count).map { Float(($0 + i) % 1000) })
        }
        try folder.add("file", SafetensorsWriter.serialize(tensors))
        let file = try SafetensorsFile(MappedFile(path: folder.path + "/file"), name: "file")
        for _ in 0..<2 {
            for tensor in tensors + tensors.reversed() {
                try #expect(values(file, tensor.name) == Array(tensor.values))
                // While one is lent, its neighbours may be read.
                try file.withElements("3") { elements in
                    try #expect(values(file, tensor.name) == Array(tensor.values))
                    #expect((0..<elements.count).allSatisfy { elements[$0] == Array(tensors[3].values)[$0] })
                }
            }
        }
    }

    @Test func names() throws {
        for good in ["a", "unet/config.json", "a..b/...", "é.json"] { #expect(Folder.staysInside(good)) }
        for bad in ["", "/", "/etc/passwd", "..", "a/../b", "a/..", "./a", "a//b", "a/", "a\\b", "a\0b", "a\nb"] {
            #expect(!Folder.staysInside(bad), "\(bad)")
            #expect(!Folder.disk("/").exists(bad))
            expectFailure(.format, "stays in the folder") { try Folder.disk("/tmp").open(bad) }
            expectFailure(.format, "stays in the folder") { try Folder.memory([:]).open(bad) }
        }
    }

    @Test func folders() throws {
        let disk = try TemporaryFolder()
        try disk.add("unet/config.json", "{}")
        let folder = Folder.disk(disk.path)
        #expect(folder.exists("unet/config.json") && !folder.exists("unet/other"))
        #expect(folder.describe("unet/config.json") == disk.path + "/unet/config.json")
        #expect(Folder.disk("x/").describe("y") == "x/y")
        try #expect(JSONObject(folder, "unet/config.json").members.isEmpty)
        expectFailure(.io, "unet/none: No such file") { try folder.open("unet/none") }

        try Array("[1]".utf8).withUnsafeBytes { bytes in
            let folder = Folder.memory(["unet/config.json": bytes])
            #expect(folder.exists("unet/config.json") && !folder.exists("config.json"))
            try #expect(folder.open("unet/config.json").withBytes(Array.init) == Array("[1]".utf8))
            expectFailure(.io, "unet/none: is missing") { try folder.open("unet/none") }
            expectFailure(.format, "unet/config.json: is [1], expected an object") {
                try JSONObject(folder, "unet/config.json")
            }
        }
    }
}
