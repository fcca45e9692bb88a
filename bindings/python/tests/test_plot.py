"""Contact sheets."""
from __future__ import annotations

import mcm
import numpy as np
import pytest

from conftest import CONDITIONS, SKETCH


def test_contact_sheet(tmp_path):
    images = np.arange(5 * 4 * 6, dtype=np.uint8).reshape(5, 4, 6)
    sheet = mcm.plot.contact_sheet(images, tmp_path / "sheet.png", columns=3, gap=1, background=9)
    assert sheet.dtype == np.uint8 and sheet.shape == (1 + 2 * 5, 1 + 3 * 7)
    assert np.array_equal(mcm.read_png(tmp_path / "sheet.png"), sheet)
    for index, image in enumerate(images):
        top, left = 1 + index // 3 * 5, 1 + index % 3 * 7
        assert np.array_equal(sheet[top : top + 4, left : left + 6], image)
        sheet[top : top + 4, left : left + 6] = 9
    assert (sheet == 9).all()
    assert mcm.plot.contact_sheet(images).shape == (2 + 2 * 6, 2 + 3 * 8)  # 3 columns for 5 images
    assert mcm.plot.contact_sheet(images[:1], columns=7, gap=0, zoom=3).shape == (12, 18)
    assert np.array_equal(mcm.plot.contact_sheet(images[0], gap=0, zoom=2)[::2, ::2], images[0])


def test_mixed_images():
    """Of other sizes, in colours, as floats and from files."""
    small, colours = np.full((2, 2), 0.5), np.zeros((4, 4, 3), np.uint8)
    sheet = mcm.plot.contact_sheet([small, colours, np.array([[2.0, np.nan, -1.0]]), small > 0], columns=2, gap=0)
    assert sheet.shape == (8, 8, 3)
    assert (sheet[1:3, 1:3] == 128).all() and (sheet[:4, 4:] == 0).all() and (sheet[0, :4] == 255).all()
    assert (sheet[5, :3] == [[255], [0], [0]]).all()
    paths = [CONDITIONS / f"{index:02}_sketch.png" for index in range(3)]
    assert np.array_equal(mcm.plot.contact_sheet(paths), mcm.plot.contact_sheet([mcm.read_png(path) for path in paths]))


def test_errors(tmp_path):
    image = mcm.read_png(SKETCH)
    for images, options, error in (
        ([], {}, mcm.InvalidArgument), (image, dict(columns=0), mcm.InvalidArgument),
        (image, dict(gap=-1), mcm.InvalidArgument), (image, dict(background=256), mcm.InvalidArgument),
        (image, dict(zoom=0), mcm.InvalidArgument), (np.zeros(3), {}, mcm.SizeError),
        ([np.zeros((3, 3, 4))], {}, mcm.SizeError), (tmp_path / "nowhere.png", {}, mcm.IOFailure),
        (image, dict(path=tmp_path / "no" / "sheet.png"), mcm.IOFailure), (image, dict(path=tmp_path), mcm.IOFailure),
    ):
        with pytest.raises(error):
            mcm.plot.contact_sheet(images, **options)
