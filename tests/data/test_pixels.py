"""Pixels of every mode, format and orientation, beside values written out in NumPy."""

import io
import os
import struct
import subprocess

import numpy as np
import pytest
from PIL import Image, ImageCms

from cnnjax import InputError, data
from cnnjax.data import DataConfig, load
from cnnjax.data.decode import decode, look
from tests.data.test_folder import fill

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (5, 6)).astype(np.uint8)
RGB = RANDOM.integers(0, 256, (5, 6, 3)).astype(np.uint8)
ALPHA = RANDOM.integers(0, 256, (5, 6)).astype(np.uint8)
SIXTEEN = RANDOM.integers(0, 65536, (5, 6)).astype(np.uint16)
PALETTE = RANDOM.integers(0, 256, (16, 3)).astype(np.uint8)
PLACES = RANDOM.integers(0, 16, (5, 6)).astype(np.uint8)


def read(data, channels=3):
    return decode([("picture", data)], 1, channels=channels, what="")[0]


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(levels, kind, bits, *, photometric=1, sample_format=1, extra=None, order="<", packed=None):
    """A TIFF written by hand: one strip of samples of NumPy's type `kind`, in the order of bytes `order`."""
    height, width = levels.shape[:2]
    samples = levels.shape[2] if levels.ndim == 3 else 1
    strip = packed if packed is not None else levels.astype(np.dtype(kind).newbyteorder(order)).tobytes()
    tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * samples), (259, 3, [1]), (262, 3, [photometric])]
    tags += [(273, 4, [None]), (277, 3, [samples]), (278, 4, [height]), (279, 4, [len(strip)])]
    tags += [(338, 3, [extra])] * (extra is not None) + [(339, 3, [sample_format] * samples)]
    after = 8 + 2 + 12 * len(tags) + 4
    beyond, entries = b"", b""
    sizes = {3: ("H", 2), 4: ("I", 4)}
    long = sum(sizes[t][1] * len(v) for _, t, v in tags if sizes[t][1] * len(v) > 4)
    for tag, type_, values in tags:
        values = [after + long if v is None else v for v in values]
        content = struct.pack(f"{order}{len(values)}{sizes[type_][0]}", *values)
        if len(content) > 4:
            content, beyond = struct.pack(f"{order}I", after + len(beyond)), beyond + content
        entries += struct.pack(f"{order}HHI", tag, type_, len(values)) + content.ljust(4, b"\0")
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4 + beyond + strip


def as_colour(grey):
    return np.repeat(np.asarray(grey)[..., None], 3, axis=2)


def scaled(levels, white):
    return np.round(levels.astype(np.float64) * 255 / white)


def over_black(colors, alpha):
    return colors.astype(np.float64) * alpha.astype(np.float64)[..., None] / 255


def from_ycbcr(stored):
    """JFIF 1.02, page 3."""
    y, cb, cr = np.moveaxis(stored.astype(np.float64), 2, 0)
    red, blue = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
    green = y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
    return np.clip(np.stack([red, green, blue], -1), 0, 255)


def with_alpha(mode, *bands):
    return Image.merge(mode, [Image.fromarray(band) for band in bands])


def from_palette(mode="P"):
    image = Image.fromarray(PLACES)
    image.putpalette(PALETTE.tobytes())
    return image if mode == "P" else image.convert(mode)


BITS = GREY > 127
CMYK = RANDOM.integers(0, 256, (5, 6, 4)).astype(np.uint8)
UNPRINTED = 255.0 - CMYK
TEN = SIXTEEN % 1024
TWELVE = RANDOM.integers(0, 4096, (4, 6)).astype(np.uint16)
PACKED = np.unpackbits(np.stack([TWELVE >> 8, TWELVE & 255], -1).astype(np.uint8).reshape(-1, 2), axis=1)[:, 4:].ravel()

KNOWN = {
    "1, PNG": (saved(Image.fromarray(GREY).point(lambda v: 255 * (v > 127), "1"), "PNG"), as_colour(255 * BITS)),
    "L, PNG": (saved(Image.fromarray(GREY), "PNG"), as_colour(GREY)),
    "L, BMP": (saved(Image.fromarray(GREY), "BMP"), as_colour(GREY)),
    "L, TIFF, white is zero": (tiff(GREY, "u1", 8, photometric=0), as_colour(255 - GREY)),
    "RGB, PPM": (saved(Image.fromarray(RGB), "PPM"), RGB),
    "RGB, WEBP": (saved(Image.fromarray(RGB), "WEBP", lossless=True), RGB),
    "LA, PNG": (saved(with_alpha("LA", GREY, ALPHA), "PNG"), over_black(as_colour(GREY), ALPHA)),
    "LA, TIFF": (tiff(np.stack([GREY, ALPHA], -1), "u1", 8, extra=2), over_black(as_colour(GREY), ALPHA)),
    "La, TIFF": (tiff(np.stack([GREY, ALPHA], -1), "u1", 8, extra=1), as_colour(GREY)),
    "RGBA, PNG": (saved(with_alpha("RGBA", *np.moveaxis(RGB, 2, 0), ALPHA), "PNG"), over_black(RGB, ALPHA)),
    "P, PNG": (saved(from_palette(), "PNG"), PALETTE[PLACES]),
    "P, GIF": (saved(from_palette(), "GIF"), PALETTE[PLACES]),
    "P with one transparent, PNG": (
        saved(from_palette(), "PNG", transparency=3),
        np.where((PLACES == 3)[..., None], 0, PALETTE[PLACES]),
    ),
    "PA, TIFF": (saved(from_palette("PA"), "TIFF"), PALETTE[PLACES]),
    "L with one transparent, PNG": (
        saved(Image.fromarray(GREY), "PNG", transparency=int(GREY[1, 1])),
        as_colour(np.where(GREY[1, 1] == GREY, 0, GREY)),
    ),
    "CMYK, TIFF": (tiff(CMYK, "u1", 8, photometric=5), UNPRINTED[..., :3] * UNPRINTED[..., 3:] / 255),
    "YCbCr, TIFF": (tiff(RGB, "u1", 8, photometric=6), from_ycbcr(RGB)),
    "I;16, PNG": (saved(Image.fromarray(SIXTEEN), "PNG"), as_colour(scaled(SIXTEEN, 65535))),
    "I;16 with one transparent, PNG": (
        saved(Image.fromarray(SIXTEEN), "PNG", transparency=int(SIXTEEN[1, 1])),
        as_colour(np.where(SIXTEEN[1, 1] == SIXTEEN, 0, scaled(SIXTEEN, 65535))),
    ),
    "I;16, TIFF": (tiff(SIXTEEN, "u2", 16), as_colour(scaled(SIXTEEN, 65535))),
    "I;16B, TIFF": (tiff(SIXTEEN, "u2", 16, order=">"), as_colour(scaled(SIXTEEN, 65535))),
    "I;16, compressed TIFF": (
        saved(Image.fromarray(SIXTEEN), "TIFF", compression="tiff_lzw"),
        as_colour(scaled(SIXTEEN, 65535)),
    ),
    "I;16, TIFF, white is zero": (tiff(SIXTEEN, "u2", 16, photometric=0), as_colour(scaled(65535.0 - SIXTEEN, 65535))),
    "12 bits, TIFF": (tiff(TWELVE, "u2", 12, packed=np.packbits(PACKED).tobytes()), as_colour(scaled(TWELVE, 4095))),
    "16 bits, PGM": (b"P5 6 5 65535\n" + SIXTEEN.astype(">u2").tobytes(), as_colour(scaled(SIXTEEN, 65535))),
    "10 bits, PGM": (b"P5 6 5 1023\n" + TEN.astype(">u2").tobytes(), as_colour(scaled(TEN, 1023))),
    "16 bits a colour, TIFF": (tiff(257 * RGB.astype(np.uint16), "u2", 16, photometric=2), RGB),
}


@pytest.mark.parametrize("mode", KNOWN)
def test_every_mode_whose_range_is_known_has_its_values(mode):
    data, expected = KNOWN[mode]
    assert np.abs(read(data) - np.asarray(expected, float)).max() <= 1


@pytest.mark.parametrize("mode", [mode for mode, (_, expected) in KNOWN.items() if np.ptp(expected, axis=2).max() == 0])
def test_grey_modes_have_one_channel_of_the_same_values(mode):
    data, expected = KNOWN[mode]
    assert np.abs(read(data, channels=1)[..., 0] - np.asarray(expected, float)[..., 0]).max() <= 1


def test_premultiplied_colours_are_over_black_already():
    stored = over_black(RGB, ALPHA).round().astype(np.uint8)
    data = tiff(np.concatenate([stored, ALPHA[..., None]], -1), "u1", 8, photometric=2, extra=1)
    assert np.abs(read(data).astype(int) - stored).max() <= 1


def test_lab_is_converted_by_its_definition():
    """CIE L*a*b* under D50, as in ICC profiles, to sRGB (IEC 61966-2-1; Bradford's adaptation)."""
    lab = np.array([[[50, 0, 0], [80, 0, 0], [60, 30, 20], [40, -20, 10], [70, 5, -25]]], np.float64)
    stored = np.stack([lab[..., 0] * 2.55, lab[..., 1] % 256, lab[..., 2] % 256], -1).round().astype(np.uint8)
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * [0.9642, 1, 0.8249]
    to_rgb = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
    )
    linear = np.clip(xyz @ to_rgb.T, 0, 1)
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert ImageCms  # Pillow's own colour management does it
    for channels in (3, 1):
        pixels = read(tiff(stored, "u1", 8, photometric=8), channels)
        grey = expected @ [0.299, 0.587, 0.114]
        assert np.abs(pixels - (expected if channels == 3 else grey[..., None])).max() <= 3


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("float.tif", tiff(GREY / 255, "f4", 32, sample_format=3), "floating-point numbers"),
        ("float.TIFF", tiff(GREY / 255, "f4", 32, sample_format=3, order=">"), "floating-point numbers"),
        ("float.ppm", b"Pf\n6 5\n-1.0\n" + (GREY / 255).astype("<f4").tobytes(), "floating-point numbers"),
        ("long.tif", tiff(GREY, "u4", 32), "signed integers or such of 32 bits"),
        ("long.tif", tiff(GREY, "i4", 32, sample_format=2), "signed integers or such of 32 bits"),
        ("short.tif", tiff(GREY, "i2", 16, sample_format=2), "signed integers or such of 32 bits"),
    ],
)
def test_a_mode_of_unknown_range_is_refused_before_any_image_is_decoded(name, content, kind, tmp_path):
    fill(tmp_path, 5)
    (tmp_path / "dog" / name).write_bytes(content)
    calls = []
    with pytest.raises(InputError, match=rf"the image .*dog.{name} holds {kind}.* save it with 8 or 16 bits, unsigned"):
        load(DataConfig("folder", tmp_path), progress=lambda done, total, text: calls.append(text))
    assert not any("decoding" in what for what in calls)
    with pytest.raises(InputError, match=kind):
        data.load_image(tmp_path / "dog" / name)
    with pytest.raises(InputError, match=f"picture holds {kind}"):
        read(content)


STORED = np.arange(54).reshape(6, 9).astype(np.uint8)
TURNED = {
    1: STORED,
    2: STORED[:, ::-1],
    3: STORED[::-1, ::-1],
    4: STORED[::-1],
    5: STORED.T,
    6: np.rot90(STORED, -1),
    7: STORED[::-1, ::-1].T,
    8: np.rot90(STORED),
}
"""Exif 2.32, tag 0x0112: where row 0 and column 0 of what is stored belong."""


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def as_text(content):
    """EXIF or a TIFF with its orientation, 6, as text of one letter."""
    for order in "<>":
        number = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0)
        if number in content:
            return content.replace(number, struct.pack(f"{order}HHI4s", 0x0112, 2, 2, b"6"))
    raise AssertionError("no orientation")


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", [*range(10), "6"])
def test_every_orientation_in_every_format(orientation, kind, tmp_path):
    path = tmp_path / f"picture.{kind.lower()}"
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(kind, {})
    tags = exif(int(orientation))
    if orientation == "6" and kind != "TIFF":
        tags = as_text(tags.tobytes())
    Image.fromarray(STORED).save(path, kind, exif=tags, **options)
    if orientation == "6" and kind == "TIFF":
        path.write_bytes(as_text(path.read_bytes()))
    expected = TURNED.get(orientation, STORED)
    (height, width), _ = look(path)
    assert (height, width) == expected.shape
    pixels = read(path, channels=1)[..., 0].astype(int)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= (3 if kind == "JPEG" else 0)


def test_a_folder_of_turned_tiffs_has_one_size(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.fromarray(STORED).save(tmp_path / name / f"{i}.tif", exif=exif(5 + i % 4))
    data = load(DataConfig("folder", tmp_path, canvas=12), max_shift=1)
    assert data.margin == 1
    assert data.train.images.shape[1:] == (12, 12, 1)


@pytest.mark.parametrize("name", ["evil.png", "evil.eps", "evil.jpg", "evil.tif", "evil"])
@pytest.mark.parametrize("start", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, 400)])
def test_no_program_is_started_whatever_a_file_says(name, start, tmp_path, monkeypatch):
    def started(*_, **__):
        raise AssertionError("a program was started")

    for module, call in ((subprocess, "Popen"), (subprocess, "check_call"), (os, "system")):
        monkeypatch.setattr(module, call, started)
    script = (
        start.ljust(32, b" ") + b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    )
    (tmp_path / name).write_bytes(script)
    for reader in (data.load_image, look, read):
        with pytest.raises(InputError, match=r"cannot be read \(it is not one of BMP"):
            reader(tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        read(script)


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for reader in (look, read):
        with pytest.raises(InputError, match="not a regular file"):
            reader(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero", tmp_path):
        with pytest.raises(InputError, match="no image file"):
            data.load_image(path)
