"""Small image files of every kind, and damaged copies of them."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image as Pil
from PIL import features


def seeds() -> dict[str, bytes]:
    """A small valid file of each format and kind."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 4), dtype=np.uint8)
    noise[8:30, 10:40] = (200, 120, 90, 255)
    colour = Pil.fromarray(noise[:, :, :3])
    alpha, gray = Pil.fromarray(noise), Pil.fromarray(noise[:, :, 0])
    deep = Pil.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    exif = Pil.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    found: dict[str, bytes] = {}

    def add(name: str, image: Pil.Image, kind: str, **options: object) -> None:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        found[name] = buffer.getvalue()

    add("jpeg", colour, "JPEG", exif=exif)
    add("jpeg progressive", colour, "JPEG", progressive=True)
    add("jpeg gray", gray, "JPEG")
    add("jpeg cmyk", colour.convert("CMYK"), "JPEG")
    add("mpo", colour, "MPO", save_all=True, append_images=[gray.convert("RGB")])
    for name, image in (("png", colour), ("png alpha", alpha), ("png gray", gray), ("png deep", deep)):
        add(name, image, "PNG", exif=exif)
    add("png palette", colour.quantize(16), "PNG", transparency=3)
    add("png bit", gray.convert("1"), "PNG")
    add("apng", colour, "PNG", save_all=True, append_images=[gray.convert("RGB")], duration=50)
    found["png deep colour"] = deep_png(noise[:, :, :3].astype(np.uint16) * 257)
    found["png deep alpha"] = deep_png(noise.astype(np.uint16) * 257)
    add("gif", colour.quantize(64), "GIF", save_all=True, append_images=[gray.convert("P")], duration=50)
    for name, image in (("webp", colour), ("webp alpha", alpha)):
        add(name, image, "WEBP", exif=exif)
        add(name + " lossless", image, "WEBP", lossless=True)
    add("webp animated", colour, "WEBP", save_all=True, append_images=[alpha], duration=50)
    for name, image in (("bmp", colour), ("bmp alpha", alpha), ("bmp palette", gray)):
        add(name, image, "BMP")
    add("dib", colour, "DIB")
    for compression in (None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "tiff_adobe_deflate"):
        add(f"tiff {compression}", colour, "TIFF", compression=compression)
    add("tiff bit", gray.convert("1"), "TIFF", compression="group4")
    add("tiff alpha", alpha, "TIFF", tiffinfo={274: 6})
    add("tiff deep", deep, "TIFF")
    add("tiff big", colour, "TIFF", big_tiff=True)
    add("tiff pages", colour, "TIFF", save_all=True, append_images=[gray, alpha], compression="tiff_lzw")
    for name, image in (("ppm", colour), ("pgm", gray), ("pbm", gray.convert("1")), ("pgm deep", deep)):
        add(name, image, "PPM")
    found["ppm text"] = b"P3\n4 3 200\n# text\n" + b" ".join(b"%d" % (k * 5) for k in range(36)) + b"\n"
    found["pam"] = b"P7\nWIDTH 56\nHEIGHT 40\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n" + noise.tobytes()
    add("tga", alpha, "TGA")
    add("tga rle", colour, "TGA", compression="tga_rle")
    if features.check("jpg_2000"):
        add("jp2", colour, "JPEG2000")
        add("jp2 alpha", alpha, "JPEG2000", irreversible=True)
        add("j2k", colour, "JPEG2000", no_jp2=True)
    if features.check("avif"):
        add("avif", alpha, "AVIF", exif=exif)
        add("avif animated", colour, "AVIF", save_all=True, append_images=[gray.convert("RGB")], duration=50)
    try:
        import pillow_heif
    except ImportError:
        return found
    for name, image in (("heic", colour), ("heic alpha", alpha)):
        buffer = io.BytesIO()
        pillow_heif.from_pillow(image).save(buffer, quality=50)
        found[name] = buffer.getvalue()
    return found


def deep_png(pixels: np.ndarray) -> bytes:
    """uint16 (H, W, 3 or 4) as a PNG, which Pillow cannot write."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    size = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = ((b"IHDR", size), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def mutant(seed: int, files: dict[str, bytes]) -> tuple[str, bytes]:
    """Return the name of a valid file, and that file with damage that follows from the seed."""
    rng = random.Random(seed)
    name = rng.choice(sorted(files))
    data = bytearray(files[name])
    damage(rng, data, files, 0 if rng.random() < 0.5 else 200)  # headers matter most
    if name.startswith(("png", "apng")) and rng.random() < 0.7:
        data = bytearray(with_checksums(bytes(data)))
    return name, bytes(data)


def damage(rng: random.Random, data: bytearray, files: dict[str, bytes], window: int = 0) -> None:
    """Change, delete, repeat or insert bytes at 1 to 16 places.

    `window` restricts the places to the first bytes, or the last ones if negative; 0 is the whole file. Inserted bytes
    come from `files`.
    """
    low, high = max(0, len(data) + window) if window < 0 else 0, min(len(data), window) if window > 0 else len(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        high = min(high, len(data))
        if low >= high:
            break
        at = rng.randrange(low, high)
        match rng.randrange(8):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.randrange(256)
            case 2:
                size = rng.choice((1, 2, 4, 8))
                value = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 1 << 8 * size - 1, (1 << 8 * size) - 1, 10_000, 60_000))
                data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, rng.choice(("big", "little")))
            case 3:
                del data[at : at + rng.choice((1, 2, 4, 40))]
            case 4:
                other = files[rng.choice(sorted(files))]
                start = rng.randrange(len(other))
                data[at:at] = other[start : start + rng.choice((1, 4, 30, 300))]
            case 5:
                end = at + rng.choice((4, 12, 60))
                data[at:at] = data[at:end]
            case 6:
                del data[max(at, 12) :]
            case 7:
                data[at : at + 4] = bytes(4)


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have right checksums, as far as they can be followed."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)
