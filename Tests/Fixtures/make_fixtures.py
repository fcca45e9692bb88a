#!/usr/bin/env python3
"""Write the golden fixtures: what diffusers and torch compute, for the tests to compare with.

    python make_fixtures.py [--out FOLDER] [unet2d gradients randn schedulers modulator resize pipelines]

Needs torch, diffusers, numpy and safetensors.  README.md beside this file states the rules that a reader of
the fixtures follows; the constants and functions here are those rules.  Fixtures hold no weights: both sides
draw them from torch's generator, seeded with the CRC-32 of the parameter's name.
"""
import argparse
import json
import os
import zlib

import diffusers
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.models.embeddings import GaussianFourierProjection
from safetensors.torch import save_file
from torch import nn


# ---------------------------------------------------------------- rules shared by all fixtures

def randn(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def golden_parameter(key, shape, is_fourier=False):
    """The value of the parameter `key`; every product and sum is rounded to float32."""
    r = randn(shape, zlib.crc32(key.encode()))
    if len(shape) >= 2:
        return r * float(np.float32(1) / np.sqrt(np.float32(np.prod(shape[1:]))))
    if is_fourier:
        return r
    if key.endswith(".weight"):
        return 1 + 0.1 * r
    return 0.1 * r


def golden_weights(model):
    """Fill `model` by the rule above and return it in evaluation mode."""
    modules = dict(model.named_modules())
    state = {}
    for key, value in model.state_dict().items():
        owner = modules[key.rpartition(".")[0]]
        if value.ndim == 1 and key.endswith(".weight"):
            assert isinstance(owner, (nn.GroupNorm, nn.LayerNorm, GaussianFourierProjection)), key
        state[key] = golden_parameter(key, value.shape, isinstance(owner, GaussianFourierProjection))
    model.load_state_dict(state)
    return model.eval()


def public_config(config):
    return {k: v for k, v in config.items() if not k.startswith("_")}


def write(out, name, tensors, cases):
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    path = os.path.join(out, name + ".safetensors")
    save_file({k: v.float().contiguous() for k, v in tensors.items()}, path,
              metadata={"cases": json.dumps(cases), "versions": json.dumps(versions)})
    print(f"{name}: {len(cases)} cases, {os.path.getsize(path)} bytes")


# ---------------------------------------------------------------- UNet2DModel

def plain(levels, down="DownBlock2D", up="UpBlock2D"):
    """The two block type lists of a network with the same block everywhere."""
    return dict(down_block_types=(down,) * levels, up_block_types=(up,) * levels)


ATTENTION = dict(down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))
ATTENTION_ALL = plain(2, "AttnDownBlock2D", "AttnUpBlock2D")
RESNET = plain(2, "ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
SMALL = dict(block_out_channels=(32, 64), layers_per_block=1, **ATTENTION)
DDPM = dict(layers_per_block=2, attention_head_dim=None, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
            norm_eps=1e-6)
NCSNPP = dict(time_embedding_type="fourier", norm_eps=1e-6, norm_num_groups=None, mid_block_scale_factor=2 ** 0.5)
MODULE = dict(block_out_channels=(32, 32, 64, 128), layers_per_block=2, attention_head_dim=None,
              down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
              up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"))

# name: (batch, height, width, extra case entries, network arguments)
UNETS = {
    # public checkpoints, scaled down
    "ddpm_cifar10": (2, 32, 32, {}, dict(
        DDPM, block_out_channels=(32, 64, 64, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"))),
    "ddpm_celebahq": (1, 64, 64, {}, dict(
        DDPM, block_out_channels=(32, 32, 64, 64, 64, 64),
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4)),
    "ldm_celebahq": (1, 32, 32, {}, dict(
        block_out_channels=(32, 64, 96, 128), attention_head_dim=32,
        down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * 3,
        up_block_types=("AttnUpBlock2D",) * 3 + ("UpBlock2D",))),
    "ncsnpp_celebahq": (1, 64, 64, {"timesteps": [1348.0]}, dict(
        NCSNPP, block_out_channels=(32, 32, 64, 64, 64, 64, 64), layers_per_block=2, attention_head_dim=None,
        down_block_types=("SkipDownBlock2D",) * 4 + ("AttnSkipDownBlock2D",) + ("SkipDownBlock2D",) * 2,
        up_block_types=("SkipUpBlock2D",) * 2 + ("AttnSkipUpBlock2D",) + ("SkipUpBlock2D",) * 4)),
    "ncsnpp_small": (2, 16, 16, {"timesteps": [0.01, 12.5]}, dict(
        NCSNPP, block_out_channels=(32, 64, 64), layers_per_block=1, center_input_sample=True,
        down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipDownBlock2D"),
        up_block_types=("SkipUpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D"))),
    "fashion": (2, 28, 28, {}, dict(
        block_out_channels=(32, 64, 96), layers_per_block=1, in_channels=1, out_channels=1, norm_num_groups=8,
        attention_head_dim=32, down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"))),
    "module": (1, 32, 32, {}, dict(MODULE, in_channels=8, out_channels=6)),
    "module_flags": (2, 16, 24, {}, dict(MODULE, in_channels=10, out_channels=6, layers_per_block=1)),
    "module_fashion": (2, 28, 28, {}, dict(
        block_out_channels=(16, 32), layers_per_block=1, in_channels=14, out_channels=2, norm_num_groups=8,
        attention_head_dim=16, **ATTENTION)),
    # time and class embeddings
    "time_learned": (2, 8, 8, {"timesteps": [3, 49]}, dict(
        SMALL, time_embedding_type="learned", num_train_timesteps=50)),
    "time_learned_class_timestep": (2, 8, 8, {"timesteps": [0, 49], "class_labels": [7, 2]}, dict(
        SMALL, time_embedding_type="learned", num_train_timesteps=50, class_embed_type="timestep")),
    "time_fourier": (2, 8, 8, {"timesteps": [1.5, 80.0]}, dict(SMALL, time_embedding_type="fourier")),
    "time_fourier_class_timestep": (2, 8, 8, {"timesteps": [2, 500], "class_labels": [7, 2]}, dict(
        SMALL, time_embedding_type="fourier", class_embed_type="timestep")),
    "time_fractional": (2, 8, 8, {"timesteps": [0.25, 731.5]}, SMALL),
    "time_zero": (2, 8, 8, {"timesteps": [0, 999]}, SMALL),
    "time_no_flip": (2, 8, 8, {}, dict(SMALL, flip_sin_to_cos=False)),
    "time_freq_shift": (2, 8, 8, {}, dict(SMALL, freq_shift=1)),
    "time_odd_width": (2, 8, 8, {}, dict(SMALL, block_out_channels=(33, 66), norm_num_groups=3, attention_head_dim=11)),
    "time_embedding_dim": (2, 8, 8, {}, dict(SMALL, time_embedding_dim=96)),
    "class_labels": (3, 8, 8, {"class_labels": [9, 0, 4]}, dict(SMALL, num_class_embeds=10)),
    "class_timestep": (2, 8, 8, {"class_labels": [12, 900]}, dict(SMALL, class_embed_type="timestep")),
    "class_identity": (2, 8, 8, {"class_inputs_seed": 77}, dict(SMALL, class_embed_type="identity")),
    # residual blocks
    "scale_shift": (2, 16, 16, {}, dict(SMALL, resnet_time_scale_shift="scale_shift")),
    "scale_shift_attn_norm": (2, 8, 8, {}, dict(SMALL, resnet_time_scale_shift="scale_shift", attn_norm_num_groups=8)),
    "attn_norm_groups": (2, 8, 8, {}, dict(SMALL, attn_norm_num_groups=4)),
    "resnet_blocks": (2, 16, 16, {}, dict(SMALL, **RESNET)),
    "resnet_blocks_scale_shift": (2, 8, 12, {}, dict(
        SMALL, **RESNET, layers_per_block=2, resnet_time_scale_shift="scale_shift")),
    "resample_resnet": (2, 16, 16, {}, dict(
        SMALL, **ATTENTION_ALL, downsample_type="resnet", upsample_type="resnet", attention_head_dim=16)),
    "resample_resnet_scale_shift": (1, 8, 8, {}, dict(
        SMALL, **ATTENTION_ALL, downsample_type="resnet", upsample_type="resnet",
        resnet_time_scale_shift="scale_shift", attention_head_dim=32)),
    "resample_conv": (2, 16, 16, {}, dict(SMALL, **ATTENTION_ALL, attention_head_dim=16)),
    "resample_padding_0": (2, 12, 8, {}, dict(SMALL, **ATTENTION_ALL, downsample_padding=0, attention_head_dim=32)),
    "unet_res_prefix": (1, 8, 8, {}, dict(
        SMALL, down_block_types=("UNetResDownBlock2D", "UNetResAttnDownBlock2D"),
        up_block_types=("UNetResAttnUpBlock2D", "UNetResUpBlock2D"))),
    "mid_none": (2, 8, 8, {}, dict(SMALL, mid_block_type=None)),
    "mid_no_attention": (2, 8, 8, {}, dict(SMALL, add_attention=False)),
    "mid_scale_factor": (2, 8, 8, {}, dict(SMALL, mid_block_scale_factor=2.0)),
    "layers_1_no_attention": (2, 16, 16, {}, dict(
        block_out_channels=(32, 32), layers_per_block=1, add_attention=False, **plain(2))),
    "layers_3": (1, 16, 16, {}, dict(SMALL, layers_per_block=3)),
    "act_swish": (1, 8, 8, {}, dict(SMALL, act_fn="swish")),
    "act_mish": (2, 8, 8, {}, dict(SMALL, act_fn="mish")),
    "act_gelu": (2, 8, 8, {}, dict(SMALL, act_fn="gelu")),
    "act_relu": (2, 8, 8, {}, dict(SMALL, act_fn="relu")),
    "norm_groups": (2, 8, 8, {}, dict(SMALL, block_out_channels=(20, 40), norm_num_groups=5, attention_head_dim=10)),
    "norm_group_1": (2, 8, 8, {}, dict(SMALL, norm_num_groups=1, norm_eps=1e-3)),
    "dropout": (2, 8, 8, {}, dict(SMALL, dropout=0.1)),
    "center_input": (2, 8, 8, {}, dict(SMALL, center_input_sample=True)),
    # attention heads
    "head_dim_none": (2, 8, 8, {}, dict(SMALL, **ATTENTION_ALL, attention_head_dim=None)),
    "head_dim_1": (1, 8, 8, {}, dict(SMALL, attention_head_dim=1)),
    "head_dim_uneven": (2, 8, 8, {}, dict(SMALL, attention_head_dim=24)),
    "attention_1024_tokens": (1, 32, 32, {}, dict(SMALL, **ATTENTION_ALL, attention_head_dim=16)),
    # sizes and channels
    "one_level_odd": (2, 15, 9, {}, dict(
        block_out_channels=(32,), layers_per_block=1, **plain(1, "AttnDownBlock2D", "AttnUpBlock2D"))),
    "one_level_1x1": (2, 1, 1, {}, dict(block_out_channels=(32,), layers_per_block=1, norm_num_groups=4, **plain(1))),
    "two_level_2x2": (2, 2, 2, {}, dict(SMALL, norm_num_groups=4)),
    "non_square": (2, 10, 6, {}, SMALL),
    "wide": (1, 36, 20, {}, dict(block_out_channels=(32, 32, 64), layers_per_block=2, **plain(3))),
    "batch_3": (3, 12, 12, {}, dict(SMALL, block_out_channels=(32, 32, 64), norm_num_groups=16, **plain(3))),
    "channels_1_1": (2, 8, 8, {}, dict(SMALL, in_channels=1, out_channels=1)),
    "channels_4_8": (2, 8, 8, {}, dict(SMALL, in_channels=4, out_channels=8)),
    "channels_2_5": (2, 8, 8, {}, dict(SMALL, in_channels=2, out_channels=5)),
    "falling_channels": (2, 8, 8, {}, dict(SMALL, block_out_channels=(64, 32))),
}


def run_unet(model, case, grad=False):
    """The network's output for one case."""
    n, h, w = case["batch"], case["height"], case["width"]
    x = randn((n, model.config.in_channels, h, w), case["seed"]).to(model.dtype)
    labels = None
    if case["class_labels"] is not None:
        labels = torch.tensor(case["class_labels"])
    if case["class_inputs_seed"] is not None:
        width = model.time_embedding.linear_2.out_features
        labels = randn((n, width), case["class_inputs_seed"]).to(model.dtype)
    with torch.set_grad_enabled(grad):
        return model(x, torch.tensor(case["timesteps"]), class_labels=labels).sample


def unet2d():
    tensors, cases = {}, []
    for number, (name, (batch, height, width, extra, arguments)) in enumerate(UNETS.items()):
        model = golden_weights(UNet2DModel(**arguments))
        case = {"name": name, "config": public_config(model.config), "batch": batch, "height": height,
                "width": width, "timesteps": [7, 981, 444][:batch], "class_labels": None,
                "class_inputs_seed": None, "seed": 100 + number, **extra}
        tensors[name] = run_unet(model, case)
        model.double().time_proj.register_forward_hook(lambda _, inputs, result: result.double())
        exact = run_unet(model, case)
        case["reference_error"] = float((tensors[name] - exact).norm() / exact.norm())
        cases.append(case)
        parameters = sum(p.numel() for p in model.parameters())
        print(f"  {name:28s} {parameters:9d} parameters, rms {float(exact.square().mean().sqrt()):8.4f}, "
              f"float32 against float64 {case['reference_error']:.1e}")
        assert tensors[name].isfinite().all(), name
    return tensors, cases


# ---------------------------------------------------------------- gradients

def gradients():
    """Of sum(r * output) by every parameter of the networks above, in float64, as two numbers each: its 2-norm, and
    its product with normal numbers.  r and those are drawn as parameters are, for the names "loss" and "probe.KEY"."""
    tensors, cases = {}, []
    for case in unet2d()[1]:
        model = golden_weights(UNet2DModel(**case["config"])).double()
        model.time_proj.register_forward_hook(lambda _, inputs, result: result.double())
        out = run_unet(model, case, grad=True)
        (out * randn(out.shape, zlib.crc32(b"loss"))).sum().backward()
        found = {key: p.grad for key, p in sorted(model.named_parameters()) if p.requires_grad}
        tensors[case["name"]] = torch.tensor(
            [[float(g.norm()), float((g * randn(g.shape, zlib.crc32(b"probe." + key.encode()))).sum())]
             for key, g in found.items()])
        cases.append(case)
    return tensors, cases


# ---------------------------------------------------------------- torch.randn

FIRST_SIZES = [1, 2, 3, 7, 15, 16, 17, 31, 32, 100, 784, 1000]
FIRST_SEEDS = [0, 1, 42, 2 ** 32 + 5, 2 ** 63 - 1]
SEQUENCES = [(0, [3, 5, 16, 1, 20, 2]), (7, [1] * 9), (8, [15, 16, 15, 17, 15]), (9, [16, 1, 33, 1, 100]),
             (1234, [784, 784]), (2 ** 32 + 5, [2, 31, 2, 15, 2])]


def randn_draws():
    tensors, cases = {}, []
    runs = [(f"first_{i}_{n}", seed, [n]) for i, seed in enumerate(FIRST_SEEDS) for n in FIRST_SIZES]
    runs += [(f"sequence_{i}", seed, sizes) for i, (seed, sizes) in enumerate(SEQUENCES)]
    for name, seed, sizes in runs:
        generator = torch.Generator().manual_seed(seed)
        tensors[name] = torch.cat([torch.randn(n, generator=generator) for n in sizes])
        cases.append({"name": name, "seed": seed, "sizes": sizes})
    return tensors, cases


# ---------------------------------------------------------------- schedulers

LDM_BETAS = dict(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False)
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
          set_alpha_to_one=False, steps_offset=1)
ZERO_SNR = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")
TRAINED = dict(num_train_timesteps=20, trained_betas=[round(0.001 * (1 + i) ** 1.5, 6) for i in range(20)])
BATCH = {"shape": [2, 3, 4, 6]}

# name: (steps, extra case entries, scheduler arguments)
SCHEDULES = {
    "ddpm": (10, {**BATCH, "alphas": True}, {}),
    "ddpm_25": (25, {}, {}),
    "ddpm_50": (50, {}, {}),
    "ddpm_1000": (1000, {}, {}),
    "ddpm_few_elements": (10, {"shape": [1, 1, 3, 5]}, {}),
    "ddpm_scaled_linear": (10, {"alphas": True}, LDM_BETAS),
    "ddpm_squaredcos": (10, {"alphas": True}, dict(beta_schedule="squaredcos_cap_v2")),
    "ddpm_sigmoid": (10, {"alphas": True}, dict(beta_schedule="sigmoid")),
    "ddpm_trained_betas": (20, {"alphas": True}, TRAINED),
    "ddpm_zero_snr": (10, {"alphas": True}, dict(ZERO_SNR, clip_sample=False)),
    "ddpm_train_400": (30, {}, dict(num_train_timesteps=400)),
    "ddpm_uneven_steps": (7, {}, {}),
    "ddpm_trailing": (10, {}, dict(timestep_spacing="trailing")),
    "ddpm_trailing_uneven": (7, {}, dict(timestep_spacing="trailing")),
    "ddpm_linspace": (10, {}, dict(timestep_spacing="linspace")),
    "ddpm_linspace_uneven": (7, {}, dict(timestep_spacing="linspace")),
    "ddpm_offset": (10, {}, dict(steps_offset=1)),
    "ddpm_no_clip": (10, {}, dict(clip_sample=False)),
    "ddpm_clip_range": (10, {}, dict(clip_sample_range=0.5)),
    "ddpm_threshold": (10, BATCH, dict(thresholding=True, sample_max_value=1.5)),
    "ddpm_threshold_ratio": (10, BATCH, dict(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=20.0)),
    "ddpm_sample": (10, {}, dict(prediction_type="sample")),
    "ddpm_v_prediction": (10, {}, dict(prediction_type="v_prediction")),
    "ddpm_fixed_small_log": (10, {}, dict(variance_type="fixed_small_log")),
    "ddpm_fixed_large": (10, {}, dict(variance_type="fixed_large")),
    "ddpm_learned": (10, BATCH, dict(variance_type="learned")),
    "ddpm_learned_range": (10, BATCH, dict(variance_type="learned_range")),
    "ddim": (10, {**BATCH, "alphas": True}, {}),
    "ddim_25": (25, {}, {}),
    "ddim_50": (50, {}, {}),
    "ddim_1000": (1000, {}, {}),
    "ddim_eta_half": (10, {"eta": 0.5}, {}),
    "ddim_eta_1": (10, {"eta": 1.0}, {}),
    "ddim_few_elements": (10, {"eta": 1.0, "shape": [1, 1, 3, 5]}, {}),
    "ddim_scaled_linear": (10, {"eta": 1.0, "alphas": True}, LDM_BETAS),
    "ddim_squaredcos": (10, {"alphas": True}, dict(beta_schedule="squaredcos_cap_v2")),
    "ddim_trained_betas": (7, {"alphas": True}, TRAINED),
    "ddim_zero_snr": (10, {"eta": 0.5, "alphas": True}, dict(ZERO_SNR, clip_sample=False)),
    "ddim_stable_diffusion": (20, {"eta": 0.5}, SD),
    "ddim_alpha_not_one": (10, {}, dict(set_alpha_to_one=False)),
    "ddim_train_400": (30, {"eta": 0.5}, dict(num_train_timesteps=400)),
    "ddim_uneven_steps": (7, {"eta": 0.5}, {}),
    "ddim_trailing": (10, {"eta": 0.5}, dict(timestep_spacing="trailing")),
    "ddim_trailing_uneven": (7, {}, dict(timestep_spacing="trailing")),
    "ddim_linspace": (10, {"eta": 0.5}, dict(timestep_spacing="linspace")),
    "ddim_linspace_uneven": (7, {}, dict(timestep_spacing="linspace")),
    "ddim_no_clip": (10, {}, dict(clip_sample=False)),
    "ddim_clip_range": (10, {}, dict(clip_sample_range=2.0)),
    "ddim_threshold": (10, {**BATCH, "eta": 0.5}, dict(thresholding=True, sample_max_value=1.5)),
    "ddim_threshold_ratio": (10, BATCH, dict(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=20.0)),
    "ddim_sample": (10, {"eta": 0.5}, dict(prediction_type="sample")),
    "ddim_v_prediction": (10, {"eta": 0.5}, dict(prediction_type="v_prediction")),
    "ddim_use_clipped": (10, {"use_clipped_model_output": True}, {}),
    "ddim_use_clipped_eta": (10, {"use_clipped_model_output": True, "eta": 0.5}, dict(prediction_type="v_prediction")),
}


def model_output(config, shape, step):
    """What stands in for the network's prediction at a step: noise, scaled so that trajectories stay bounded."""
    n, c, h, w = shape
    scale = 0.5 if config["prediction_type"] == "sample" else 0.9
    variance = config.get("variance_type", "fixed_small")
    if variance not in ("learned", "learned_range"):
        return scale * randn(shape, 1000 + step)
    e = randn((n, 2 * c, h, w), 1000 + step)
    out = scale * e
    if variance == "learned":      # this half is a variance, so it must not be negative
        out[:, c:] = 0.1 * e[:, c:] * e[:, c:]
    return out


def run_scheduler(scheduler, case):
    """All previous samples and all predicted originals of one trajectory, two lists of tensors."""
    scheduler.set_timesteps(case["steps"])
    options = {}
    if isinstance(scheduler, DDIMScheduler):
        options = dict(eta=case["eta"], use_clipped_model_output=case["use_clipped_model_output"])
    generator = torch.Generator().manual_seed(case["seed"])
    x = torch.randn(case["shape"], generator=generator)
    samples, originals = [], []
    for i, t in enumerate(scheduler.timesteps):
        step = scheduler.step(model_output(scheduler.config, case["shape"], i), t, x, generator=generator, **options)
        x = step.prev_sample
        samples.append(x)
        originals.append(step.pred_original_sample)
    return samples, originals


def schedulers():
    tensors, cases = {}, []
    for number, (name, (steps, extra, arguments)) in enumerate(SCHEDULES.items()):
        scheduler = (DDIMScheduler if name.startswith("ddim") else DDPMScheduler)(**arguments)
        case = {"name": name, "class": type(scheduler).__name__, "config": public_config(scheduler.config),
                "steps": steps, "eta": 0.0, "use_clipped_model_output": False, "shape": [1, 3, 4, 6],
                "seed": 500 + number, "alphas": False, **extra}
        samples, originals = run_scheduler(scheduler, case)
        last = len(samples) - 1
        case["timesteps"] = scheduler.timesteps.tolist()
        case["stored"] = sorted({*range(0, last + 1, steps // 10 if steps > 30 else 1), last})
        tensors[name] = torch.stack([samples[i] for i in case["stored"]])
        tensors[name + ".x0"] = torch.stack([originals[i] for i in case["stored"]])
        if case["alphas"]:
            tensors[name + ".alphas_cumprod"] = scheduler.alphas_cumprod
        cases.append(case)
        assert all(x.isfinite().all() for x in samples + originals), name
    return tensors, cases


# ---------------------------------------------------------------- modules

def modulate(net, config, x, e, t, conditions):
    """The definition of a conditioning module: e' = e * (scale_offset + g) + v.

    x, e: (N, C, H, W); t: (N,); conditions: {modality name: (N, K, H, W)}, an absent name being 'not given'."""
    n, _, h, w = x.shape
    planes, flags = [], []
    for modality in config["modalities"]:
        y = conditions.get(modality["name"])
        planes.append(torch.zeros(n, modality["channels"], h, w) if y is None else y)
        flags.append(torch.full((n, 1, h, w), float(y is not None)))
    if not config["presence_flags"]:
        flags = []
    with torch.no_grad():
        g, v = net(torch.cat([x, e, *planes, *flags], 1), t).sample.chunk(2, 1)
    return e * (config["scale_offset"] + g) + v


def module_net(config):
    """The module's network; its channel counts follow from the rest of the config."""
    c = config["prediction_channels"]
    inputs = 2 * c + sum(m["channels"] for m in config["modalities"])
    inputs += len(config["modalities"]) if config["presence_flags"] else 0
    return UNet2DModel(**config["net"], in_channels=inputs, out_channels=2 * c)


MODULE_NET = dict(block_out_channels=[16, 32], layers_per_block=1, norm_num_groups=8, attention_head_dim=16,
                  down_block_types=["DownBlock2D", "AttnDownBlock2D"], up_block_types=["AttnUpBlock2D", "UpBlock2D"])
PLAIN_NET = dict(block_out_channels=[32, 32], layers_per_block=1, attention_head_dim=None, sample_size=16,
                 down_block_types=["DownBlock2D", "DownBlock2D"], up_block_types=["UpBlock2D", "UpBlock2D"])
TWO = [{"name": "segmentation", "channels": 10}, {"name": "sketch", "channels": 1}]
ONE = [{"name": "sketch", "channels": 1}]

# (net, prediction channels, modalities, presence flags, scale offset)
MODULES = {
    "flags": (MODULE_NET, 1, TWO, True, 1.0),
    "no_flags": (MODULE_NET, 1, TWO, False, 1.0),
    "offset_0": (MODULE_NET, 1, TWO, True, 0.0),
    "offset_0_no_flags": (PLAIN_NET, 3, TWO, False, 0.0),
    "one_modality": (PLAIN_NET, 3, ONE, True, 1.0),
    "one_modality_no_flags": (PLAIN_NET, 4, ONE, False, 1.0),
}


def modulator():
    tensors, cases = {}, []
    for module, (net, channels, modalities, presence_flags, scale_offset) in MODULES.items():
        config = {"net": net, "prediction_channels": channels, "scale_offset": scale_offset,
                  "presence_flags": presence_flags, "modalities": modalities}
        model = golden_weights(module_net(config))
        names = [m["name"] for m in modalities]
        for given in dict.fromkeys([(), (names[0],), (names[-1],), tuple(names)]):
            name = ".".join([module, *(given or ["none"])])
            seed = 2000 + 10 * len(cases)
            case = {"name": name, "config": config, "batch": 2, "height": 8, "width": 12, "timesteps": [17, 905],
                    "x_seed": seed, "e_seed": seed + 1,
                    "condition_seeds": {m: seed + 2 + names.index(m) for m in given}}
            plane = (case["batch"], channels, case["height"], case["width"])
            conditions = {m["name"]: randn((plane[0], m["channels"], *plane[2:]), case["condition_seeds"][m["name"]])
                          for m in modalities if m["name"] in given}
            tensors[name] = modulate(model, config, randn(plane, case["x_seed"]), randn(plane, case["e_seed"]),
                                     torch.tensor(case["timesteps"]), conditions)
            cases.append(case)
    return tensors, cases


# ---------------------------------------------------------------- resizing

RESIZES = {
    "area": dict(mode="area"),
    "bilinear": dict(mode="bilinear", align_corners=False),
    "bilinear_antialias": dict(mode="bilinear", align_corners=False, antialias=True),
    "nearest": dict(mode="nearest"),
    "nearest_exact": dict(mode="nearest-exact"),
}
SIZES = [((16, 24), (8, 12)), ((28, 28), (7, 7)), ((20, 30), (7, 11)), ((17, 9), (5, 8)), ((33, 40), (12, 40)),
         ((8, 6), (16, 12)), ((7, 5), (16, 13)), ((10, 10), (10, 10)), ((1, 1), (4, 3)), ((5, 12), (11, 4)),
         ((48, 3), (1, 1))]


def resize():
    tensors, cases = {}, []
    for number, (source, target) in enumerate(SIZES):
        for kind in ("noise", "bytes"):
            shape, seed = (1, 2 if kind == "noise" else 1, *source), 3000 + number
            x = randn(shape, seed)
            if kind == "bytes":
                x = (x * 80 + 128).clamp(0, 255).round()
            label = f"{kind}_{source[0]}x{source[1]}_{target[0]}x{target[1]}"
            tensors[label + ".input"] = x
            for mode, arguments in RESIZES.items():
                name = f"{label}.{mode}"
                tensors[name] = F.interpolate(x, size=target, **arguments)
                cases.append({"name": name, "input": label + ".input", "mode": mode, "size": target})
    return tensors, cases


# ---------------------------------------------------------------- whole pipelines on the bundled model

BASE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "fashion", "base")

# name: pipeline, steps, eta, seeds (one: one generator for the batch; several: one each), batch
PIPELINES = {
    "ddpm": (DDPMPipeline, 100, 0.0, [42], 1),
    "ddpm_batch_of_one_generator": (DDPMPipeline, 20, 0.0, [7], 3),
    "ddim": (DDIMPipeline, 50, 0.0, [0], 1),
    "ddim_eta_and_a_generator_each": (DDIMPipeline, 20, 1.0, [3, 2**32 + 9], 2),
}


def pipelines():
    tensors, cases = {}, []
    for name, (kind, steps, eta, seeds, batch) in PIPELINES.items():
        pipeline = kind.from_pretrained(BASE, torch_dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        options = {"eta": eta} if kind is DDIMPipeline else {}
        images = pipeline(batch, generators if len(seeds) > 1 else generators[0], num_inference_steps=steps,
                          output_type="np", **options).images
        tensors[name] = torch.from_numpy((images * 255).round()).float()
        cases.append({"name": name, "scheduler": "ddim" if kind is DDIMPipeline else "ddpm", "steps": steps, "eta": eta,
                      "seeds": seeds, "batch": batch})
    return tensors, cases


FIXTURES = {"unet2d": unet2d, "gradients": gradients, "randn": randn_draws, "schedulers": schedulers,
            "modulator": modulator, "resize": resize, "pipelines": pipelines}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the golden fixtures.")
    parser.add_argument("fixtures", nargs="*", help=f"which ones (default: all): {', '.join(FIXTURES)}")
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)), help="folder to write to")
    arguments = parser.parse_args()
    for name in arguments.fixtures or FIXTURES:
        write(arguments.out, name, *FIXTURES[name]())
