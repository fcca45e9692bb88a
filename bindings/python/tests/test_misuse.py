"""Closed objects, objects of other kinds, and places that cannot be written to."""
from __future__ import annotations

import copy
import pickle
import re

import mcm
import numpy as np
import pytest

from conftest import FASHION, SKETCH
from training_support import IMAGES, make

X = np.zeros((1, 1, 28, 28), np.float32)


def closed(thing):
    thing.close()
    thing.close()
    return thing


def test_closed_model(modulator, tmp_path):
    model = closed(mcm.Model.open(FASHION / "base"))
    assert model.info.width == 28  # what is known goes on being known
    check(model, [
        lambda: model.memory, lambda: model.predict(X, 1), lambda: model.encode(SKETCH), lambda: model.decode(X),
        lambda: mcm.Session(model), lambda: mcm.Scheduler(model), lambda: mcm.Prompt.encode(model, "a"),
        lambda: modulator.check(model), lambda: modulator.modulate(model, X, X, 1, {}), lambda: make(model),
        lambda: mcm.generate(model), lambda: mcm.Trainer.resume(model, tmp_path / "t"), model.__enter__,
    ])


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_objects_have_one_owner(model, take):
    with pytest.raises(TypeError, match="a Model can be neither pickled nor copied: make one in each process"):
        take(model)
    with mcm.Session(model) as session, pytest.raises(TypeError, match="a Session can be"):
        take(session)
    with pytest.raises(TypeError, match="freed once"):
        take(model._native)


@pytest.mark.parametrize("kind, makers", [
    (mcm.Model, "Model.open(...) or Model.from_files(...)"), (mcm.Modulator, "Modulator.open(...) or"),
    (mcm.Prompt, "Prompt.encode(...) or"), (mcm.ControlNet, "ControlNet.open(...) instead"),
])
def test_constructors_that_are_not_for_callers(kind, makers):
    for given in ("path", b"path", 1, None, SKETCH):
        message = f"{kind.__name__}() is given {type(given).__name__}, expected {makers}"
        with pytest.raises(TypeError, match=re.escape(message)):
            kind(given)


def test_texts_for_numbers(model, modulator):
    for options in (
        dict(eta=10**400), dict(eta=np.complex64(1)), dict(eta="a"), dict(strength="1"), dict(guidance_scale="7"),
        dict(guidance_rescale=[]),
    ):
        with pytest.raises(mcm.InvalidArgument, match=f"{next(iter(options))} is .*, expected a number"):
            mcm.Session(model, **options)
    with pytest.raises(mcm.InvalidArgument, match="eta is 'a', expected a number"):
        mcm.Scheduler(model, "ddim", eta="a")
    with pytest.raises(mcm.InvalidArgument, match="weight is 'a', expected a number"):
        modulator.modulate(model, X, X, 1, {}, weight="a")
    with mcm.Session(model) as session:
        with pytest.raises(mcm.InvalidArgument, match="begin is '0', expected a number"):
            session.attach(modulator, begin="0")
        attachment = session.attach(modulator, weight=np.float32(1))
        with pytest.raises(mcm.InvalidArgument, match="weight is None, expected a number"):
            attachment.weight = None
        with pytest.raises(mcm.InvalidArgument, match="window is 'a', expected a number"):
            attachment.window = "ab"


def test_numbers_that_mean_the_default(model):
    for name in ("steps", "width", "height"):
        with pytest.raises(mcm.InvalidArgument, match=f"{name} is 0, expected at least 1, or None"):
            mcm.Session(model, **{name: 0})
    with pytest.raises(mcm.InvalidArgument, match="steps is 0"):
        mcm.Scheduler(model, steps=0)


def test_other_kinds_of_arguments(model, modulator):
    with pytest.raises(TypeError, match="conditions is list, expected a mapping"):
        modulator.modulate(model, X, X, 1, [SKETCH])
    with pytest.raises(TypeError, match="given dict, expected a Conditioning"):
        mcm.generate(model, {"sketch": SKETCH})
    with mcm.Session(model) as session, pytest.raises(TypeError, match="conditions is list, expected a mapping"):
        session.attach(modulator, conditions=[SKETCH])
    with pytest.raises(TypeError, match="given NoneType"):
        mcm.generate(model, None)
    for seed in (1.5, "1", None):
        with pytest.raises(mcm.InvalidArgument, match="seed is .*, expected an integer"):
            mcm.generate(model, seeds=seed)


def test_options_that_c_would_not_see(model):
    for passes in (2**32 + 1, 3, -1):
        with pytest.raises(mcm.InvalidArgument, match=f"guidance_passes is {passes}, expected 0"):
            mcm.Session(model, guidance_passes=passes)
    with pytest.raises(mcm.UnsupportedError, match="text"):  # not overlooked
        mcm.generate(model, negative="blurry")


def test_closed_modulator(model):
    modulator = closed(mcm.Modulator.open(FASHION / "module.mcm.safetensors"))
    assert modulator.modalities[0].name == "sketch"
    check(modulator, [
        lambda: modulator.check(model), lambda: modulator.modulate(model, X, X, 1, {}),
        lambda: mcm.Session(model).attach(modulator), lambda: mcm.generate(model, mcm.Conditioning(modulator, {})),
    ])


def test_closed_prompt(sd):
    prompt = closed(mcm.Prompt.encode(sd, "a cat"))
    check(prompt, [
        lambda: prompt.states, lambda: prompt.pooled, lambda: mcm.Session(sd).set_prompt(prompt),
        lambda: mcm.generate(sd, prompt=prompt), lambda: sd.predict(np.zeros((1, 4, 8, 8)), 1, prompt=prompt),
    ])


def test_closed_scheduler_and_generator(model):
    scheduler = closed(mcm.Scheduler(model, "ddim", 4))
    assert len(scheduler.timesteps) == 4
    check(scheduler, [
        lambda: scheduler.step(0, X, X), lambda: scheduler.needs_noise(0), lambda: scheduler.add_noise(1, X, X),
        lambda: scheduler.scale_model_input(0, X),
    ])
    generator = closed(mcm.Generator(0))
    check(generator, [lambda: generator.normal(3)])


def test_closed_session(model, modulator):
    session = mcm.Session(model, scheduler="ddim", steps=4)
    attachment = session.attach(modulator)
    session.seed(0)
    step, steps = session.step(), iter(session)
    closed(session)
    check(session, [
        session.step, session.run, lambda: next(steps), session.result, session.preview, session.decode_x0,
        lambda: session.x, lambda: session.x0, lambda: setattr(session, "x", X), lambda: session.memory,
        lambda: session.timestep, lambda: session.done, lambda: session.steps_done, lambda: session.seed(0),
        lambda: session.attach(modulator), lambda: session.set_prompt("a"), lambda: session.set_image(SKETCH),
        lambda: session.set_mask(SKETCH), lambda: session.set_class_input([1]), lambda: step.x, lambda: step.x0,
        step.preview, lambda: setattr(attachment, "weight", 1), lambda: setattr(attachment, "window", (0, 1)),
        lambda: attachment.set_condition("sketch", SKETCH), attachment.clear, attachment.detach,
    ])


def test_closed_training_objects(model, dataset_path, dataset, tmp_path):
    with mcm.Bank.record(model, dataset, tmp_path / "bank", 4) as bank, make(model) as trainer:
        parameters = trainer.parameters
        parameters[:] = 7
    other = closed(mcm.Dataset(dataset_path))
    assert len(other) == len(dataset) and len(bank) == 4 and (parameters == 7).all()
    with make(model) as learner:
        check(other, [
            lambda: learner.step_dataset(other, 1), lambda: other.encode(model, tmp_path / "s"),
            lambda: mcm.train(learner, other, steps=1), lambda: mcm.Bank.record(model, other, tmp_path / "b", 1),
        ])
        check(bank, [lambda: learner.step_dataset(dataset, 1, bank), lambda: make(bank)])
    check(trainer, [
        lambda: trainer.step(IMAGES[:1]), lambda: trainer.accumulate(IMAGES[:1]), lambda: trainer.evaluate(IMAGES[:1]),
        lambda: trainer.step_dataset(dataset, 1), trainer.apply, trainer.clear, trainer.modulator,
        lambda: trainer.state, lambda: trainer.parameters, lambda: trainer.gradients, lambda: trainer.ema,
        lambda: trainer.losses_by_timestep,
        lambda: trainer.losses_by_modality, trainer.reset_losses, lambda: trainer.save(tmp_path / "t"),
        lambda: trainer.write_modulator(tmp_path / "m"), lambda: mcm.train(trainer, dataset, steps=1),
        lambda: trainer.modalities, lambda: trainer.named_parameters,
    ])


def check(thing, calls):
    for call in calls:
        with pytest.raises(mcm.StateError, match=f"this {type(thing).__name__} is closed"):
            call()


def test_other_objects_are_refused(model, modulator, trainer, dataset):
    """The library would take them for what it expects."""
    with mcm.Session(model) as session, mcm.Prompt.from_arrays(np.zeros((1, 2, 3))) as prompt:
        for call, expected in (
            (lambda: mcm.Session(modulator), "model is Modulator, expected Model"),
            (lambda: mcm.Session(None), "model is NoneType, expected Model"),
            (lambda: mcm.Scheduler(session), "model is Session, expected Model"),
            (lambda: mcm.Prompt.encode(modulator, "a"), "model is Modulator, expected Model"),
            (lambda: session.attach(model), "modulator is Model, expected Modulator"),
            (lambda: session.attach_controlnet(modulator, SKETCH), "controlnet is Modulator, expected ControlNet"),
            (lambda: modulator.check(modulator), "model is Modulator, expected Model"),
            (lambda: modulator.modulate(session, X, X, 1, {}), "model is Session, expected Model"),
            (lambda: model.predict(X, 1, prompt="a cat"), "prompt is str, expected Prompt"),
            (lambda: mcm.Bank.record(model, prompt, "bank", 1), "dataset is Prompt, expected Dataset"),
            (lambda: dataset.encode(dataset, "samples"), "model is Dataset, expected Model"),
            (lambda: make(modulator), "the base is Modulator, expected Model or Bank"),
            (lambda: trainer.step_dataset(model, 1), "dataset is Model, expected Dataset"),
            (lambda: trainer.step_dataset(dataset, 1, dataset), "bank is Dataset, expected Bank"),
            (lambda: trainer.step(IMAGES[:1], prompt="a cat"), "prompt is str, expected Prompt"),
            (lambda: mcm.train(trainer, model, steps=1), "dataset is Model, expected Dataset"),
            (lambda: mcm.generate("model"), "model is str, expected Model"),
        ):
            with pytest.raises(TypeError, match=expected):
                call()


@pytest.mark.parametrize("place", ["no/folder", ".", "file/below"])
def test_places_that_cannot_be_written_to(model, sd, trainer, dataset, tmp_path, place):
    (tmp_path / "file").touch()
    path, rgb = tmp_path / place, tmp_path / "rgb"
    mcm.write_dataset(rgb, np.zeros((2, 8, 8, 3), np.uint8))
    for call in (
        lambda: mcm.write_png(path, X[0, 0].astype(np.uint8)),
        lambda: mcm.plot.contact_sheet([SKETCH], path),
        lambda: mcm.write_dataset(path, IMAGES),
        lambda: mcm.Dataset(rgb).encode(sd, path),
        lambda: mcm.Bank.record(model, dataset, path, 1),
        lambda: mcm.train(trainer, dataset, batch=1, steps=trainer.state.step + 1, save=path),
        lambda: trainer.save(path),
        lambda: trainer.write_modulator(path),
    ):
        with pytest.raises(mcm.IOFailure) as caught:
            call()
        assert isinstance(caught.value, OSError)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "rgb"]
