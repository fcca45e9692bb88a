"""PNG, random numbers, model, modulator, scheduler."""
from __future__ import annotations

import ctypes
from dataclasses import FrozenInstanceError

import mcm
import numpy as np
import pytest

from conftest import CONDITIONS, FASHION, SEGMENTATION, SKETCH
from test_library import run_python


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_png_round_trip(tmp_path, shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    mcm.write_png(tmp_path / "ä.png", image)
    assert np.array_equal(mcm.read_png(str(tmp_path / "ä.png")), image)
    mcm.write_png(tmp_path / "view.png", image[::2, 1:4])
    assert np.array_equal(mcm.read_png(tmp_path / "view.png"), image[::2, 1:4])


def test_png_values():
    assert set(np.unique(mcm.read_png(SKETCH))) == {0, 255}
    assert set(np.unique(mcm.read_png(SEGMENTATION))) == {0, 10}


def test_png_errors(tmp_path):
    with pytest.raises(mcm.IOFailure, match="nowhere"):
        mcm.read_png(tmp_path / "nowhere.png")
    with pytest.raises(mcm.FormatError):
        mcm.read_png(FASHION / "base" / "model_index.json")
    with pytest.raises(mcm.IOFailure):
        mcm.write_png(tmp_path / "no" / "folder.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(mcm.InvalidArgument, match="zero character"):
        mcm.read_png("a\0b")
    with pytest.raises(mcm.InvalidArgument):
        mcm.write_png(tmp_path / "float.png", np.zeros((2, 2)))


def test_generator_is_torch():
    # torch.randn(4, generator=torch.Generator().manual_seed(0))
    expected = np.array([1.5409961, -0.2934289, -2.1787894, 0.56843126], np.float32)
    assert np.array_equal(mcm.Generator(0).normal(4), expected)


def test_generator_streams():
    first = mcm.Generator(5)
    draw = first.normal((2, 3, 16))
    assert draw.dtype == np.float32 and draw.shape == (2, 3, 16)
    assert not np.array_equal(first.normal((2, 3, 16)), draw)
    assert np.array_equal(mcm.Generator(np.int64(5)).normal(96), draw.ravel())
    assert np.array_equal(mcm.Generator(5 + 2**32).normal(96), draw.ravel())
    for seed in (-1, 2**64):
        with pytest.raises(mcm.InvalidArgument):
            mcm.Generator(seed)


def test_model_info(model):
    info = model.info
    assert (info.width, info.height, info.channels, info.prediction_channels) == (28, 28, 1, 1)
    assert info.prediction_type == "epsilon"
    assert info.num_train_timesteps == 1000
    assert info.class_input_size == info.class_count == 0
    assert info.parameter_count > 1_000_000 and info.memory_bytes > 0
    assert len(info.fingerprint) == 16 and int(info.fingerprint, 16)


def test_predict(model, x):
    e = model.predict(x, [900, 100])
    assert e.dtype == np.float32 and e.shape == x.shape
    assert np.array_equal(model.predict(x[1:], 100), e[1:])
    assert np.array_equal(model.predict(x.astype(np.float64), np.array([900, 100])), e)
    assert np.array_equal(model.predict(np.asfortranarray(x), (900.0, 100.0)), e)


def test_predict_errors(model, x):
    with pytest.raises(mcm.SizeError, match="batch, channels"):
        model.predict(x[0], 1)
    with pytest.raises(mcm.SizeError, match="timesteps"):
        model.predict(x, [1, 2, 3])
    with pytest.raises(mcm.SizeError):
        model.predict(np.zeros((1, 3, 28, 28)), 1)
    with pytest.raises(mcm.SizeError, match="class_input"):
        model.predict(x, 1, class_input=[1, 2])
    with pytest.raises(mcm.InvalidArgument):
        model.predict(x, np.nan)


def test_model_from_files(model, files, x):
    with mcm.Model.from_files(files, threads=1) as other:
        assert other.info == model.info
        assert np.array_equal(other.predict(x, 500), model.predict(x, 500))


def test_model_errors(files, tmp_path):
    with pytest.raises(mcm.IOFailure, match="nowhere") as caught:
        mcm.Model.open(tmp_path / "nowhere")
    assert isinstance(caught.value, OSError) and caught.value.status == 100
    weights = "unet/diffusion_pytorch_model.safetensors"
    with pytest.raises(mcm.FormatError, match="safetensors"):
        mcm.Model.from_files({**files, weights: files[weights][:-4]})
    with pytest.raises(mcm.UnsupportedError):
        index = files["model_index.json"].replace(b"DDPMPipeline", b"OtherPipeline").replace(b"UNet2DModel", b"Other")
        mcm.Model.from_files({**files, "model_index.json": index})
    with pytest.raises(mcm.MCMError):
        mcm.Model.from_files({})
    with pytest.raises(mcm.InvalidArgument, match="threads"):
        mcm.Model.from_files(files, threads=-1)
    with pytest.raises(mcm.InvalidArgument, match="threads"):
        mcm.Model.from_files(files, threads=257)


def test_model_memory(model, files, x):
    expected = model.predict(x, 500)
    with mcm.Model.open(FASHION / "base", threads=3) as plain:
        assert plain.memory == mcm.Memory(threads=3, weights=plain.info.memory_bytes, cache=0, arena=0)
        plain.predict(x, 500)
        arena = plain.memory.arena
        assert arena > x.nbytes
        plain.predict(x, 500)
        assert plain.memory.arena == arena
    with mcm.Model.open(FASHION / "base", cache_bytes=2**30) as cached:
        whole = cached.memory.cache
        assert 0 < whole < 2**30 and cached.memory.weights == plain.info.memory_bytes
        assert np.array_equal(cached.predict(x, 500), expected)
    with mcm.Model.from_files(files, threads=2, cache_bytes=whole // 2) as half:
        assert 0 < half.memory.cache <= whole // 2 and half.memory.threads == 2
        assert np.array_equal(half.predict(x, 500), expected)
    with pytest.raises(mcm.StateError):
        half.memory
    with pytest.raises(FrozenInstanceError):
        model.memory.cache = 1


def test_cache_errors(files):
    for wrong in (-1, 2**64, 2**64 - 1, 2**62):
        with pytest.raises(mcm.InvalidArgument, match="cache_bytes"):
            mcm.Model.open(FASHION / "base", cache_bytes=wrong)
        with pytest.raises(mcm.InvalidArgument, match="cache_bytes"):
            mcm.Model.from_files(files, cache_bytes=wrong)
    with pytest.raises(TypeError):
        mcm.Model.from_files(files, cache_bytes=1e6)


def test_encode_decode(model):
    images = np.stack([mcm.read_png(SKETCH), np.arange(784, dtype=np.uint8).reshape(28, 28)])
    samples = model.encode(images)
    assert samples.shape == (2, 1, 28, 28) and samples.min() == -1 and samples.max() == 1
    assert np.array_equal(model.decode(samples), images)
    assert np.array_equal(model.decode(samples[1]), images[1])
    assert np.array_equal(model.encode(SKETCH), samples[:1])
    assert np.array_equal(model.encode([SKETCH, images[1].tolist()]), samples)
    assert np.array_equal(model.encode(images[0] == 255), samples[:1])
    rgb = np.zeros((28, 28, 3), np.uint8)
    for wrong in (images[0, 0], np.full((28, 28), 256), rgb, [], [images[0], images[1, 1:]]):
        with pytest.raises((mcm.SizeError, mcm.InvalidArgument)):
            model.encode(wrong)


def test_modulator_info(model, modulator):
    assert modulator.modalities == (
        mcm.Modality("sketch", 1, "grey", "area"),
        mcm.Modality("segmentation", 11, "one-hot", "nearest"),
    )
    assert modulator.info.prediction_type == "epsilon" and modulator.info.prediction_channels == 1
    assert modulator.info.base_fingerprint == model.info.fingerprint
    assert 0 < modulator.info.parameter_count < 0.1 * model.info.parameter_count
    modulator.check(model)


def test_modulator_from_bytes(modulator):
    data = (FASHION / "module.mcm.safetensors").read_bytes()
    assert mcm.Modulator.from_bytes(data).modalities == modulator.modalities
    assert mcm.Modulator.from_bytes(bytearray(data)).info == modulator.info
    for wrong in (b"", data[:1000], data + b"x"):
        with pytest.raises(mcm.FormatError):
            mcm.Modulator.from_bytes(wrong)


def test_sketches_in_colours(model, modulator, x):
    """Their luminance is taken, as Pillow's convert("L") has it; classes have none."""
    e = model.predict(x, 800)
    follow = lambda **conditions: modulator.modulate(model, x, e, 800, conditions)
    colours = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    luminance = ((colours @ np.array([19595, 38470, 7471]) + 32768) >> 16).astype(np.uint8)
    assert np.array_equal(follow(sketch=colours), follow(sketch=luminance))
    sketch = mcm.read_png(SKETCH)
    for grey in (sketch, sketch.astype(np.float32) / 300):
        assert np.array_equal(follow(sketch=grey[..., None].repeat(3, -1)), follow(sketch=grey))
    with pytest.raises(mcm.IncompatibleError, match="class indices"):
        follow(segmentation=mcm.read_png(SEGMENTATION)[..., None].repeat(3, -1))


def test_modulate(model, modulator, x):
    e = model.predict(x, 800)
    sketch, classes = mcm.read_png(SKETCH), mcm.read_png(SEGMENTATION)
    call = lambda conditions, weight=1.0: modulator.modulate(model, x, e, 800, conditions, weight)
    both = call({"sketch": sketch, "segmentation": classes})
    assert both.shape == e.shape and not np.array_equal(both, e)
    assert np.array_equal(call({"sketch": sketch}, 0.0), e)
    assert not np.array_equal(call({"sketch": sketch}), both)
    for same in (
        {"sketch": SKETCH, "segmentation": str(SEGMENTATION)},
        {"segmentation": classes.astype(np.int64), "sketch": sketch > 0},
        {"sketch": sketch / 255, "segmentation": classes.astype(np.float32)},
        {"sketch": np.pad(sketch, 3)[3:-3, 3:-3], "segmentation": classes[::-1][::-1]},
        {"sketch": np.stack([sketch, sketch]), "segmentation": [SEGMENTATION, classes]},
        {"sketch": sketch[:, :, np.newaxis], "segmentation": classes[np.newaxis]},
    ):
        assert np.array_equal(call(same), both)


def test_modulate_per_image(model, modulator, x):
    e = model.predict(x, 800)
    sketches = [CONDITIONS / "00_sketch.png", SKETCH]
    both = modulator.modulate(model, x, e, 800, {"sketch": sketches})
    for k in range(2):
        alone = modulator.modulate(model, x[k:][:1], e[k:][:1], 800, {"sketch": sketches[k]})
        assert np.array_equal(both[k:][:1], alone)


def test_modulate_errors(model, modulator, x):
    e = model.predict(x, 800)
    sketch = mcm.read_png(SKETCH)
    for conditions in (
        {"depth": sketch},
        {"sketch": [sketch] * 3},
        {"sketch": []},
        {"sketch": np.zeros(28)},
        {"sketch": np.full((28, 28), -1)},
        {"segmentation": np.full((28, 28), 11, np.uint8)},
        {"sketch": np.full((28, 28), np.nan)},
    ):
        with pytest.raises((mcm.InvalidArgument, mcm.SizeError, mcm.IncompatibleError)):
            modulator.modulate(model, x, e, 800, conditions)
    with pytest.raises(mcm.SizeError, match="prediction"):
        modulator.modulate(model, x, e[:1], 800, {})
    with pytest.raises(mcm.InvalidArgument):
        modulator.modulate(model, x, e, 800, {}, weight=np.inf)


def test_incompatible(files, modulator, model):
    config = files["scheduler/scheduler_config.json"].replace(b'"epsilon"', b'"v_prediction"')
    with mcm.Model.from_files({**files, "scheduler/scheduler_config.json": config}) as other:
        assert other.info.prediction_type == "v_prediction"
        with pytest.raises(mcm.IncompatibleError) as caught:
            modulator.check(other)
    assert isinstance(caught.value, ValueError) and caught.value.status == 5 and str(caught.value)


def test_scheduler(model, x):
    scheduler = mcm.Scheduler(model, "ddim", 25)
    assert scheduler.timesteps.tolist() == list(range(960, -1, -40))
    assert not scheduler.needs_noise(0)
    assert mcm.Scheduler(model, "ddim", 25, eta=0.5).needs_noise(0)
    previous, x0 = scheduler.step(0, x, 0.5 * x)
    assert previous.shape == x0.shape == x.shape and np.abs(x0).max() <= 1
    noisy = scheduler.add_noise(999, x0, x)
    assert np.allclose(noisy, x, atol=0.05)
    assert len(mcm.Scheduler(model).timesteps) == len(mcm.Scheduler(model, "ddpm").timesteps) == 1000


def test_scheduler_errors(model, x):
    with pytest.raises(mcm.InvalidArgument, match="euler"):
        mcm.Scheduler(model, "eulerian")
    for arguments in (("ddim", 1001), ("ddim", -1), ("ddim", 25, 2.0), ("ddpm", 25, 0.5)):
        with pytest.raises(mcm.InvalidArgument):
            mcm.Scheduler(model, *arguments)
    scheduler = mcm.Scheduler(model, "ddpm", 10)
    for step in (-1, 10):
        with pytest.raises(mcm.InvalidArgument):
            scheduler.needs_noise(step)
    with pytest.raises(mcm.InvalidArgument, match="noise"):
        scheduler.step(0, x, x)
    with pytest.raises(mcm.SizeError, match="noise"):
        scheduler.step(0, x, x, x[:1])
    with pytest.raises(mcm.SizeError):
        scheduler.step(0, x, x[:1], x)
    with pytest.raises(mcm.InvalidArgument):
        scheduler.add_noise(1000, x, x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mcm.Model.open(FASHION / "base"),
        lambda: mcm.Modulator.open(FASHION / "module.mcm.safetensors"),
        lambda: mcm.Generator(0),
        lambda: mcm.Scheduler(mcm.Model.open(FASHION / "base")),
        lambda: mcm.Session(mcm.Model.open(FASHION / "base")),
    ],
)
def test_close(make):
    with make() as thing:
        pass
    thing.close()
    with pytest.raises(mcm.StateError, match=f"{type(thing).__name__} is closed"):
        thing._handle


def test_use_after_close(model, modulator, x):
    with mcm.Model.open(FASHION / "base") as closed:
        session = mcm.Session(closed, scheduler="ddim", steps=2)
    for call in (
        lambda: closed.predict(x, 1),
        lambda: mcm.Session(closed),
        lambda: modulator.check(closed),
        lambda: modulator.modulate(closed, x, x, 1, {}),
    ):
        with pytest.raises(mcm.StateError, match="Model is closed"):
            call()
    session.seed(0)  # keeps what it needs of the model
    session.run()


def test_numpys_openblas_is_left_alone(model, x):
    with open("/proc/self/maps") as maps:
        path = next((line.split()[-1] for line in maps if "openblas" in line), None)
    if path is None:
        pytest.skip("numpy works without OpenBLAS")
    names = [f"{prefix}openblas_get_num_threads{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", "")]
    blas = ctypes.CDLL(path)
    threads = next(getattr(blas, name) for name in names if hasattr(blas, name))
    before = threads()
    model.predict(x, 500)
    assert threads() == before
    with mcm.Model.open(FASHION / "base", threads=before + 1) as other:
        other.predict(x, 500)
        assert threads() == before
    assert threads() == before


def test_exit_with_open_objects():
    code = f"""
import mcm
model = mcm.Model.open({str(FASHION / "base")!r})
session = mcm.Session(model, scheduler="ddim", steps=2)
session.seed(0)
steps = iter(session)
step = next(steps)
"""
    done = run_python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
