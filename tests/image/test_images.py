# SPDX-License-Identifier: Apache-2.0
"""Pictures are read as Pillow reads them, and damaged files are refused without a crash."""

import random
import struct
import zlib

import numpy as np
import pytest
from pictures import PHOTOGRAPHS, expected, photograph, read, try_to_read
from PIL import Image


def test_photographs():
    assert len(PHOTOGRAPHS) == 2


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: path.stem)
def test_a_jpeg_is_read_as_pillow_reads_it(path, tmp_path):
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    assert np.abs(read(copy).astype(int) - expected(path)).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "palette with alpha"])
def test_pngs(mode, tmp_path):
    path = tmp_path / "picture.png"
    picture = photograph(61, 43)
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    elif mode == "palette with alpha":
        picture = picture.quantize(40)
        picture.info["transparency"] = bytes(range(40))
    else:
        picture = picture.convert(mode)
    picture.save(path)
    assert np.array_equal(read(path), expected(path))


def chunk(kind, data):
    return (
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data) & 0xFFFFFFFF)
    )


def png(width, height, depth, colour, rows, interlaced=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_give_their_high_byte(colour, channels, tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    path = tmp_path / "deep.png"
    path.write_bytes(png(7, 9, 16, colour, rows))
    colours = (values >> 8).astype(np.uint8)[..., : 3 if channels > 2 else 1]
    assert np.array_equal(read(path), np.broadcast_to(colours, (9, 7, 3)))


def test_an_interlaced_png(tmp_path):
    path = tmp_path / "interlaced.png"  # one pixel is the first pass alone
    path.write_bytes(png(1, 1, 8, 2, b"\0\x0a\x14\x1e", interlaced=1))
    assert read(path).tolist() == [[[10, 20, 30]]]


@pytest.mark.parametrize("options", [{"progressive": True}, {"quality": 30}, {"subsampling": 0}])
def test_jpegs(options, tmp_path):
    path = tmp_path / "picture.jpeg"
    photograph(123, 77).save(path, **options)
    assert np.abs(read(path).astype(int) - expected(path)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_colours(mode, tmp_path):
    path = tmp_path / "picture.jpg"
    photograph(50, 40).convert(mode).save(path)
    assert np.abs(read(path).astype(int) - expected(path)).max() <= 1


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation, ending, tmp_path):
    path = tmp_path / f"turned.{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "another entry before it"
    photograph(40, 24).save(path, exif=exif)
    assert np.abs(read(path).astype(int) - expected(path)).max() <= 1


@pytest.mark.parametrize("most", [255, 1, 100, 65535])
@pytest.mark.parametrize("kind", [b"P2", b"P3", b"P5", b"P6"])
def test_netpbm(kind, most, tmp_path):
    channels = 3 if kind in (b"P3", b"P6") else 1
    values = np.random.default_rng(1).integers(0, most + 1, (5, 4, channels))
    path = tmp_path / "picture.ppm"
    if kind in (b"P2", b"P3"):
        samples = " ".join(map(str, values.ravel())).encode()
    else:
        samples = values.astype(">u2" if most > 255 else "u1").tobytes()
    path.write_bytes(kind + b"\n# a comment\n4 5\n%d\n" % most + samples)
    exact = np.broadcast_to(values * 255 / most, (5, 4, 3))
    assert np.abs(read(path) - exact).max() <= 0.5


GOOD = {
    "png": lambda path: photograph(40, 30).save(path),
    "jpg": lambda path: photograph(40, 30).save(path),
    "ppm": lambda path: photograph(40, 30).save(path),
}


@pytest.mark.parametrize("ending", GOOD)
def test_truncated_files_are_refused(ending, tmp_path):
    whole = tmp_path / f"whole.{ending}"
    GOOD[ending](whole)
    content = whole.read_bytes()
    for length in [1, 2, 3, 8, 20, 40, len(content) // 2, len(content) - 30]:
        part = tmp_path / f"part.{ending}"
        part.write_bytes(content[:length])
        refused = try_to_read(part)
        assert refused.startswith(f"{part}: "), f"{length} bytes of {len(content)} were read"


@pytest.mark.parametrize("ending", GOOD)
def test_damaged_files_never_crash(ending, tmp_path):
    whole = tmp_path / f"whole.{ending}"
    GOOD[ending](whole)
    rng = random.Random(3)
    paths = []
    for i in range(300):
        content = bytearray(whole.read_bytes())
        for _ in range(rng.choice([1, 3, 40])):
            content[rng.randrange(min(len(content), rng.choice([64, 10**9])))] = rng.randrange(256)
        paths.append(tmp_path / f"damaged{i}.{ending}")
        paths[-1].write_bytes(content)
    refused = try_to_read(*paths).splitlines()
    assert len(refused) > 10
    assert all(line.startswith(str(tmp_path)) for line in refused)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("huge.png", png(60000, 60000, 8, 2, b"\0"), "60000 x 60000 pixels; at most 100000000"),
        ("huge.ppm", b"P6 99999999 99999999 255 ", "pixels; at most"),
        ("flat.ppm", b"P6 0 5 255 ", "0 x 5"),
        ("odd.ppm", b"P6 -3 5 255 ", "width is not a number"),
        ("black.pgm", b"P5 1 1 0 x", "greatest sample is 0"),
        ("animal.gif", b"GIF89a....", "it is a GIF"),
        ("photo.webp", b"RIFF\0\0\0\0WEBPVP8 ", "it is a WebP"),
        ("empty.jpg", b"", "it is empty"),
        ("text.png", b"hello", "not a PNG, JPEG, PPM or PGM picture"),
    ],
)
def test_what_is_not_a_picture_is_refused_by_name(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    refused = try_to_read(path)
    assert refused.startswith(f"{path}: ")
    assert message in refused


def test_what_is_no_file(tmp_path):
    assert "is a folder" in try_to_read(tmp_path)
    assert "No such file" in try_to_read(tmp_path / "nothing.png")
