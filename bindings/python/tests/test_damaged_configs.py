"""Configs changed at random: whatever they say, the library answers with an error or works. A crash ends the tests."""
import copy
import json
import random
import struct

import numpy as np
import pytest

import mcm
from conftest import FASHION

NASTY = [
    0, -1, 1, 2, 3, 7, 1.5, 1e308, -1e308, 2**31, 2**63, 2**64, 65536, 65537, 1e-30, True, False, None, "", "x", "silu",
    "resnet", "fourier", "learned", "scale_shift", "v_prediction", "trailing", "linspace", [], [1], [0], [[]], {},
    [8, 8, 8], ["DownBlock2D"], ["SkipDownBlock2D"] * 3, ["AttnSkipUpBlock2D"] * 3, [0.5] * 2000,
]


def places(value, path=()):
    """The paths of all members and elements, at any depth."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield path + (key,)
        yield from places(child, path + (key,))


def damaged(text, rng):
    """The JSON text with one to three members removed, added or replaced."""
    value = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        paths = list(places(value))
        if not paths:
            break
        *parents, key = rng.choice(paths)
        target = value
        for parent in parents:
            target = target[parent]
        if isinstance(target, dict) and rng.random() < 0.2:
            del target[key]
            key = "unheard_of"
        target[key] = copy.deepcopy(rng.choice(NASTY))
    return json.dumps(value).encode()


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_models(files, name):
    rng = random.Random(name)
    for _ in range(150):
        try:
            model = mcm.Model.from_files({**files, name: damaged(files[name], rng)}, threads=1)
            with mcm.Session(model, width=28, height=28, steps=2) as session:
                session.set_class_input(np.zeros(model.info.class_input_size))
                session.seed(1)
                session.run()
        except mcm.MCMError as error:
            assert str(error) and "\n" not in str(error)


SCHEDULER = {
    "num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
    "trained_betas": None, "prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 0,
    "variance_type": None, "rescale_betas_zero_snr": False, "clip_sample": True, "clip_sample_range": 1.0,
    "thresholding": False, "use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": True,
    "sigma_min": None, "sigma_max": 50.0, "interpolation_type": "linear", "timestep_type": "discrete",
    "final_sigmas_type": "zero", "solver_order": 3, "solver_type": "heun", "algorithm_type": "dpmsolver++",
    "lower_order_final": True, "euler_at_final": False, "use_lu_lambdas": False, "lambda_min_clipped": -5.1,
    "predict_x0": True, "disable_corrector": [1], "skip_prk_steps": True, "set_alpha_to_one": False,
    "original_inference_steps": 50, "timestep_scaling": 10.0,
}
CLASSES = [
    "DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler", "LCMScheduler",
]


@pytest.mark.parametrize("name", CLASSES)
def test_schedulers(files, name):
    rng = random.Random(name)
    ran = 0
    for _ in range(150):
        config = damaged(json.dumps({**SCHEDULER, "_class_name": name}), rng)
        try:
            model = mcm.Model.from_files({**files, "scheduler/scheduler_config.json": config}, threads=1)
            with mcm.Session(model, width=28, height=28, steps=rng.choice([1, 2, 3, 5])) as session:
                session.seed(1)
                session.run()
            mcm.Scheduler(model, steps=rng.choice([1, 50, 999, 1000]))
            ran += 1
        except mcm.MCMError as error:
            assert str(error) and "\n" not in str(error)
    assert ran > 5


def test_modules(model):
    rng = random.Random("module")
    data = (FASHION / "module.mcm.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, tensors = json.loads(data[8 : 8 + length]), data[8 + length :]
    config = header["__metadata__"]["config"]
    x = np.zeros((1, 1, 28, 28), np.float32)
    for _ in range(150):
        header["__metadata__"]["config"] = damaged(config, rng).decode()
        text = json.dumps(header).encode()
        try:
            module = mcm.Modulator.from_bytes(struct.pack("<Q", len(text)) + text + tensors)
            module.modulate(model, x, x, 5, {})
        except mcm.MCMError as error:
            assert str(error) and "\n" not in str(error)
