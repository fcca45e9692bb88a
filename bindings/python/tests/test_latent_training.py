"""Training for models that read texts and work on latents."""
from __future__ import annotations

import os
import signal

import mcm
import numpy as np
import pytest

from latent_support import CHUNK, IMAGES, POOLED, TEXT, model_files
from training_support import Stop, safetensors_parts

COUNT = len(IMAGES)
SKETCHES = IMAGES[..., 0] > 127
INDEX = np.array([0, 1, 2, 1, 0, 2])
CONFIG = {
    "net": {
        "sample_size": 4, "block_out_channels": [8], "norm_num_groups": 4, "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
    },
    "prediction_channels": 4,
    "modalities": [{"name": "sketch", "channels": 1}],
}


def make(base, **options):
    return mcm.Trainer(base, CONFIG, **{"warmup_steps": 0, "learning_rate": 1e-2, **options})


@pytest.fixture(scope="module")
def prompt(sd):
    return mcm.Prompt.encode(sd, ["a cat", "a dog", "a bird"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("latent training")


@pytest.fixture(scope="module")
def images(prompt, folder):
    mcm.write_dataset(folder / "images", IMAGES, prompts=prompt, prompt_index=INDEX, sketch=SKETCHES)
    with mcm.Dataset(folder / "images") as dataset:
        yield dataset


@pytest.fixture(scope="module")
def samples(sd, images, folder):
    with images.encode(sd, folder / "samples", progress=False) as dataset:
        yield dataset


def test_prompts_in_a_file(prompt, sdxl, tmp_path):
    path = tmp_path / "d"
    mcm.write_dataset(path, IMAGES, prompts=prompt, prompt_index=INDEX.astype(np.uint8), sketch=SKETCHES)
    tensors, data = safetensors_parts(path)
    stored = {name: data[slice(*tensors[name]["data_offsets"])] for name in tensors}
    assert tensors["prompt_embeds"]["shape"] == [3, CHUNK, TEXT] and tensors["prompt_embeds"]["dtype"] == "F32"
    assert stored["prompt_embeds"] == prompt.states.tobytes() and "pooled_prompt_embeds" not in tensors
    assert stored["prompt_index"] == INDEX.astype("<i4").tobytes() and tensors["prompt_index"]["dtype"] == "I32"
    assert mcm.Dataset(path).modalities == ("sketch",)
    both = mcm.Prompt.encode(sdxl, ["a cat"] * COUNT)
    mcm.write_dataset(path, IMAGES, prompts=both)
    tensors, data = safetensors_parts(path)
    assert tensors["pooled_prompt_embeds"]["shape"] == [COUNT, POOLED] and "prompt_index" not in tensors
    states, pooled = both.states.astype(np.float16), both.pooled.astype(np.float64)
    mcm.write_dataset(path, IMAGES, prompts=(states[:1], pooled[:1]), odd=SKETCHES[:, :5, :3])
    tensors, data = safetensors_parts(path)
    stored = {name: data[slice(*tensors[name]["data_offsets"])] for name in tensors}
    assert tensors["prompt_embeds"]["dtype"] == "F16" and stored["prompt_embeds"] == states[:1].tobytes()
    assert stored["pooled_prompt_embeds"] == pooled[:1].astype("<f4").tobytes()
    assert all(tensors[name]["data_offsets"][0] % {"F32": 4, "F16": 2, "U8": 1}[t["dtype"]] == 0
               for name, t in tensors.items())
    mcm.Dataset(path).close()


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(prompts=np.zeros((2, 3))), mcm.SizeError, "prompt_embeds"),
        (dict(prompts=np.zeros((2, 3, 4))), mcm.SizeError, "2 prompts for 6 examples"),
        (dict(prompts=np.zeros((0, 3, 4))), mcm.SizeError, "prompt_embeds"),
        (dict(prompts=(np.zeros((1, 3, 4)), np.zeros((2, 4)))), mcm.SizeError, "pooled"),
        (dict(prompts=np.full((1, 3, 4), np.nan)), mcm.InvalidArgument, "not finite"),
        (dict(prompts=np.full((1, 3, 4), "x")), mcm.InvalidArgument, "dtype"),
        (dict(prompts=np.zeros((2, 3, 4)), prompt_index=[0, 1, 2, 0, 0, 0]), mcm.InvalidArgument, "0 .. 1"),
        (dict(prompts=np.zeros((2, 3, 4)), prompt_index=[0, -1, 0, 0, 0, 0]), mcm.InvalidArgument, "-1"),
        (dict(prompts=np.zeros((2, 3, 4)), prompt_index=[0, 1]), mcm.SizeError, "prompt_index"),
        (dict(prompts=np.zeros((2, 3, 4)), prompt_index=np.zeros(6)), mcm.SizeError, "float64"),
        (dict(prompt_index=[0] * 6), mcm.InvalidArgument, "without prompts"),
        (dict(prompt_embeds=SKETCHES), mcm.InvalidArgument, "prompt_embeds"),
    ],
)
def test_write_dataset_errors(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        mcm.write_dataset(tmp_path / "d", IMAGES, **arguments)
    assert os.listdir(tmp_path) == []


def test_encode(sd, images, samples, folder):
    assert samples.shape == (COUNT, 4, 4, 4) and samples.modalities == ("sketch",)
    tensors, data = safetensors_parts(folder / "samples")
    stored = np.frombuffer(data[slice(*tensors["samples"]["data_offsets"])], np.float32).reshape(samples.shape)
    assert np.array_equal(stored, sd.encode(IMAGES))
    original = safetensors_parts(folder / "images")
    for name in ("prompt_embeds", "prompt_index", "sketch"):
        offsets = [t[name]["data_offsets"] for t in (tensors, original[0])]
        assert data[slice(*offsets[0])] == original[1][slice(*offsets[1])]
    done = []
    images.encode(sd, folder / "again", progress=lambda *a: done.append(a)).close()
    assert done == [(i + 1, COUNT) for i in range(COUNT)]
    assert (folder / "again").read_bytes() == (folder / "samples").read_bytes()


def test_encode_errors(sd, model, images, samples, tmp_path):
    for call, error in (
        (lambda: samples.encode(sd, tmp_path / "s"), mcm.IncompatibleError),
        (lambda: images.encode(model, tmp_path / "s"), mcm.IncompatibleError),
        (lambda: images.encode(sd, tmp_path / "no" / "folder"), mcm.IOFailure),
        (lambda: images.encode(sd, tmp_path / "s", progress="yes"), mcm.InvalidArgument),
    ):
        with pytest.raises(error):
            call()
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("error", [Stop, mcm.Cancelled, KeyboardInterrupt])
def test_encoding_stops(sd, images, tmp_path, error):
    def progress(done, count):
        if done == 3:
            if error is KeyboardInterrupt:
                signal.raise_signal(signal.SIGINT)
            else:
                raise error("enough")

    with pytest.raises(error):
        images.encode(sd, tmp_path / "s", progress=progress)
    assert os.listdir(tmp_path) == []


def test_training(sd, images, samples, prompt, folder):
    of_each = mcm.Prompt.from_arrays(prompt.states[INDEX])
    batch = dict(images=IMAGES, conditions={"sketch": SKETCHES}, prompt=of_each)
    with make(sd) as by_batch, make(sd) as by_images, make(sd) as by_samples:
        reports = [
            by_batch.evaluate(**batch), by_images.evaluate_dataset(images, COUNT),
            by_samples.evaluate_dataset(samples, COUNT),
        ]
        assert len({(report.loss, report.base_loss) for report in reports}) == 1
        other = by_batch.evaluate(**{**batch, "prompt": mcm.Prompt.from_arrays(prompt.states[:1])})
        assert other.base_loss != reports[0].base_loss
        by_images.step_dataset(images, 4)
        by_samples.step_dataset(samples, 4)
        assert np.array_equal(by_images.parameters, by_samples.parameters)
        by_batch.step(**batch)
        by_batch.accumulate(**batch)
        by_batch.apply()
    with mcm.Bank.record(sd, samples, folder / "bank", 12, progress=False) as bank, make(bank) as trainer:
        assert trainer.step_dataset(samples, 4, bank).loss > 0
        with make(sd) as other:
            other.step_dataset(samples, 4, bank)
            assert np.array_equal(trainer.parameters, other.parameters)
        history = mcm.train(trainer, samples, bank, batch=4, steps=4, progress=False)
        assert len(history.loss) == 3
        with mcm.Session(sd, scheduler="ddim", steps=2) as session:
            session.set_prompt("a cat")
            session.attach(trainer.modulator(), conditions={"sketch": SKETCHES[0]})
            session.seed(1)
            session.run()


def test_models_that_predict_v(images):
    """As Stable Diffusion 2.x: a module is trained in the model's own prediction space."""
    with mcm.Model.from_files(model_files(), prediction_type="v_prediction") as model, make(model) as trainer:
        reports = [trainer.step_dataset(images, COUNT) for _ in range(2)]
        assert all(np.isfinite(report.loss) for report in reports)
        module = trainer.modulator()
        assert module.info.prediction_type == "v_prediction"
        samples = []
        for sketch in (None, *SKETCHES[:2]):
            with mcm.Session(model, scheduler="ddim", steps=2) as session:
                session.set_prompt("a cat")
                if sketch is not None:
                    session.attach(module, conditions={"sketch": sketch})
                session.seed(1)
                session.run()
                samples.append(session.x)
        assert not any(np.array_equal(samples[i], samples[i - 1]) for i in range(3))


def test_training_errors(sd, images, prompt, sdxl, tmp_path):
    batch = dict(images=IMAGES, conditions={"sketch": SKETCHES})
    mcm.write_dataset(tmp_path / "bare", IMAGES, sketch=SKETCHES)
    with make(sd) as trainer, mcm.Dataset(tmp_path / "bare") as bare:
        for call, error in (
            (lambda: trainer.step(**batch), mcm.StateError),
            (lambda: trainer.step(**batch, prompt=prompt), mcm.SizeError),
            (lambda: trainer.accumulate(**batch, prompt=mcm.Prompt.encode(sdxl, "a")), mcm.IncompatibleError),
            (lambda: trainer.evaluate(**batch, prompt=prompt), mcm.SizeError),
            (lambda: trainer.step_dataset(bare, 2), mcm.StateError),
            (lambda: mcm.Bank.record(sd, images, tmp_path / "bank", 4, progress=False), mcm.MCMError),
        ):
            with pytest.raises(error):
                call()
        assert trainer.state.step == 0 and trainer.state.pending == 0 and trainer.state.examples == 0
