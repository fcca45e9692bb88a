"""For run.sh, with Python's own library only.

files.py pixels FILE                  the bytes of an 8-bit PNG's pixels
files.py recipe FILE OUT TEXT         FILE with another recipe
files.py crop FILE OUT                 the upper half of an image, with its recipe
files.py filled FILE OUT NAME VALUE   a file in F32, one of its tensors filled with a value
files.py spoiled FILE OUT              a data set in floats, whose last image is not in 0 .. 1
files.py latent FOLDER                tiny models that read texts, and what belongs to them; needs numpy
files.py dataset FOLDER OUT CONFIG    a data set whose images are the sketches in FOLDER, and a module's config
"""
import json
import struct
import sys
import zlib
from array import array
from pathlib import Path
from typing import Any


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at:at + 4])
        found.append((data[at + 4:at + 8], data[at + 8:at + 8 + length]))
        at += length + 12
    return found


def pixels(path: str) -> bytes:
    parts = chunks(Path(path).read_bytes())
    width, height, _, colour = struct.unpack(">IIBB", parts[0][1][:10])
    channels = {0: 1, 2: 3, 6: 4}[colour]
    data = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    stride, rows, above = width * channels, [], bytes(width * channels)
    for y in range(height):
        kind, row = data[y * (stride + 1)], bytearray(data[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for i in range(stride):
            a, b = row[i - channels] if i >= channels else 0, above[i]
            c = above[i - channels] if i >= channels else 0
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            row[i] = row[i] + (0, a, b, (a + b) // 2, nearest)[kind] & 255
        above = bytes(row)
        rows.append(above)
    return b"".join(rows)


def write_recipe(path: str, out: str, text: str) -> None:
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks(Path(path).read_bytes()):
        if kind == b"iTXt":
            body = b"libmcm\0\0\0\0\0" + text.encode()
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    Path(out).write_bytes(data)


def write_crop(path: str, out: str) -> None:
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks(Path(path).read_bytes()):
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
            body = struct.pack(">II", width, height // 2) + body[8:]
        if kind == b"IDAT":  # of which there is one
            body = zlib.compress(zlib.decompress(body)[: (width + 1) * (height // 2)])
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    Path(out).write_bytes(data)


def write_filled(path: str, out: str, name: str, value: str) -> None:
    data = Path(path).read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    first, end = json.loads(data[8:begin])[name]["data_offsets"]
    numbers = array("f", [float(value)] * ((end - first) // 4)).tobytes()
    Path(out).write_bytes(data[:begin + first] + numbers + data[begin + end:])


def write_dataset(folder: str, out: str, config: str) -> None:
    sketches = [pixels(str(path)) for path in sorted(Path(folder).glob("*_sketch.png"))]
    data, shape = b"".join(sketches), [len(sketches), 28, 28, 1]
    tensors = {name: {"dtype": "U8", "shape": shape, "data_offsets": [i * len(data), (i + 1) * len(data)]}
               for i, name in enumerate(("images", "sketch"))}
    header = json.dumps(tensors).encode()
    Path(out).write_bytes(struct.pack("<Q", len(header)) + header + 2 * data)
    net = {"sample_size": 28, "block_out_channels": [4, 8], "norm_num_groups": 4, "layers_per_block": 1,
           "down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    modalities = [{"name": "sketch", "channels": 1}]
    Path(config).write_text(json.dumps({"net": net, "prediction_channels": 1, "modalities": modalities}))


def write_spoiled(path: str, out: str) -> None:
    data = Path(path).read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    levels = array("f", (byte / 255 for byte in data[begin:]))
    levels[len(levels) // 2 - 1] = 300  # images come first
    shape = json.loads(data[8:begin])["images"]["shape"]
    half = len(levels) * 2
    header = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [i * half, (i + 1) * half]}
                         for i, name in enumerate(("images", "sketch"))}).encode()
    Path(out).write_bytes(struct.pack("<Q", len(header)) + header + levels.tobytes())


def write_png(path: Path, image: Any) -> None:
    height, width = image.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if image.ndim == 2 else 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in image))
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(data)


def write_latent(name: str) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "bindings/python/tests"))
    import latent_support as support

    folder = Path(name)
    support.write(folder / "sd", support.model_files())
    support.write(folder / "xl", support.model_files(is_xl=True))
    support.write(folder / "controlnet", support.controlnet_files())
    (folder / "module.safetensors").write_bytes(support.module_file(channels=4))
    write_png(folder / "image.png", support.IMAGES[0])
    write_png(folder / "sketch.png", support.SKETCH)
    write_png(folder / "mask.png", support.MASK.astype("uint8") * 255)


if __name__ == "__main__":
    if sys.argv[1] == "pixels":
        sys.stdout.buffer.write(pixels(sys.argv[2]))
    else:
        {
            "recipe": write_recipe, "filled": write_filled, "crop": write_crop, "spoiled": write_spoiled,
            "dataset": write_dataset, "latent": write_latent,
        }[sys.argv[1]](*sys.argv[2:])
