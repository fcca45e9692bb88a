"""Modules in diffusers' pipelines and loops. The bounds are of float32's rounding through 10 steps."""
from __future__ import annotations

import mcm
import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from mcm.diffusers import Modulator, attach, planes_of  # noqa: E402

from conftest import CONDITIONS, FASHION, SEGMENTATION, SKETCH  # noqa: E402
from test_examples import run_example  # noqa: E402

MODULE = FASHION / "module.mcm.safetensors"
BOTH = {"sketch": SKETCH, "segmentation": SEGMENTATION}


@pytest.fixture(scope="module")
def network():
    return Modulator.open(MODULE)


@pytest.fixture(scope="module")
def pipeline():
    pipeline = diffusers.DDPMPipeline.from_pretrained(FASHION / "base")
    scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline = diffusers.DDIMPipeline(pipeline.unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline, seeds, steps=10):
    """(batch, 28, 28) of [0, 1]."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipeline(len(seeds), generators, num_inference_steps=steps, output_type="np").images[..., 0]


def close(one, other, bound=1e-5):
    return np.abs(np.asarray(one) - np.asarray(other)).max() <= bound


def follows(network, modulator, model, x, conditions, weight=1.0):
    """Whether the network does what the library does."""
    with torch.no_grad():
        ours = network(torch.from_numpy(x), torch.from_numpy(x / 2), torch.tensor([800, 20]), conditions, weight)
    return close(ours, modulator.modulate(model, x, x / 2, [800, 20], conditions, weight))


def test_network(network, modulator, model, x):
    assert network.modalities == modulator.modalities and not network.training
    sketch, classes = mcm.read_png(SKETCH), mcm.read_png(SEGMENTATION)
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (28, 28, 3), np.uint8)
    for conditions in (
        {}, BOTH, {"sketch": SKETCH}, {"segmentation": classes}, {"sketch": sketch / 300}, {"sketch": colours},
        {"sketch": colours / 255},
        {"sketch": [SKETCH, CONDITIONS / "00_sketch.png"]}, {"sketch": torch.rand(2, 28, 28)},
        {"sketch": random.random((31, 57)), "segmentation": random.integers(0, 11, (90, 17))},
        {"sketch": random.random((9, 60, 3)), "segmentation": random.integers(0, 11, (5, 100))},
    ):
        assert follows(network, modulator, model, x, conditions)
    assert follows(network, modulator, model, x, BOTH, 0.5) and follows(network, modulator, model, x, BOTH, 0)


@pytest.mark.parametrize("resize", ["nearest", "area", "bilinear"])
def test_resizing(model, x, tmp_path, resize):
    """As the library does, smaller and larger; of a module with other options than the defaults."""
    net = dict(block_out_channels=[8], norm_num_groups=4, layers_per_block=1, down_block_types=["DownBlock2D"],
               up_block_types=["UpBlock2D"], _note="ignored")
    modalities = [dict(name="a", channels=3, resize=resize), dict(name="b", channels=1, encoding="one-hot")]
    torch.manual_seed(0)
    network = Modulator(dict(net=net, prediction_channels=1, modalities=modalities, presence_flags=False,
                             scale_offset=0.5)).eval()
    with torch.no_grad():
        unchanged = network(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8), 5, {})
        assert torch.equal(unchanged, torch.full((1, 1, 8, 8), 0.5))
        torch.nn.init.normal_(network.net.conv_out.weight, std=0.05)
    network.save(tmp_path / "module", "f32")
    with mcm.Modulator.open(tmp_path / "module") as modulator:
        assert network.modalities == modulator.modalities
        for size in ((14, 14, 3), (77, 20, 3), (9, 29), (28, 28)):
            image = np.random.default_rng(0).random(size)
            assert follows(network, modulator, model, x, {"a": image, "b": np.zeros(size[:2], int)})


def test_save(network, tmp_path):
    for dtype in ("f32", "f16"):
        network.save(tmp_path / dtype, dtype)
        again = Modulator.open(tmp_path / dtype)
        assert again.config == network.config
        assert all(map(torch.equal, again.net.parameters(), network.net.parameters()))  # it came as f16
        assert mcm.Modulator.open(tmp_path / dtype).modalities == network.modalities
    with pytest.raises(mcm.IOFailure):
        network.save(tmp_path / "no" / "folder")
    with pytest.raises(mcm.InvalidArgument, match="f64"):
        network.save(tmp_path / "new", "f64")
    with torch.no_grad():
        next(again.net.parameters())[0] = 1e6
    with pytest.raises(mcm.StateError, match="is not finite as f16"):
        again.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("batch, size, timestep, weight, found", [
    (1, 30, 5, 1, "1 samples of 30 x 30, expected .* multiples of 4"), (0, 28, 5, 1, "0 samples"),
    (2, 28, [5, 5, 5], 1, r"timestep has shape \(3,\), expected \(\) or \(2,\)"),
    (1, 28, 5, float("nan"), "weight is nan"),
    (1, 28, float("nan"), 1, "timestep nan"),
])
def test_wrong_calls(network, batch, size, timestep, weight, found):
    x = torch.zeros(batch, 1, size, size)
    with pytest.raises((mcm.SizeError, mcm.InvalidArgument), match=found):
        network(x, x, torch.tensor(timestep), {}, weight)


def test_wrong_attachments(pipeline, network, x):
    with pytest.raises(TypeError, match="modulator is str, expected a Modulator of mcm.diffusers or of mcm"):
        attach(pipeline.unet, str(MODULE), BOTH)
    with pytest.raises(mcm.IncompatibleError, match="no modality 'depth'"):
        attach(pipeline.unet, network, {"depth": SKETCH})
    x = torch.from_numpy(x)
    with attach(pipeline.unet, network, BOTH, guided=True), torch.no_grad():
        for unguided in (x, x[:1], torch.cat([x, x[:1]])):
            with pytest.raises(mcm.StateError, match="is guidance_scale above 1"):
                pipeline.unet(unguided, 5)
        twice = torch.cat([x, x])
        one = pipeline.unet(twice, torch.tensor([5])).sample  # one timestep for all
        assert torch.equal(one, pipeline.unet(twice, torch.full([4], 5)).sample)


def test_several(pipeline, network, modulator, model):
    """What several correct is added, as in a session, in any order; each can be removed by itself."""
    halves = [mcm.Conditioning(modulator, {name: BOTH[name]}, 0.5) for name in BOTH]
    expected = mcm.generate(model, *halves, seeds=[3], scheduler="ddim", steps=10)
    plain = draw(pipeline, [3])
    first = attach(pipeline.unet, network, {"sketch": SKETCH}, 0.5)
    second = attach(pipeline.unet, modulator, {"segmentation": SEGMENTATION}, 0.5, model=model)
    assert close(255 * draw(pipeline, [3]), expected, 0.51)
    first.remove()
    first.remove()
    with attach(pipeline.unet, network, {"sketch": SKETCH}, 0.5):
        assert close(255 * draw(pipeline, [3]), expected, 0.51)
    alone = draw(pipeline, [3])
    second.remove()
    assert not close(alone, plain, 0.1) and np.array_equal(draw(pipeline, [3]), plain)


def test_gradients(network):
    x = torch.randn(1, 1, 28, 28, requires_grad=True)
    network(x, x, 5, {"sketch": SKETCH}).sum().backward()
    assert x.grad.abs().sum() > 0 and next(network.net.parameters()).grad is not None


def test_pipeline(pipeline, network, modulator, model):
    """The pipeline's images are the session's, whoever modulates."""
    expected = mcm.generate(model, mcm.Conditioning(modulator, BOTH), seeds=[3, 4], scheduler="ddim", steps=10)
    plain = draw(pipeline, [3, 4])
    with attach(pipeline.unet, network, BOTH):
        by_torch = draw(pipeline, [3, 4])
    with attach(pipeline.unet, modulator, BOTH, model=model):
        by_library = draw(pipeline, [3, 4])
    for images in (by_torch, by_library):
        assert close(255 * images, expected, 0.51)  # half a level is what rounding to levels takes
    assert close(by_torch, by_library, 1e-4) and not close(by_torch, plain, 0.1)
    assert np.array_equal(draw(pipeline, [3, 4]), plain)  # nothing is left


def test_loop(pipeline, network, modulator, model):
    """A loop of one's own, with a tuple as the UNet's result, and half the weight."""
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(10)
    session = mcm.Session(model, scheduler="ddim", steps=10)
    session.attach(modulator, 0.5, conditions=BOTH)
    session.seed(1)
    for one, arguments in ((network, {}), (modulator, dict(model=model))):
        handle = attach(pipeline.unet, one, BOTH, 0.5, **arguments)
        x = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            for t in scheduler.timesteps:
                (e,) = pipeline.unet(timestep=t, sample=x, return_dict=False)
                x = scheduler.step(e, t, x).prev_sample
        handle.remove()
        session.seed(1)
        session.run()
        assert close(x, session.x, 1e-4)


def test_guided(pipeline, network):
    """Of a batch without and with the prompt only the second half is modulated."""
    x, t = torch.randn(2, 1, 28, 28).repeat(2, 1, 1, 1), torch.tensor([500, 600, 500, 600])
    with torch.no_grad():
        plain = pipeline.unet(x, t).sample
        with attach(pipeline.unet, network, BOTH, guided=True):
            guided = pipeline.unet(x, t).sample
        expected = network(x[2:], plain[2:], t[2:], BOTH)
    assert torch.equal(guided[:2], plain[:2]) and close(guided[2:], expected)


def test_errors(network, modulator, files, model, pipeline, tmp_path):
    x = torch.zeros(2, 1, 28, 28)
    for conditions, error, found in (
        ({"depth": SKETCH}, mcm.IncompatibleError, "depth"),
        ({"sketch": [SKETCH] * 3}, mcm.SizeError, "3 images, expected 1 or 2"),
        ({"sketch": []}, mcm.InvalidArgument, "no images"),
        ({"sketch": np.full((28, 28), 2.0)}, mcm.InvalidArgument, "outside"),
        ({"sketch": np.full((28, 28), np.nan)}, mcm.InvalidArgument, "outside"),
        ({"segmentation": np.full((28, 28), 11)}, mcm.InvalidArgument, "class indices 0 .. 10"),
        ({"segmentation": np.full((28, 28), 0.5)}, mcm.InvalidArgument, "class indices"),
        ({"segmentation": np.zeros((28, 28, 3))}, mcm.IncompatibleError, "3 channels"),
        ({"sketch": np.zeros((28, 28, 4))}, mcm.SizeError, "4 channels"),
        ({"sketch": tmp_path / "nowhere.png"}, mcm.IOFailure, "nowhere"),
    ):
        with pytest.raises(error, match=found):
            network(x, x, 5, conditions)
    for sample, prediction in ((x[0], x[0]), (x, x[:1]), (torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8))):
        with pytest.raises(mcm.SizeError):
            network(sample, prediction, 5, {})
    with pytest.raises(mcm.IOFailure):
        Modulator.open(tmp_path / "nowhere")
    with pytest.raises(mcm.MCMError):
        Modulator.open(FASHION / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(mcm.InvalidArgument, match="without a model"):
        attach(pipeline.unet, modulator, BOTH)
    config = files["scheduler/scheduler_config.json"].replace(b'"epsilon"', b'"v_prediction"')
    with mcm.Model.from_files({**files, "scheduler/scheduler_config.json": config}) as other:
        with pytest.raises(mcm.IncompatibleError):
            attach(pipeline.unet, modulator, BOTH, model=other)
    assert planes_of(network.modalities[1], SEGMENTATION, 7, 9).shape == (1, 11, 7, 9)


def test_example(tmp_path):
    printed = run_example("with_diffusers.py", "--steps", "10", "--out", str(tmp_path / "sheet.png"))
    assert printed.count("differs by at most 0") + printed.count("differs by at most 1") == 2
    assert mcm.read_png(tmp_path / "sheet.png").ndim == 2
