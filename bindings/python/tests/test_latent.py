"""Models that read texts and work on latents: prompts, images, masks, ControlNets."""
from __future__ import annotations

import mcm
import numpy as np
import pytest

from latent_support import CHUNK, IMAGES, MASK, POOLED, TEXT, controlnet_files, model_files, write

RUN = dict(scheduler="ddim", steps=4)


@pytest.fixture(scope="module")
def controlnet(tmp_path_factory):
    with mcm.ControlNet.open(write(tmp_path_factory.mktemp("controlnet"), controlnet_files()), threads=1) as net:
        yield net


def test_model(sd, sdxl):
    info = sd.info
    assert (info.width, info.height, info.channels) == (4, 4, 4) and (info.scale, info.image_channels) == (2, 3)
    assert info.text_channels == TEXT and info.pooled_channels == 0 and info.encodes_text and info.time_id_count == 0
    assert sdxl.info.text_channels == 2 * TEXT and sdxl.info.pooled_channels == POOLED and sdxl.info.time_id_count == 6
    samples = sd.encode(IMAGES[:2])
    assert samples.shape == (2, 4, 4, 4)
    images = sd.decode(samples)
    assert images.shape == (2, 8, 8, 3) and images.dtype == np.uint8
    assert np.array_equal(sd.decode(samples[1]), images[1])


def test_model_options(sd, tmp_path):
    folder = write(tmp_path, model_files())
    with mcm.Model.open(folder, on_demand=True, prediction_type="v_prediction") as model:
        assert model.memory.weights < sd.memory.weights and model.info.prediction_type == "v_prediction"
    with mcm.Model.open(folder, on_demand=True) as model:
        few = model.memory.weights
        assert np.array_equal(mcm.generate(model, prompt="a cat", **RUN), mcm.generate(sd, prompt="a cat", **RUN))
        assert model.memory.weights == few
    with mcm.Model.open(folder, int8_weights=True) as model:
        assert 0 <= model.info.rounding_error < 0.02
    for options, error in (
        (dict(prediction_type="v"), mcm.InvalidArgument),
        (dict(variant="a\0b"), mcm.InvalidArgument),
        (dict(variant="fp16"), mcm.IOFailure),
        (dict(surprise=1), TypeError),
    ):
        with pytest.raises(error):
            mcm.Model.open(folder, **options)
    with pytest.raises(mcm.InvalidArgument):
        mcm.Model.from_files(model_files(), on_demand=True)


def test_prompts(sd, sdxl):
    both = mcm.Prompt.encode(sdxl, ["a cat", "a dog"])
    assert (both.count, both.tokens, both.channels, both.pooled_channels) == (2, CHUNK, 2 * TEXT, POOLED)
    assert both.states.shape == (2, CHUNK, 2 * TEXT) and both.pooled.shape == (2, POOLED) and not both.truncated
    one = mcm.Prompt.encode(sdxl, "a dog")
    assert np.array_equal(one.states, both.states[1:]) and np.array_equal(one.pooled, both.pooled[1:])
    again = mcm.Prompt.from_arrays(both.states, both.pooled)
    assert np.array_equal(again.states, both.states) and np.array_equal(again.pooled, both.pooled)
    text = "a very long text indeed"
    assert mcm.Prompt.encode(sd, text).truncated
    chunked = mcm.Prompt.encode(sd, text, chunks=True)
    assert chunked.tokens % CHUNK == 0 and chunked.tokens > CHUNK and not chunked.truncated
    for text in ("(a:" + 60 * "9" + ")", "(" * 931 + "a" + ")" * 931 + " b"):
        with pytest.raises(mcm.InvalidArgument, match="a weight of the prompt is too large"):
            mcm.Prompt.encode(sd, text, weights=True)
    plain, weighted = mcm.Prompt.encode(sd, "a cat"), mcm.Prompt.encode(sd, "a (cat:1.4)", weights=True)
    assert not np.array_equal(plain.states, weighted.states)
    assert not np.array_equal(plain.states, mcm.Prompt.encode(sd, "a cat", clip_skip=1).states)


def test_prompt_errors(sd, model):
    for call, error in (
        (lambda: mcm.Prompt.encode(sd, []), mcm.SizeError),
        (lambda: mcm.Prompt.encode(sd, "a\0b"), mcm.InvalidArgument),
        (lambda: mcm.Prompt.encode(sd, "a\ud800"), mcm.InvalidArgument),
        (lambda: mcm.Prompt.encode(sd, "a", clip_skip=3), mcm.InvalidArgument),
        (lambda: mcm.Prompt.encode(sd, "a", clip_skip=-1), mcm.InvalidArgument),
        (lambda: mcm.Prompt.encode(model, "a"), mcm.UnsupportedError),
        (lambda: mcm.Prompt.from_arrays(np.zeros((2, 3))), mcm.SizeError),
        (lambda: mcm.Prompt.from_arrays(np.zeros((2, 3, 4)), np.zeros((1, 4))), mcm.SizeError),
        (lambda: mcm.Prompt.from_arrays(np.full((1, 1, 1), np.nan)), mcm.InvalidArgument),
    ):
        with pytest.raises(error):
            call()


def own_loop(model, prompt, seed):
    """Without guidance."""
    scheduler = mcm.Scheduler(model, "ddim", 4)
    x = mcm.Generator(seed).normal((1, 4, 4, 4))
    for step in range(len(scheduler.timesteps)):
        e = model.predict(x, scheduler.timesteps[step], prompt=prompt)
        x = scheduler.step(step, x, e).previous
    return x


def test_three_levels(sd, sdxl):
    for model in (sd, sdxl):
        prompt = mcm.Prompt.encode(model, "a cat")
        x = own_loop(model, prompt, 3)
        with mcm.Session(model, guidance_scale=1, **RUN) as session:
            session.set_prompt("a cat")
            session.seed(3)
            session.run()
            assert np.array_equal(session.x, x)
            result = session.result()
        assert result.shape == (1, 8, 8, 3) and np.array_equal(result, model.decode(x))
        for given in ("a cat", prompt, ["a cat"]):
            assert np.array_equal(mcm.generate(model, prompt=given, guidance_scale=1, seeds=3, **RUN), result)
    assert not np.array_equal(mcm.generate(sd, **RUN), mcm.generate(sd, prompt="a cat", **RUN))


def test_guidance(sd):
    plain = mcm.generate(sd, prompt="a cat", seeds=[1, 2], **RUN)
    for same in (dict(guidance_scale=7.5), dict(guidance_passes=1), dict(guidance_passes=2), dict(negative="")):
        assert np.array_equal(mcm.generate(sd, prompt="a cat", seeds=[1, 2], **same, **RUN), plain)
    for other in (dict(guidance_scale=2.0), dict(guidance_rescale=0.7), dict(negative="a dog")):
        assert not np.array_equal(mcm.generate(sd, prompt="a cat", seeds=[1, 2], **other, **RUN), plain)
    unguided = mcm.generate(sd, prompt="a cat", guidance_scale=1, **RUN)
    assert np.array_equal(mcm.generate(sd, prompt="a cat", guidance_scale=0, **RUN), unguided)
    for bad in (
        dict(guidance_scale=-1), dict(guidance_scale=float("nan")), dict(guidance_rescale=2), dict(modulate="both"),
        dict(guidance_passes=3), dict(strength=1.5), dict(strength=float("nan")), dict(tile_above=-1),
    ):
        with pytest.raises(mcm.InvalidArgument):
            mcm.Session(sd, **bad, **RUN)


def test_prompts_of_sessions(sd, sdxl):
    with mcm.Session(sd, 2, **RUN) as session:
        session.seed([1, 2])
        with pytest.raises(mcm.StateError):
            session.step()
        session.set_prompt(["a cat", "a dog"], "a bird")
        session.step()
        before = session.x
        with pytest.raises(mcm.SizeError):
            session.set_prompt(["a"] * 3)
        with pytest.raises(mcm.IncompatibleError):
            session.set_prompt(mcm.Prompt.encode(sdxl, "a cat"))
        assert np.array_equal(session.x, before) and session.steps_done == 1
        assert session.preview().shape == (2, 4, 4, 3) and session.decode_x0().shape == (2, 8, 8, 3)
        session.run()


def test_time_ids(sdxl):
    ids = np.array([[8, 8, 0, 0, 8, 8]], np.float32)
    images = []
    for change in (None, 0, 5):
        with mcm.Session(sdxl, **RUN) as session:
            session.set_prompt("a cat")
            if change is not None:
                session.set_time_ids(ids + [[0, 0, change, 0, 0, 0]])
            session.seed(1)
            session.run()
            images.append(session.x)
            with pytest.raises(mcm.SizeError):
                session.set_time_ids(ids[:, :5])
    assert np.array_equal(images[0], images[1]) and not np.array_equal(images[0], images[2])


def test_images_and_masks(sd):
    run = lambda **given: mcm.generate(sd, prompt="a cat", seeds=5, **given, **RUN)
    noise = run()
    for given in (
        dict(image=IMAGES[0]), dict(image=IMAGES[0], strength=0.5), dict(image=IMAGES[0], mask=MASK),
        dict(image=[IMAGES[0]], mask=MASK, strength=0.75),
    ):
        assert not np.array_equal(run(**given), noise)
        assert np.array_equal(run(**given), run(**given))
    for given, error in (
        (dict(strength=0.5), mcm.StateError), (dict(mask=MASK), mcm.StateError),
        (dict(image=IMAGES[0, :4]), mcm.SizeError), (dict(image=IMAGES[:2]), mcm.SizeError),
        (dict(image=IMAGES[0], mask=MASK[:4]), mcm.SizeError), (dict(image=IMAGES[0] * 2.0), mcm.InvalidArgument),
    ):
        with pytest.raises(error):
            run(**given)
    with mcm.Session(sd, **RUN) as session:
        session.set_prompt("a cat")
        session.set_image(IMAGES[0])
        session.set_mask(MASK)
        session.set_mask(None)
        session.set_image(None)
        session.seed(5)
        session.run()
        assert np.array_equal(session.result(), noise)


def test_controlnets(sd, model, controlnet):
    def run(*given, **options):
        with mcm.Session(sd, **RUN) as session:
            session.set_prompt("a cat")
            session.seed(1)
            if given:
                attachment = session.attach_controlnet(controlnet, *given, **options)
                session.step()
                attachment.weight = attachment.weight
            session.run()
            return session.x

    plain, controlled = run(), run(IMAGES[0])
    assert not np.array_equal(plain, controlled) and not np.array_equal(run(IMAGES[0], guess=True), controlled)
    for without in (dict(weight=0.0), dict(begin=1.0)):
        assert np.array_equal(run(IMAGES[0], **without), plain)
    for bad, error in (
        (IMAGES[0, :4], mcm.SizeError), (IMAGES[:2], mcm.SizeError), (IMAGES[0] * 1e3, mcm.InvalidArgument),
    ):
        with pytest.raises(error):
            run(bad)
    with mcm.Session(model, **RUN) as session, pytest.raises(mcm.IncompatibleError):
        session.attach_controlnet(controlnet, IMAGES[0])
    with mcm.Session(sd, **RUN) as session:
        attachment = session.attach_controlnet(controlnet, IMAGES[0])
        with pytest.raises(mcm.InvalidArgument, match="ControlNet"):
            attachment.set_condition("sketch", IMAGES[0])
        attachment.window = (0, 0.5)
        attachment.detach()


def test_grey_images_are_as_good_as_equal_colours(sd, controlnet):
    grey = IMAGES[0][..., 0]
    same = np.repeat(grey[..., None], 3, -1)
    np.testing.assert_array_equal(sd.encode([grey]), sd.encode([same]))
    results = []
    for image in (grey, same):
        with mcm.Session(sd, strength=0.7, **RUN) as session:
            session.set_prompt("a cat")
            session.set_image(image)
            session.attach_controlnet(controlnet, image)
            session.seed(1)
            session.run()
            results.append(session.result())
    np.testing.assert_array_equal(*results)
    message = "4 channels, expected 8 x 8 with 1 or 3"
    with mcm.Session(sd, **RUN) as session, pytest.raises(mcm.SizeError, match=message):
        session.set_image(np.zeros((8, 8, 4), np.uint8))


def test_controlnet_errors(sd, tmp_path):
    with pytest.raises(mcm.IOFailure, match="config.json: .*, expected a ControlNet's folder"):
        mcm.ControlNet.open(tmp_path)
    wide = mcm.ControlNet.open(write(tmp_path / "wide", controlnet_files(width=16)))  # for a network of another width
    with mcm.Session(sd, **RUN) as session, pytest.raises(mcm.IncompatibleError, match=r"\[16, 16\].*\[8, 8\]"):
        session.attach_controlnet(wide, IMAGES[0])
    files = controlnet_files()
    files["config.json"] = files["config.json"].replace(b'"norm_num_groups": 2', b'"norm_num_groups": 3')
    with pytest.raises(mcm.FormatError):
        mcm.ControlNet.open(write(tmp_path, files))
