"""What stands for an array, and what does not."""
from __future__ import annotations

import mcm
import numpy as np
import pytest

from conftest import SEGMENTATION, SKETCH


class Interface:
    """Memory by numpy's interface alone, as a Pillow image's."""

    def __init__(self, array):
        self._array = array
        self.__array_interface__ = array.__array_interface__


class DLPack:
    """Memory by DLPack alone."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **arguments):
        return self._array.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


class Converted:
    """Memory by __array__ alone."""

    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return self._array if dtype is None else self._array.astype(dtype)


def frozen(array):
    result = array.copy()
    result.flags.writeable = False
    return result


def spread(array):
    """The same numbers, not contiguous."""
    result = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]
    result[:] = array
    return result


def swapped(array):
    return array.astype(array.dtype.newbyteorder())


def unaligned(array):
    room = np.zeros(array.nbytes + 1, np.uint8)[1:]
    result = room.view(array.dtype).reshape(array.shape)
    result[:] = array
    return result


FORMS = [
    Interface, DLPack, Converted, frozen, spread, swapped, unaligned, np.asfortranarray, np.ndarray.tolist, memoryview,
]


@pytest.mark.parametrize("form", FORMS)
def test_forms(model, modulator, x, form):
    e = model.predict(x, 800)
    assert np.array_equal(model.predict(form(x), form(np.array([800, 800], np.float32))), e)
    sketch, classes = mcm.read_png(SKETCH), mcm.read_png(SEGMENTATION)
    followed = modulator.modulate(model, x, e, 800, {"sketch": sketch, "segmentation": classes})
    if form is not np.ndarray.tolist:  # a list is one of images
        conditions = {"sketch": form(sketch), "segmentation": form(classes)}
        assert np.array_equal(modulator.modulate(model, form(x), form(e), 800, conditions), followed)
    images = np.stack([sketch, classes])
    assert np.array_equal(model.encode(form(images)), model.encode(images))
    assert np.array_equal(model.decode(form(x)), model.decode(x))
    with mcm.Session(model, 2, scheduler="ddim", steps=2) as session:
        session.seed(1)
        session.x = form(x)
        assert np.array_equal(session.x, x)
        session.set_image(form(images))
    states = x.reshape(2, 28, 28)
    with mcm.Prompt.from_arrays(form(states), form(states[:, 0])) as prompt:
        assert np.array_equal(prompt.states, states) and np.array_equal(prompt.pooled, states[:, 0])
    rule = mcm.Scheduler(model, "ddim", 4)
    assert np.array_equal(rule.step(0, form(x), form(e)).previous, rule.step(0, x, e).previous)


def test_files_from_any_form(tmp_path):
    image = np.arange(35, dtype=np.uint8).reshape(5, 7)
    for form in FORMS:
        mcm.write_png(tmp_path / "image.png", form(image))
        assert np.array_equal(mcm.read_png(tmp_path / "image.png"), image)
        mcm.write_dataset(tmp_path / "one", form(image[np.newaxis]), sketch=form(image[np.newaxis] // 9))
        mcm.Dataset(tmp_path / "one").close()


def test_torch(model, modulator, x):
    torch = pytest.importorskip("torch")
    e = model.predict(x, 800)
    for tensor in (
        torch.from_numpy(x), torch.from_numpy(x).requires_grad_(), torch.nn.Parameter(torch.from_numpy(x)),
        torch.from_numpy(x).to(memory_format=torch.channels_last), torch.from_numpy(x).double(),
        torch.from_numpy(x).transpose(2, 3).contiguous().transpose(2, 3),
    ):
        assert np.array_equal(model.predict(tensor, torch.tensor([800, 800])), e)
        assert np.array_equal(model.predict(tensor, torch.tensor(800.0, requires_grad=True)), e)
    half = torch.from_numpy(x).bfloat16()
    assert np.array_equal(model.predict(half, 800), model.predict(half.float(), 800))
    assert np.array_equal(model.predict(half.half(), 800), model.predict(half.half().float(), 800))
    sketch = torch.from_numpy(mcm.read_png(SKETCH))
    expected = modulator.modulate(model, x, e, 800, {"sketch": sketch.numpy()})
    floats = (sketch / 255).requires_grad_()
    for one in (sketch, sketch.float() / 255, sketch > 0, floats, [sketch, sketch], sketch.int()):
        assert np.array_equal(modulator.modulate(model, x, e, 800, {"sketch": one}), expected)
    states = torch.randn(1, 5, 8, requires_grad=True)
    assert np.array_equal(mcm.Prompt.from_arrays(states).states, states.detach().numpy())
    with pytest.raises(mcm.InvalidArgument, match="complex64"):
        model.predict(torch.from_numpy(x).to(torch.complex64), 800)
    with pytest.raises(mcm.InvalidArgument, match="expected an array of numbers"):
        model.predict(torch.from_numpy(x).to_sparse(), 800)
    with pytest.raises(mcm.InvalidArgument, match="expected an array of numbers"):
        model.predict(torch.zeros(2, 1, 28, 28, device="meta"), 800)


def test_pillow(model, modulator, x):
    pil = pytest.importorskip("PIL.Image")
    e = model.predict(x, 800)
    both = {"sketch": SKETCH, "segmentation": SEGMENTATION}
    expected = modulator.modulate(model, x, e, 800, both)
    images = {name: pil.open(path) for name, path in both.items()}
    assert np.array_equal(modulator.modulate(model, x, e, 800, images), expected)
    colours = {**images, "sketch": images["sketch"].convert("RGB")}
    assert np.array_equal(modulator.modulate(model, x, e, 800, colours), expected)
    black_and_white = {**images, "sketch": images["sketch"].convert("1")}
    assert np.array_equal(modulator.modulate(model, x, e, 800, black_and_white), expected)
    assert np.array_equal(model.encode([images["sketch"]]), model.encode(SKETCH))
    with pytest.raises(mcm.MCMError, match="channels"):
        modulator.modulate(model, x, e, 800, {"sketch": images["sketch"].convert("RGBA")})


WRONG = [
    (None, "dtype object"), ("numbers", "dtype <U7"), (1j, "complex"), (object(), "dtype object"),
    ([[1.0], [1.0, 2.0]], "expected an array of numbers"), (np.zeros((2, 1, 28, 28), "M8[s]"), "datetime64"),
]


@pytest.mark.parametrize("wrong, found", WRONG)
def test_no_numbers(model, modulator, x, wrong, found):
    with mcm.Session(model) as session:
        for call in (
            lambda: model.predict(wrong, 1), lambda: model.predict(x, wrong), lambda: model.decode(wrong),
            lambda: modulator.modulate(model, x, wrong, 1, {}), lambda: setattr(session, "x", wrong),
            lambda: mcm.Scheduler(model, "ddim").step(0, wrong, x), lambda: mcm.Prompt.from_arrays(wrong),
            lambda: session.set_class_input(wrong),
        ):
            with pytest.raises(mcm.InvalidArgument, match=found) as caught:
                call()
            assert "\n" not in str(caught.value)
    with pytest.raises((mcm.InvalidArgument, mcm.IOFailure)):
        modulator.modulate(model, x, x, 1, {"sketch": [wrong]})
    with pytest.raises(mcm.InvalidArgument):
        mcm.write_png("no.png", wrong)


def test_too_large_for_float32(model, x):
    with pytest.raises(mcm.InvalidArgument, match="finite"):
        model.predict(x.astype(np.float64) * 1e300, 1)


def test_output(model, modulator, x):
    e = model.predict(x, 800)
    out = np.full_like(x, np.nan)
    assert model.predict(x, 800, out=out) is out and np.array_equal(out, e)
    followed = modulator.modulate(model, x, e, 800, {"sketch": SKETCH})
    other = np.empty_like(x)
    assert modulator.modulate(model, x, e, 800, {"sketch": SKETCH}, out=other) is other
    assert np.array_equal(other, followed)
    assert modulator.modulate(model, x, out, 800, {"sketch": SKETCH}, out=out) is out  # in place
    assert np.array_equal(out, followed)


def test_pillow_modes(model, tmp_path):
    """Numbers that mean neither grey nor red, green and blue are not taken for such."""
    pillow = pytest.importorskip("PIL.Image")
    image = pillow.new("RGB", (28, 28), (200, 100, 50))
    for mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        with pytest.raises(mcm.InvalidArgument, match=f"its mode is {mode}, convert it to RGB"):
            mcm.write_png(tmp_path / "x.png", pillow.new(mode, (2, 2)))
        with pytest.raises(mcm.InvalidArgument, match=mode):
            model.encode(pillow.new(mode, (28, 28)))
    with pytest.raises(mcm.InvalidArgument, match="its mode is LA"):
        model.encode(pillow.new("LA", (28, 28)))
    for mode in ("L", "RGB", "RGBA"):
        mcm.write_png(tmp_path / "x.png", image.convert(mode))
    with pytest.raises(mcm.InvalidArgument, match="numbers of kind bool, expected uint8"):
        mcm.write_png(tmp_path / "x.png", image.convert("1"))


def test_wrong_output(model, modulator, x):
    for out, error, found in (
        (np.empty((2, 1, 28, 27), np.float32), mcm.SizeError, "expected \\(2, 1, 28, 28\\)"),
        (np.empty(x.shape), mcm.InvalidArgument, "float64, expected float32"),
        (swapped(x), mcm.InvalidArgument, "expected float32"),
        (frozen(x), mcm.InvalidArgument, "read-only"),
        (spread(x), mcm.InvalidArgument, "not contiguous"),
        (x, mcm.InvalidArgument, "overlaps"),
        (x.tolist(), mcm.InvalidArgument, "list, expected a numpy array"),
    ):
        for call in (
            lambda: model.predict(x, 1, out=out),
            lambda: modulator.modulate(model, x, x.copy(), 1, {}, out=out),
        ):
            with pytest.raises(error, match=found):
                call()
    whole = np.zeros((3, 1, 28, 28), np.float32)
    with pytest.raises(mcm.InvalidArgument, match="overlaps"):
        model.predict(whole[:2], 1, out=whole[1:])
    rule = mcm.Scheduler(model, "lms", 4)
    for history, error in ((frozen(rule.history(x)), "read-only"), (rule.history(x)[:1], "shape")):
        with pytest.raises((mcm.InvalidArgument, mcm.SizeError), match=error):
            rule.step(0, x, x, history=history)
    history = rule.history(x)
    with pytest.raises(mcm.InvalidArgument, match="history overlaps"):
        rule.step(0, x, x, noise=history[0], history=history)
    out = np.zeros_like(x)
    with pytest.raises(mcm.InvalidArgument, match="out overlaps"):
        model.predict(x, out.ravel()[:2], out=out)
    with pytest.raises(mcm.InvalidArgument, match="out overlaps"):
        modulator.modulate(model, x, x.copy(), out.ravel()[:2], {}, out=out)


def test_trainer_memory_is_shared(trainer):
    """The trainer's own memory, in and out without a copy."""
    assert np.may_share_memory(trainer.parameters, trainer.parameters)
    trainer.parameters[0] = 7
    assert trainer.parameters[0] == 7


def test_no_copies(model):
    """What has the right form is read where it lies."""
    from mcm import _convert as convert

    sample = np.zeros((2, 1, 28, 28), np.float32)
    assert convert.samples("sample", sample) is sample
    for one in (DLPack(sample), Interface(sample), memoryview(sample)):
        assert np.may_share_memory(convert.samples("sample", one), sample)
    image = np.zeros((64, 64, 3), np.uint8)
    assert np.may_share_memory(convert.pixels(image[4:-4, 4:-4]), image)
