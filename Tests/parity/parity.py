#!/usr/bin/env python3
"""Compare libmcm with the installed diffusers and torch, live, through the C ABI.

    python parity.py --library build/libmcm.so [--seed 0] [randn unets schedulers solvers begun pipelines end-to-end]

Random networks, scheduler configurations and draws are run on both sides; a table shows the relative error
||out - ref|| / ||ref|| of each and its bound, and the exit status is 1 if one is exceeded.

To check one more network:

    from parity import Library, Report, check_unet
    report = Report()
    check_unet(Library("build/libmcm.so"), report, "mine", unet, sample, timesteps)
    report.finish()
"""
import argparse
import ctypes
import importlib.util
import inspect
import json
import os
import random
import subprocess
import sys
import tempfile
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

import numpy as np
import torch
import diffusers
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.utils import logging

UNET_BOUND = 1e-5
# torch's square root is up to one unit in the last place off (it comes from a vector library), so whole
# trajectories drift apart with their length even where every other operation is the same.
SCHEDULER_BOUND = 1e-6
SCHEDULER_BOUND_STEPS = 100
# Rescaling to zero terminal SNR takes the root's last place through 1 / (a - b) and leaves abar near 0, which divides.
ZERO_SNR_BOUND = 1e-5
# The solvers divide differences of logarithms, which torch rounds its own way, by small steps.
SOLVER_BOUND = 1e-5
# Third orders divide by the square of small steps: on noise in place of predictions diffusers is 1e-5 from itself in
# float64, and with beta sigmas, whose first steps are tiny, 2e-3.
THIRD_ORDER_BOUND = 1e-4
# Schedules that end near zero signal begin with sigmas of thousands, which leave the rounding of large numbers behind.
ILL_CONDITIONED_BOUND = 1e-3
# Guidance takes differences of predictions, and the steps add up.
PIPELINE_BOUND = 3e-5
PIXEL_BOUND = 1      # of 255

UNET_ARGUMENTS = inspect.signature(UNet2DModel.__init__).parameters
SCHEDULER_KINDS = {"default": 0, "DDPMScheduler": 1, "DDIMScheduler": 2, "PNDMScheduler": 3, "LMSDiscreteScheduler": 4,
                   "EulerDiscreteScheduler": 5, "EulerAncestralDiscreteScheduler": 6, "HeunDiscreteScheduler": 7,
                   "DPMSolverMultistepScheduler": 8, "UniPCMultistepScheduler": 9, "LCMScheduler": 10}


# ---------------------------------------------------------------- the C ABI

class ModelInfo(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("prediction_type", c_int32), ("width", c_uint32), ("height", c_uint32),
                ("channels", c_uint32), ("prediction_channels", c_uint32), ("num_train_timesteps", c_uint32),
                ("size_multiple", c_uint32), ("class_input_size", c_uint32), ("class_count", c_uint32),
                ("parameter_count", c_uint64), ("memory_bytes", c_uint64), ("fingerprint", c_char * 24)]


class SessionOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("batch", c_uint32), ("width", c_uint32), ("height", c_uint32),
                ("scheduler", c_int32), ("steps", c_uint32), ("eta", c_float), ("scheduler_options", c_char_p)]


class SchedulerInfo(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("steps", c_uint32), ("history_count", c_uint32),
                ("init_noise_sigma", c_float)]


class StepInfo(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("timestep", c_float), ("input_scale", c_float), ("needs_noise", c_int32)]


class GenerateOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("seed_count", c_uint32), ("seeds", POINTER(c_uint64)),
                ("session", POINTER(SessionOptions)), ("attachments", c_void_p), ("attachment_count", c_size_t),
                ("class_input", c_void_p), ("class_input_count", c_size_t), ("callback", c_void_p),
                ("user", c_void_p)]


SIGNATURES = {
    "mcm_rng_create": [c_uint64, POINTER(c_void_p)],
    "mcm_rng_normal": [c_void_p, c_void_p, c_size_t],
    "mcm_model_open": [c_char_p, c_void_p, POINTER(c_void_p)],
    "mcm_model_get_info": [c_void_p, POINTER(ModelInfo)],
    "mcm_model_predict": [c_void_p, c_uint32, c_uint32, c_uint32, c_void_p, c_size_t, c_void_p, c_void_p, c_size_t,
                          c_void_p, c_size_t],
    "mcm_scheduler_create_with_options": [c_void_p, c_int32, c_uint32, c_float, c_char_p, POINTER(c_void_p)],
    "mcm_scheduler_get_info": [c_void_p, POINTER(SchedulerInfo)],
    "mcm_scheduler_get_step": [c_void_p, c_uint32, POINTER(StepInfo)],
    "mcm_scheduler_get_timesteps": [c_void_p, c_void_p, c_uint32, POINTER(c_uint32)],
    "mcm_scheduler_needs_noise": [c_void_p, c_uint32, POINTER(c_int32)],
    "mcm_scheduler_step_with_history": [c_void_p, c_uint32, c_uint32, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p,
                                        c_void_p, c_size_t, c_void_p, c_void_p],
    "mcm_scheduler_add_noise": [c_void_p, c_int32, c_void_p, c_void_p, c_size_t, c_void_p],
    "mcm_generate": [c_void_p, POINTER(GenerateOptions), c_void_p, c_size_t],
}
NO_RESULT = {
    "mcm_rng_free": [c_void_p], "mcm_model_free": [c_void_p], "mcm_scheduler_free": [c_void_p],
    "mcm_model_info_init": [POINTER(ModelInfo), c_uint32],
    "mcm_session_options_init": [POINTER(SessionOptions), c_uint32],
    "mcm_scheduler_info_init": [POINTER(SchedulerInfo), c_uint32],
    "mcm_step_info_init": [POINTER(StepInfo), c_uint32],
    "mcm_generate_options_init": [POINTER(GenerateOptions), c_uint32],
}


class Library:
    """The loaded library. Calls raise RuntimeError with the library's message."""

    def __init__(self, path):
        self.c = ctypes.CDLL(os.path.abspath(path))
        for name, arguments in SIGNATURES.items():
            getattr(self.c, name).argtypes, getattr(self.c, name).restype = arguments, c_int32
        for name, arguments in NO_RESULT.items():
            getattr(self.c, name).argtypes, getattr(self.c, name).restype = arguments, None
        self.c.mcm_last_error.restype = c_char_p

    def call(self, name, *arguments):
        status = getattr(self.c, name)(*arguments)
        if status:
            raise RuntimeError(f"{name}: status {status}: {self.c.mcm_last_error().decode()}")

    def create(self, name, *arguments):
        handle = c_void_p()
        self.call(name, *arguments, byref(handle))
        return handle

    def initialised(self, structure, init, **values):
        s = structure()
        getattr(self.c, init)(byref(s), ctypes.sizeof(structure))
        for field, value in values.items():
            setattr(s, field, value)
        return s

    def normal(self, seed, sizes):
        """One draw per size from one generator, a list of tensors."""
        rng = self.create("mcm_rng_create", seed)
        draws = [torch.empty(n) for n in sizes]
        for draw in draws:
            self.call("mcm_rng_normal", rng, draw.data_ptr(), draw.numel())
        self.c.mcm_rng_free(rng)
        return draws

    def open(self, folder):
        return Model(self, folder)


class Model:
    def __init__(self, library, folder):
        self.library = library
        self.handle = library.create("mcm_model_open", os.fsencode(folder), None)
        self.info = library.initialised(ModelInfo, "mcm_model_info_init")
        library.call("mcm_model_get_info", self.handle, byref(self.info))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.library.c.mcm_model_free(self.handle)

    def predict(self, sample, timesteps, class_input=None):
        """sample (N, C, H, W), timesteps (N,), class_input (N, K) or None: the prediction, (N, C', H, W)."""
        sample, timesteps = sample.float().contiguous(), timesteps.float().contiguous()
        class_input = None if class_input is None else class_input.float().contiguous()
        n, _, h, w = sample.shape
        out = torch.full((n, self.info.prediction_channels, h, w), float("nan"))
        self.library.call("mcm_model_predict", self.handle, n, w, h, sample.data_ptr(), sample.numel(),
                          timesteps.data_ptr(), None if class_input is None else class_input.data_ptr(),
                          0 if class_input is None else class_input.numel(), out.data_ptr(), out.numel())
        return out

    def scheduler(self, kind, steps, eta=0.0, options=None):
        return Scheduler(self, kind, steps, eta, options)

    def generate(self, seeds, batch, kind, steps, eta):
        """Images, (N, H, W, C) uint8."""
        session = self.library.initialised(SessionOptions, "mcm_session_options_init", batch=batch, steps=steps,
                                           scheduler=SCHEDULER_KINDS[kind], eta=eta)
        options = self.library.initialised(GenerateOptions, "mcm_generate_options_init", seed_count=len(seeds),
                                           seeds=(c_uint64 * len(seeds))(*seeds), session=ctypes.pointer(session))
        pixels = np.zeros((batch, self.info.height, self.info.width, self.info.channels), np.uint8)
        self.library.call("mcm_generate", self.handle, byref(options), pixels.ctypes.data, pixels.nbytes)
        return pixels


class Scheduler:
    """A scheduler, and the history of one run."""

    def __init__(self, model, kind, steps, eta, options=None):
        self.library, self.history = model.library, None
        text = None if options is None else json.dumps(options).encode()
        self.handle = self.library.create("mcm_scheduler_create_with_options", model.handle, SCHEDULER_KINDS[kind],
                                          steps, eta, text)
        self.info = self.library.initialised(SchedulerInfo, "mcm_scheduler_info_init")
        self.library.call("mcm_scheduler_get_info", self.handle, byref(self.info))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.library.c.mcm_scheduler_free(self.handle)

    def timesteps(self):
        count = c_uint32()
        self.library.call("mcm_scheduler_get_timesteps", self.handle, None, 0, byref(count))
        values = (c_int32 * count.value)()
        self.library.call("mcm_scheduler_get_timesteps", self.handle, values, count, byref(count))
        return list(values)

    def step_info(self, step):
        info = self.library.initialised(StepInfo, "mcm_step_info_init")
        self.library.call("mcm_scheduler_get_step", self.handle, step, byref(info))
        return info

    def needs_noise(self, step):
        answer = c_int32()
        self.library.call("mcm_scheduler_needs_noise", self.handle, step, byref(answer))
        return bool(answer.value)

    def step(self, step, sample, prediction, noise):
        """x_{t-1} and the predicted x_0, both of sample's shape."""
        previous, x0 = torch.empty_like(sample), torch.empty_like(sample)
        prediction = prediction.contiguous()
        if self.history is None:
            self.history = torch.full((self.info.history_count, sample.numel()), float("nan"))
        self.library.call("mcm_scheduler_step_with_history", self.handle, step, sample.shape[0], sample.data_ptr(),
                          sample.numel(), prediction.data_ptr(), prediction.numel(),
                          None if noise is None else noise.data_ptr(), self.history.data_ptr(), self.history.numel(),
                          previous.data_ptr(), x0.data_ptr())
        return previous, x0

    def add_noise(self, timestep, x0, noise):
        out = torch.empty_like(x0)
        self.library.call("mcm_scheduler_add_noise", self.handle, timestep, x0.data_ptr(), noise.data_ptr(),
                          x0.numel(), out.data_ptr())
        return out


# ---------------------------------------------------------------- the report

def relative_error(out, ref):
    """||out - ref|| / ||ref||, infinite where out is not finite."""
    error = float((out.double() - ref.double()).norm() / ref.double().norm())
    return error if np.isfinite(error) else float("inf")


class Report:
    """Prints a line per comparison as it is added, and a summary at the end."""

    def __init__(self):
        self.rows = []

    def add(self, group, name, error, bound):
        self.rows.append((group, name, error, bound))
        print(f"{'ok  ' if error <= bound else 'FAIL'} {group:10s} {error:9.2e} (<= {bound:.0e})  {name}", flush=True)

    def finish(self):
        """Prints the worst of each group; true if every bound holds."""
        print()
        for group in dict.fromkeys(row[0] for row in self.rows):
            rows = [row for row in self.rows if row[0] == group]
            worst = max(rows, key=lambda row: row[2] / row[3] if row[3] else row[2])
            failed = sum(row[2] > row[3] for row in rows)
            print(f"{group}: {len(rows)} comparisons, {failed} failed, worst {worst[2]:.2e} ({worst[1]})")
        return bool(self.rows) and all(row[2] <= row[3] for row in self.rows)


# ---------------------------------------------------------------- torch.randn

def check_randn(library, report, rng, count=100):
    for _ in range(count):
        seed = rng.choice([rng.randrange(2 ** 32), rng.randrange(2 ** 63)])
        sizes = [rng.choice([rng.randint(1, 15), rng.randint(16, 64), rng.randint(1, 20000)])
                 for _ in range(rng.randint(1, 6))]
        generator = torch.Generator().manual_seed(seed)
        ref = [torch.randn(n, generator=generator) for n in sizes]
        out = library.normal(seed, sizes)
        different = sum(int((a != b).sum()) for a, b in zip(out, ref))
        report.add("randn", f"seed {seed}, sizes {sizes}: values that differ", different, 0)


# ---------------------------------------------------------------- UNet2DModel

def randomise(model, seed):
    """Weights that keep activations at unit scale, normalisation weights about 1."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_()
            if p.ndim >= 2:
                p /= p[0].numel() ** 0.5
            elif name != "time_proj.weight":
                p.mul_(0.1).add_(1 if name.endswith(".weight") else 0)
    return model.eval()


def random_unet_config(rng):
    """Arguments of a small UNet2DModel, and a (height, width) that it accepts."""
    levels = rng.randint(1, 4)
    groups = rng.choice([1, 2, 4, 8, 16])
    channels = [groups * rng.randint(max(1, 16 // groups), 64 // groups) for _ in range(levels)]
    head = rng.choice([None, *[d for d in (1, 4, 8, 12, 16, 32) if d <= min(channels)]])
    unit = 2 ** (levels - 1)
    size = [unit * rng.randint(2 if levels > 1 else 4, max(4, 32 // unit)) for _ in range(2)]
    planes = rng.choice([1, 3, 4])
    down = ["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"]
    up = ["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"]
    config = dict(
        sample_size=tuple(size), in_channels=planes, out_channels=planes * rng.choice([1, 1, 1, 2]),
        block_out_channels=channels, layers_per_block=rng.randint(1, 3), norm_num_groups=groups,
        down_block_types=[rng.choice(down) for _ in range(levels)],
        up_block_types=[rng.choice(up) for _ in range(levels)],
        attention_head_dim=head, norm_eps=rng.choice([1e-6, 1e-5, 1e-3]),
        act_fn=rng.choice(["silu", "silu", "swish", "mish", "gelu", "relu"]),
        resnet_time_scale_shift=rng.choice(["default", "default", "scale_shift"]),
        downsample_padding=rng.choice([0, 1]), downsample_type=rng.choice(["conv", "resnet"]),
        upsample_type=rng.choice(["conv", "resnet"]), add_attention=rng.random() < 0.8,
        attn_norm_num_groups=rng.choice([None, groups]), mid_block_scale_factor=rng.choice([1, 2 ** 0.5]),
        center_input_sample=rng.random() < 0.2, flip_sin_to_cos=rng.random() < 0.5, freq_shift=rng.choice([0, 1]),
        time_embedding_dim=rng.choice([None, None, 48]), dropout=rng.choice([0.0, 0.1]))
    if rng.random() < 0.1:
        config["mid_block_type"] = None
    if rng.random() < 0.2:      # the NCSN++ blocks, which want 3 channels and multiples of 32
        config.update(in_channels=3, out_channels=3, norm_num_groups=None, attn_norm_num_groups=None,
                      block_out_channels=[rng.choice([32, 64]) for _ in range(levels)],
                      down_block_types=[rng.choice(["SkipDownBlock2D", "AttnSkipDownBlock2D"]) for _ in range(levels)],
                      up_block_types=[rng.choice(["SkipUpBlock2D", "AttnSkipUpBlock2D"]) for _ in range(levels)])
    config.update(rng.choice([{}, {}, {"time_embedding_type": "fourier"},
                              {"time_embedding_type": "learned", "num_train_timesteps": 1000}]))
    config.update(rng.choice([{}, {}, {"num_class_embeds": 10}, {"class_embed_type": "timestep"},
                              {"class_embed_type": "identity"}]))
    return config, size


def random_inputs(config, unet, size, rng):
    """sample, timesteps and class labels (or None) for a network."""
    n = rng.randint(1, 3)
    sample = torch.randn(n, config["in_channels"], *size)
    timesteps = torch.tensor([rng.randint(1, 999) for _ in range(n)])
    if config.get("time_embedding_type") != "learned" and rng.random() < 0.3:
        timesteps = timesteps + 0.25
    labels = None
    if config.get("num_class_embeds"):
        labels = torch.tensor([rng.randrange(config["num_class_embeds"]) for _ in range(n)])
    elif config.get("class_embed_type") == "timestep":
        labels = torch.tensor([rng.randint(1, 99) for _ in range(n)])
    elif config.get("class_embed_type") == "identity":
        labels = torch.randn(n, unet.time_embedding.linear_2.out_features)
    return sample, timesteps, labels


def check_unet(library, report, name, unet, sample, timesteps, labels=None, dtype=torch.float32, shard="10GB"):
    """Saves the network in `dtype` as a pipeline, opens it with the library and compares the predictions."""
    scheduler = DDPMScheduler()
    if unet.config.out_channels != unet.config.in_channels:
        scheduler = DDPMScheduler(variance_type="learned_range")
    with tempfile.TemporaryDirectory() as folder:
        DDPMPipeline(unet=unet.to(dtype), scheduler=scheduler).save_pretrained(folder, max_shard_size=shard)
        with library.open(folder) as model:
            class_input = labels if labels is None or labels.ndim == 2 else labels[:, None]
            out = model.predict(sample, timesteps, class_input)
    with torch.no_grad():
        ref = unet.float()(sample, timesteps, class_labels=labels).sample
    report.add("unet", name, relative_error(out, ref), UNET_BOUND)


def check_unets(library, report, rng, count=60):
    for i in range(count):
        config, size = random_unet_config(rng)
        seed = rng.randrange(2 ** 31)
        unet = randomise(UNet2DModel(**config), seed)
        dtype = rng.choice([torch.float32] * 3 + [torch.float16, torch.bfloat16])
        shard = rng.choice(["10GB", "10GB", "500KB"])
        sample, timesteps, labels = random_inputs(config, unet, size, rng)
        changed = {k: v for k, v in config.items() if v != UNET_ARGUMENTS[k].default}
        name = f"{i}: batch {len(sample)}, {dtype}, {shard}, {changed}"
        check_unet(library, report, name, unet, sample, timesteps, labels, dtype, shard)


# ---------------------------------------------------------------- schedulers

def random_scheduler(rng):
    """A scheduler, and a number of steps at which diffusers itself works."""
    while True:
        cls = rng.choice([DDPMScheduler, DDIMScheduler])
        train = rng.choice([1000, 1000, rng.randint(20, 2000)])
        config = dict(
            num_train_timesteps=train, prediction_type=rng.choice(["epsilon", "sample", "v_prediction"]),
            timestep_spacing=rng.choice(["leading", "trailing", "linspace"]), steps_offset=rng.choice([0, 0, 1]),
            beta_schedule=rng.choice(["linear", "scaled_linear", "squaredcos_cap_v2"]),
            beta_start=rng.choice([1e-4, 0.00085, 0.0015]), beta_end=rng.choice([0.02, 0.012, 0.0195]),
            clip_sample=rng.random() < 0.6, clip_sample_range=rng.choice([1.0, 1.0, 0.5, 2.0]),
            thresholding=rng.random() < 0.2, dynamic_thresholding_ratio=rng.choice([0.995, 0.9]),
            sample_max_value=rng.choice([1.0, 1.5, 20.0]))
        if rng.random() < 0.15:
            config["trained_betas"] = [rng.uniform(1e-4, 10 / train) for _ in range(train)]
        if rng.random() < 0.15:     # a prediction of the noise says nothing about x_0 where alpha is 0
            config.update(rescale_betas_zero_snr=True, prediction_type=rng.choice(["sample", "v_prediction"]))
        if cls is DDIMScheduler:
            config["set_alpha_to_one"] = rng.random() < 0.7
        else:
            config["variance_type"] = rng.choice(["fixed_small", "fixed_small_log", "fixed_large", "learned",
                                                  "learned_range"])
            config["beta_schedule"] = rng.choice([config["beta_schedule"], "sigmoid"])
        scheduler, steps = cls(**config), rng.randint(1, min(train, 60))
        scheduler.set_timesteps(steps)
        # Rounding makes some "trailing" runs one step too long, ending at timestep -1, and an offset can lead
        # past the last timestep.
        if len(scheduler.timesteps) == steps and scheduler.timesteps.min() >= 0 and scheduler.timesteps.max() < train:
            return scheduler, steps


def random_prediction(scheduler, shape):
    """Noise in place of a prediction, with a variance that is not negative where one is learned."""
    variance = scheduler.config.get("variance_type", "fixed_small")
    if variance not in ("learned", "learned_range"):
        return 0.9 * torch.randn(shape)
    n, c, h, w = shape
    second = torch.randn(shape)
    return torch.cat([0.9 * torch.randn(shape), second.square() * 0.1 if variance == "learned" else second], 1)


def check_scheduler(library, report, name, scheduler, steps, eta=0.0, kind="default", reference=None, seed=0):
    """A whole trajectory of the scheduler of a model, or of `reference`, made from it, where `kind` asks for
    another class; and add_noise."""
    torch.manual_seed(seed)
    learned = scheduler.config.get("variance_type") in ("learned", "learned_range")
    unet = UNet2DModel(sample_size=8, in_channels=3, out_channels=6 if learned else 3, block_out_channels=(4,),
                       layers_per_block=1, norm_num_groups=1, add_attention=False,
                       down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))
    pipeline = DDIMPipeline if isinstance(scheduler, DDIMScheduler) else DDPMPipeline
    reference = reference or scheduler
    reference.set_timesteps(steps)
    options = {"eta": eta} if isinstance(reference, DDIMScheduler) else {}
    shape = (2, 3, random.Random(seed).randint(1, 8), 6)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        pipeline(unet=unet, scheduler=scheduler).save_pretrained(folder)
        with library.open(folder) as model, model.scheduler(kind, steps, eta) as ours:
            if ours.timesteps() != reference.timesteps.tolist():
                worst = float("inf")
            x = torch.randn(shape)
            mine, generator, noises = x, torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
            for i, t in enumerate(reference.timesteps):
                prediction = random_prediction(reference, shape)
                theirs = reference.step(prediction, t, x, generator=generator, **options)
                noise = torch.randn(shape, generator=noises) if ours.needs_noise(i) else None
                mine, x0 = ours.step(i, mine, prediction, noise)
                x = theirs.prev_sample
                worst = max(worst, relative_error(mine, x), relative_error(x0, theirs.pred_original_sample))
            t = int(reference.timesteps[len(reference.timesteps) // 2])
            clean, noise = torch.randn(shape), torch.randn(shape)
            worst = max(worst, relative_error(ours.add_noise(t, clean, noise),
                                              reference.add_noise(clean, noise, torch.tensor([t, t]))))
    bound = ZERO_SNR_BOUND if reference.config.rescale_betas_zero_snr else SCHEDULER_BOUND
    report.add("scheduler", name, worst, bound * max(1, steps / SCHEDULER_BOUND_STEPS))


def describe(scheduler):
    defaults = type(scheduler)().config
    changed = {k: v for k, v in scheduler.config.items() if not k.startswith("_") and v != defaults[k]}
    if "trained_betas" in changed:
        changed["trained_betas"] = "..."
    return f"{type(scheduler).__name__} {changed}"


def check_schedulers(library, report, rng, count=60):
    for cls in (DDPMScheduler, DDIMScheduler):
        check_scheduler(library, report, f"{cls.__name__}, 1000 steps", cls(), 1000)
    for i in range(count):
        scheduler, steps = random_scheduler(rng)
        kind, reference = "default", scheduler
        learned = scheduler.config.get("variance_type") in ("learned", "learned_range")
        if rng.random() < 0.3 and not learned and scheduler.config.beta_schedule != "sigmoid":
            cls = rng.choice([DDPMScheduler, DDIMScheduler])
            kind, reference = cls.__name__, cls.from_config(scheduler.config)
        eta = rng.choice([0.0, 0.5, 1.0]) if isinstance(reference, DDIMScheduler) else 0.0
        if scheduler.config.rescale_betas_zero_snr:     # diffusers takes the root of a rounding error at eta 1
            eta = min(eta, 0.5)
        check_scheduler(library, report, f"{i}: {kind}, {steps} steps, eta {eta}, {describe(scheduler)}",
                        scheduler, steps, eta, kind, reference, seed=rng.randrange(2 ** 31))


# ---------------------------------------------------------------- solvers

SPACINGS = ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
SOLVERS = list(SCHEDULER_KINDS)[3:]
if importlib.util.find_spec("scipy") is None:
    SPACINGS.remove("use_beta_sigmas")
    SOLVERS.remove("LMSDiscreteScheduler")


def random_solver(rng):
    """A scheduler that is neither DDPM nor DDIM, and a number of steps at which its timesteps are in range."""
    while True:
        scheduler, steps = solver_and_steps(rng)
        scheduler.set_timesteps(steps)
        train = scheduler.config.num_train_timesteps
        if scheduler.config.timestep_spacing == "trailing" and len(np.arange(train, 0, -train / steps)) != steps:
            continue        # numpy makes a step too many, which sets the range of other spacings
        if scheduler.timesteps.min() >= 0 and scheduler.timesteps.max() < train:
            return scheduler, steps


def solver_and_steps(rng):
    kind = rng.choice(SOLVERS)
    cls = getattr(diffusers, kind)
    own = inspect.signature(cls.__init__).parameters
    train = rng.choice([1000, 1000, 1000, rng.randint(100, 2000)])
    config = dict(
        num_train_timesteps=train, timestep_spacing=rng.choice(["leading", "trailing", "linspace"]),
        prediction_type=rng.choice(["epsilon", "epsilon", "v_prediction", "sample"]),
        steps_offset=rng.choice([0, 0, 1]),
        beta_schedule=rng.choice(["linear", "scaled_linear", "scaled_linear", "squaredcos_cap_v2"]),
        beta_start=rng.choice([1e-4, 0.00085, 0.0015]), beta_end=rng.choice([0.02, 0.012, 0.0195]),
        thresholding=rng.random() < 0.1, sample_max_value=rng.choice([1.0, 1.5]), clip_sample=rng.random() < 0.3,
        solver_order=rng.choice([1, 2, 2, 3]), lower_order_final=rng.random() < 0.8, euler_at_final=rng.random() < 0.2,
        final_sigmas_type=rng.choice(["zero", "zero", "sigma_min"]), set_alpha_to_one=rng.random() < 0.5,
        skip_prk_steps=rng.random() < 0.5, interpolation_type=rng.choice(["linear", "linear", "log_linear"]),
        original_inference_steps=rng.choice([50, 50, 80]), predict_x0=rng.random() < 0.8,
        disable_corrector=rng.choice([[], [], [0, 2]]))
    if rng.random() < 0.1:
        config["trained_betas"] = [rng.uniform(1e-4, 10 / train) for _ in range(train)]
    if rng.random() < 0.4:
        config[rng.choice(SPACINGS)] = True
    if rng.random() < 0.15 and "rescale_betas_zero_snr" in own:
        config.update(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    if kind == "DPMSolverMultistepScheduler":
        config["algorithm_type"] = rng.choice(["dpmsolver++", "dpmsolver++", "sde-dpmsolver++", "dpmsolver",
                                               "sde-dpmsolver"])
        config["solver_type"] = rng.choice(["midpoint", "heun"])
        if config["algorithm_type"] in ("dpmsolver", "sde-dpmsolver"):
            config["final_sigmas_type"] = "sigma_min"
        if config["algorithm_type"] == "sde-dpmsolver":
            config["solver_order"] = rng.choice([1, 2])
    elif kind == "UniPCMultistepScheduler":
        config["solver_type"] = rng.choice(["bh1", "bh2"])
        if config["solver_type"] == "bh1" or not (config["predict_x0"] and config["lower_order_final"]):
            config["final_sigmas_type"] = "sigma_min"     # at zero diffusers divides infinities
    if kind in ("PNDMScheduler", "EulerAncestralDiscreteScheduler") and config["prediction_type"] == "sample":
        config["prediction_type"] = "epsilon"
    return cls(**{k: v for k, v in config.items() if k in own}), rng.randint(4, 50)


def solver_trajectory(scheduler, ours, steps, seed):
    """The largest distance of samples and predicted originals over all steps of a run; timesteps that differ by more
    than rounding count too."""
    torch.manual_seed(seed)
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    if ours.info.steps != len(scheduler.timesteps):
        return float("inf")
    shape = (2, 3, random.Random(seed).randint(1, 8), 6)
    generator, noises = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    options = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    start = torch.randn(shape)
    x, mine = start * scheduler.init_noise_sigma, start * ours.info.init_noise_sigma
    scale = 0.5 if scheduler.config.prediction_type == "sample" else 0.9
    # numpy's logarithms are not rounded correctly, and some classes cut timesteps off to whole numbers.
    slack = 0.05 if scheduler.timesteps.is_floating_point() else 1
    slack = slack if any(scheduler.config.get(s) for s in SPACINGS) else 1e-3
    worst = 0.0
    for i, t in enumerate(scheduler.timesteps):
        step = ours.step_info(i)
        scaled = scheduler.scale_model_input(x, t)
        worst = max(worst, relative_error(mine * step.input_scale, scaled), relative_error(mine, x))
        if abs(step.timestep - float(t)) > slack:
            return float("inf")
        prediction = scale * torch.randn(shape)
        theirs = scheduler.step(prediction, t, x, **options)
        noise = torch.randn(shape, generator=noises) if step.needs_noise else None
        mine, x0 = ours.step(i, mine, prediction, noise)
        original = theirs.get("pred_original_sample", theirs.get("denoised"))
        if original is not None:
            worst = max(worst, relative_error(x0, original))
        x = theirs.prev_sample
        if not x.isfinite().all():      # the last step of some runs divides zero by zero in diffusers
            return worst
    return max(worst, relative_error(mine, x))


def check_solvers(library, report, rng, count=150):
    """Random configurations, as the model's own scheduler and as options on another's."""
    unet = UNet2DModel(sample_size=8, in_channels=3, out_channels=3, block_out_channels=(4,), layers_per_block=1,
                       norm_num_groups=1, add_attention=False, down_block_types=("DownBlock2D",),
                       up_block_types=("UpBlock2D",))
    for i in range(count):
        scheduler, steps = random_solver(rng)
        kind = type(scheduler).__name__
        own = rng.random() < 0.5
        options = None
        if not own:
            options = {k: v for k, v in scheduler.config.items() if not k.startswith("_")}
        with tempfile.TemporaryDirectory() as folder:
            DDPMPipeline(unet=unet, scheduler=scheduler if own else DDPMScheduler()).save_pretrained(folder)
            with library.open(folder) as model:
                name = f"{i}: {'own' if own else 'options'}, {steps} steps, {describe(scheduler)}"
                try:
                    ours = model.scheduler("default" if own else kind, steps, options=options)
                except RuntimeError as error:
                    # A run that diffusers cannot do either, or that makes a number that is not finite there.
                    report.add("solver", f"{name}: {error}", 0 if not finite_run(scheduler, steps) else float("inf"),
                               SOLVER_BOUND)
                    continue
                with ours:
                    report.add("solver", name, solver_trajectory(scheduler, ours, steps, rng.randrange(2 ** 31)),
                               solver_bound(scheduler.config))


def solver_bound(config):
    third = config.get("solver_order") == 3
    if config["beta_schedule"] == "squaredcos_cap_v2" or config.get("rescale_betas_zero_snr") or (
            third and config.get("use_beta_sigmas")):
        return ILL_CONDITIONED_BOUND
    return THIRD_ORDER_BOUND if third else SOLVER_BOUND


def finite_run(scheduler, steps):
    """Whether diffusers gets through a run with finite numbers."""
    try:
        scheduler.set_timesteps(steps)
        x = torch.randn(1, 1, 2, 2) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(torch.randn(x.shape), t, scheduler.scale_model_input(x, t) * 0 + x).prev_sample
        return bool(x.isfinite().all())
    except (IndexError, ValueError, ZeroDivisionError):
        return False


# ---------------------------------------------------------------- runs that begin later

def random_begun_run(rng, seed):
    """A case of make_begun.py, its tensors, and what it is; None if diffusers makes no finite run of it."""
    from make_begun import begun_run, leaving
    scheduler, steps = random_solver(rng) if rng.random() < 0.8 else random_scheduler(rng)
    if scheduler.config.get("variance_type") in ("learned", "learned_range"):
        return None
    if scheduler.config.get("skip_prk_steps") is False:     # Runge-Kutta steps cannot be left out
        scheduler = type(scheduler).from_config(scheduler.config, skip_prk_steps=True)
    strength = rng.choice([rng.uniform(1 / steps, 1), rng.uniform(1 / steps, 1), leaving(1, steps), leaving(2, steps)])
    eta = rng.choice([0.0, 0.5]) if isinstance(scheduler, DDIMScheduler) else 0.0
    distilled = type(scheduler).__name__ == "LCMScheduler" and rng.random() < 0.5
    try:
        case, tensors = begun_run(scheduler, steps, strength, eta, seed, distilled, [2, 3, rng.randint(1, 8), 6])
    except (IndexError, ValueError, ZeroDivisionError):
        return None
    name = f"{steps} steps, strength {strength:.3f}{' of the distilled' if distilled else ''}, {describe(scheduler)}"
    return (case, tensors, name) if all(t.isfinite().all() for t in tensors.values()) else None


def check_begun(library, report, rng, count=150):
    """Runs of all schedulers from an image with noise at a later step. The C ABI has none yet, so the Swift tests do
    them."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    sys.path.append(os.path.join(root, "Tests", "Fixtures"))
    from make_fixtures import write
    runs = []
    while len(runs) < count:
        run = random_begun_run(rng, rng.randrange(2 ** 31))
        if run is not None:
            runs.append(run)
    with tempfile.TemporaryDirectory() as folder:
        for i, (case, _, _) in enumerate(runs):
            case["name"] = str(i)
        write(folder, "begun", {f"{i}{suffix}": t for i, (_, tensors, _) in enumerate(runs)
                                for suffix, t in tensors.items()}, [case for case, _, _ in runs])
        command = ["swift", "test", "-c", "release", "-Xswiftc", "-enable-testing", "--filter", "randomRuns"]
        output = subprocess.run(command, cwd=root, env={**os.environ, "MCM_PARITY": folder}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    results = {line.split()[1]: line.split(maxsplit=3)[2:] for line in output.splitlines() if line.startswith("run ")}
    if not results:
        print(output)
    for i, (case, _, name) in enumerate(runs):
        word, rest = results.get(str(i), ("refused", "no result"))
        report.add("begun", f"{i}: {name}{'' if word == 'error' else ': ' + rest}",
                   float(rest) if word == "error" else float("inf"), solver_bound(case["config"]))


# ---------------------------------------------------------------- pipelines

def random_pipeline_run(rng, models, seed):
    """A case of make_latent.py, its samples and its images; None if diffusers makes no run of it."""
    from make_latent import BAD, CAT, LONG, SEA, latent_case
    model = rng.choice([name for name in models if name != "ldm"])
    own = models[model]["model_index.json"]["_class_name"]
    family = own.removesuffix("Pipeline").removesuffix("Img2Img").removesuffix("Inpaint")
    tasks = {"inpainting": ["Inpaint"], "xl-inpainting": ["Inpaint"], "refiner": ["Img2Img", "Inpaint"],
             "lcm": ["", "Img2Img"]}.get(model, ["", "Img2Img", "Inpaint"])
    task, images = rng.choice(tasks), rng.choice([1, 1, 2])
    prompts = [rng.choice([CAT, SEA, LONG, ""]) for _ in range(images)]
    extra = {"prompts": prompts, "batch": rng.choice([images, 2]), "steps": rng.randint(4, 8),
             "guidance": rng.choice([None, 1.0, 3.0, 7.5]), "height": 8 * rng.randint(2, 4),
             "width": 8 * rng.randint(2, 4)}
    if model != "lcm":
        extra["scheduler"] = rng.choice([None] + [s for s in SOLVERS if s != "LCMScheduler"])
        extra["options"] = {"clip_sample": False} if extra["scheduler"] == "HeunDiscreteScheduler" else {}
        if extra["scheduler"] == "PNDMScheduler":
            extra["options"] = {"skip_prk_steps": True}
        extra["negatives"] = rng.choice([None, [BAD] * images])
        extra["clip_skip"] = rng.choice([0, 0, 1])
        extra["rescale"] = rng.choice([0.0, 0.7]) if not task and "XL" not in family else 0.0
    if task:
        extra |= {"image": rng.randrange(2 ** 31), "strength": rng.choice([1.0, round(rng.uniform(0.3, 1), 3)]),
                  "images": rng.choice([1, extra["batch"]])}
    if task == "Inpaint":
        extra["mask"] = rng.randrange(2 ** 31)
    # See README.md of the fixtures: in inpainting, an image for several generators is drawn from the first alone.
    if extra["batch"] == 2 and rng.random() < 0.5 and (task != "Inpaint" or extra["images"] == 2):
        extra["seeds"] = [rng.randrange(2 ** 63) for _ in range(2)]
    kind = f"{family}{task}Pipeline"
    if kind != own and extra["guidance"] is None:       # a session's default is that of the folder's class
        extra["guidance"] = 5.0
    try:
        case, samples, pictures = latent_case(models, "", model, kind, extra, seed)
    except ValueError:      # no step is left
        return None
    return (case, samples, pictures) if samples.isfinite().all() else None


def check_pipelines(library, report, rng, count=40):
    """Runs of diffusers' pipelines on small random models. Done by the Swift tests."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    sys.path.append(os.path.join(root, "Tests", "Fixtures"))
    from make_fixtures import write
    from make_latent import MODELS, model_files, quietly
    quietly()
    torch.set_num_threads(1)    # networks this small are slower on more
    models, runs = {name: model_files(name) for name in MODELS}, []
    while len(runs) < count:
        run = random_pipeline_run(rng, models, rng.randrange(2 ** 31))
        if run is not None:
            run[0]["name"] = str(len(runs))
            runs.append(run)
    with tempfile.TemporaryDirectory() as folder:
        tensors = {case["name"]: samples for case, samples, _ in runs}
        tensors |= {f"{case['name']}.images": pictures for case, _, pictures in runs}
        write(folder, "latent", tensors, [case for case, _, _ in runs])
        command = ["swift", "test", "-c", "release", "-Xswiftc", "-enable-testing", "--filter", "randomPipelines"]
        output = subprocess.run(command, cwd=root, env={**os.environ, "MCM_PARITY": folder}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    results = {line.split()[1]: line.split()[2:] for line in output.splitlines() if line.startswith("pipeline ")}
    if not results:
        print(output)
    for case, _, _ in runs:
        error, worst = map(float, results.get(case["name"], ("inf", "inf")))
        name = (f"{case['name']}: {case['model']}, {case['pipeline']}, {case['scheduler']}, {case['steps']} steps, "
                f"strength {case['strength']}, guidance {case['guidance']}, {case['batch']} images")
        report.add("pipelines", name, error, PIPELINE_BOUND)
        report.add("pipelines", f"{case['name']}: largest pixel difference", worst, PIXEL_BOUND)


# ---------------------------------------------------------------- end to end

def check_end_to_end(library, report, rng, folder, batch=2):
    """The same images as diffusers' pipelines for the same seeds."""
    with library.open(folder) as model:
        for cls, steps, eta, per_image in ((DDPMPipeline, 100, 0.0, False), (DDPMPipeline, 20, 0.0, True),
                                           (DDIMPipeline, 50, 0.0, False), (DDIMPipeline, 20, 1.0, True)):
            seeds = [rng.randrange(2 ** 63) for _ in range(batch if per_image else 1)]
            generators = [torch.Generator().manual_seed(s) for s in seeds]
            loaded = cls.from_pretrained(folder)
            loaded.scheduler = (DDPMScheduler if cls is DDPMPipeline else DDIMScheduler).from_config(
                loaded.scheduler.config)
            loaded.set_progress_bar_config(disable=True)
            options = {"eta": eta} if cls is DDIMPipeline else {}
            images = loaded(batch_size=batch, generator=generators if per_image else generators[0],
                            num_inference_steps=steps, output_type="np", **options).images
            ref = (images * 255).round().astype(np.uint8)
            out = model.generate(seeds, batch, type(loaded.scheduler).__name__, steps, eta)
            worst = int(np.abs(out.astype(int) - ref.reshape(out.shape).astype(int)).max())
            name = f"{cls.__name__}, {steps} steps, eta {eta}, {len(seeds)} seeds: largest pixel difference"
            report.add("end-to-end", name, worst, PIXEL_BOUND)


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    checks = {"randn": check_randn, "unets": check_unets, "schedulers": check_schedulers, "solvers": check_solvers,
              "begun": check_begun, "pipelines": check_pipelines, "end-to-end": check_end_to_end}
    parser = argparse.ArgumentParser(description="Compare libmcm with diffusers through the C ABI.")
    parser.add_argument("checks", nargs="*", help=f"which ones (default: all): {', '.join(checks)}")
    parser.add_argument("--library", required=True, help="path of libmcm.so")
    parser.add_argument("--model", default=os.path.join(root, "examples", "fashion", "base"),
                        help="model folder for the end-to-end runs")
    parser.add_argument("--seed", type=int, default=0, help="of the random configurations")
    parser.add_argument("--count", type=int, help="random configurations per check")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    library, report = Library(arguments.library), Report()
    for name in arguments.checks or checks:
        rng = random.Random(f"{arguments.seed} {name}")
        if name == "end-to-end":
            check_end_to_end(library, report, rng, arguments.model)
        elif arguments.count:
            checks[name](library, report, rng, arguments.count)
        else:
            checks[name](library, report, rng)
    sys.exit(0 if report.finish() else 1)


if __name__ == "__main__":
    main()
