#!/usr/bin/env python3
"""Write the golden fixtures of ControlNets: what diffusers computes.

    python make_controlnet.py [--out FOLDER]

Needs what make_condition.py needs.  README.md states the rules.
"""
import argparse
import os

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel

from make_condition import CROSS, SDXL, SMALL as SMALL_UNET, SSD, TWO_CROSS, UNETS
from make_fixtures import golden_weights, public_config, randn, write


def control(unet, **arguments):
    """A ControlNet for a UNet."""
    unet_only = ("up_block_types", "in_channels", "reverse_transformer_layers_per_block")
    shared = {k: v for k, v in unet.items() if k not in unet_only}
    return {**shared, "conditioning_embedding_out_channels": (8, 16, 24, 32), **arguments}


SD15 = dict(block_out_channels=(32, 64, 64), layers_per_block=2, cross_attention_dim=48, attention_head_dim=8,
            down_block_types=(CROSS, CROSS, "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D",
                                                                            "CrossAttnUpBlock2D"))
SD21 = UNETS["sd21"][-1]
SMALL = control(SMALL_UNET)
POOLED = dict(SMALL, global_pool_conditions=True)
GRAY = dict(SMALL, conditioning_channels=1, conditioning_embedding_out_channels=(12,))

# name: (batch, height, width, extra case entries, ControlNets' arguments, UNet's or None)
CASES = {
    # public checkpoints, scaled down
    "sd15": (2, 8, 8, {"tokens": 77}, [control(SD15, conditioning_embedding_out_channels=(16, 32, 96, 256))], SD15),
    "sd21": (1, 16, 8, {"scales": [0.7]}, [control(SD21)], SD21),
    "sdxl": (2, 4, 8, {"text_embeds": 24}, [control(SDXL)], SDXL),
    "sdxl_small": (1, 4, 8, {"text_embeds": 24}, [control(
        SDXL, down_block_types=("DownBlock2D",) * 3, mid_block_type="UNetMidBlock2D")], SDXL),
    "ssd1b": (1, 4, 8, {"text_embeds": 24}, [control(SSD, mid_block_type="UNetMidBlock2DCrossAttn")], SSD),
    "shuffle": (2, 8, 4, {}, [POOLED], SMALL_UNET),
    # scales
    "scale": (1, 8, 8, {"scales": [0.35]}, [SMALL], SMALL_UNET),
    "guess": (1, 8, 8, {"guess": True}, [SMALL], SMALL_UNET),
    "guess_deep": (1, 4, 8, {"guess": True, "scales": [1.5]}, [control(SD15)], SD15),
    "guess_pooled": (1, 8, 8, {"guess": True}, [POOLED], None),
    # several
    "two": (2, 4, 8, {"scales": [1.0, 0.6]}, [SMALL, GRAY], SMALL_UNET),
    "two_guess": (1, 8, 8, {"scales": [0.8, 0.6], "guess": True}, [SMALL, GRAY], SMALL_UNET),
    "three_pooled": (1, 8, 8, {"scales": [1.0, -0.5, 0.25]}, [GRAY, POOLED, POOLED], SMALL_UNET),
    # images
    "bgr": (1, 8, 8, {}, [dict(SMALL, controlnet_conditioning_channel_order="bgr")], None),
    "five_planes": (2, 4, 8, {}, [dict(
        SMALL, conditioning_channels=5, conditioning_embedding_out_channels=(8, 20, 12))], None),
    "odd_size": (2, 7, 5, {}, [control(dict(SMALL_UNET, **TWO_CROSS))], dict(SMALL_UNET, **TWO_CROSS)),
    # embeddings
    "class_labels": (2, 4, 4, {"class_labels": [9, 0]}, [dict(SMALL, num_class_embeds=10)],
                     dict(SMALL_UNET, num_class_embeds=10)),
    "class_timestep": (2, 4, 4, {"class_labels": [12, 900]}, [dict(SMALL, class_embed_type="timestep", act_fn="gelu")],
                       None),
    "class_identity": (1, 4, 4, {"class_inputs": 128}, [dict(SMALL, class_embed_type="identity")], None),
    "class_projection": (2, 4, 4, {"class_inputs": 18}, [dict(
        SMALL, class_embed_type="projection", projection_class_embeddings_input_dim=18)], None),
    "time_options": (2, 4, 4, {"timesteps": [0.25, 731.5]}, [dict(SMALL, flip_sin_to_cos=False, freq_shift=1)], None),
    # blocks
    "inpaint": (1, 4, 4, {}, [dict(SMALL, in_channels=9)], None),
    "one_level": (1, 5, 3, {}, [dict(SMALL, block_out_channels=(32,), down_block_types=(CROSS,))], None),
    "only_cross_attention": (1, 4, 4, {}, [dict(SMALL, only_cross_attention=True)], None),
    "only_cross_attention_list": (1, 4, 4, {}, [dict(
        SMALL, only_cross_attention=(True, False), down_block_types=(CROSS, CROSS))], None),
    "transformer_layers": (1, 4, 4, {}, [dict(SMALL, transformer_layers_per_block=2)], None),
    "attention_blocks": (1, 4, 4, {}, [dict(SMALL, attention_head_dim=(8, 16),
                                            down_block_types=("AttnDownBlock2D", CROSS))], None),
    "resnet_blocks": (1, 4, 4, {}, [dict(SMALL, down_block_types=("ResnetDownsampleBlock2D", CROSS))], None),
    "mid_plain": (1, 4, 4, {}, [dict(SMALL, mid_block_type="UNetMidBlock2D", mid_block_scale_factor=2.0)], None),
    "scale_shift": (1, 4, 4, {}, [dict(SMALL, resnet_time_scale_shift="scale_shift", act_fn="mish", norm_eps=1e-3)],
                    None),
    "downsample_padding_0": (1, 6, 4, {}, [dict(SMALL, downsample_padding=0)], None),
}


def run(nets, unet, case):
    """All residuals, the middle's last, and the UNet's prediction with them, or None."""
    n, h, w, seed, dtype = case["batch"], case["height"], case["width"], case["seed"], nets[0].dtype
    config = nets[0].config
    inputs = {}
    if case["class_labels"] is not None:
        inputs["class_labels"] = torch.tensor(case["class_labels"])
    if case["class_inputs"] is not None:
        inputs["class_labels"] = randn((n, case["class_inputs"]), seed + 2000).to(dtype)
    if case["text_embeds"] is not None:
        ids = torch.tensor([[1024, 768, 0, 16 * i, 512, 512] for i in range(n)])
        inputs["added_cond_kwargs"] = {"text_embeds": randn((n, case["text_embeds"]), seed + 4000).to(dtype),
                                       "time_ids": ids}
    x = randn((n, config.in_channels, h, w), seed).to(dtype)
    text = randn((n, case["tokens"], case["text_channels"]), seed + 1000).to(dtype)
    t = torch.tensor(case["timesteps"])
    images = []
    for i, net in enumerate(nets):
        scale = 2 ** (len(net.config.conditioning_embedding_out_channels) - 1)
        images.append(randn((n, net.config.conditioning_channels, scale * h, scale * w), seed + 6000 + i).to(dtype))
    with torch.no_grad():
        down, middle = MultiControlNetModel(nets)(
            x, t, text, images, case["scales"], guess_mode=case["guess"], return_dict=False, **inputs)
        sample = None
        if unet is not None:
            sample = unet(x, t, text, down_block_additional_residuals=list(down), mid_block_additional_residual=middle,
                          **inputs).sample
    return [*down, middle], sample


def to_double(model):
    model.double()
    for projection in [model.time_proj] + ([model.add_time_proj] if hasattr(model, "add_time_proj") else []):
        projection.register_forward_hook(lambda _, inputs, result: result.double())


def controlnet():
    tensors, cases = {}, []
    for number, (name, (batch, height, width, extra, arguments, unet_arguments)) in enumerate(CASES.items()):
        nets = [golden_weights(ControlNetModel(**a)) for a in arguments]
        unet = None if unet_arguments is None else golden_weights(UNet2DConditionModel(**unet_arguments))
        case = {"name": name, "configs": [public_config(net.config) for net in nets],
                "unet": None if unet is None else public_config(unet.config), "batch": batch, "height": height,
                "width": width, "timesteps": [7, 981][:batch], "tokens": 9,
                "text_channels": arguments[0]["cross_attention_dim"], "class_labels": None, "class_inputs": None,
                "text_embeds": None, "scales": [1.0] * len(nets), "guess": False, "seed": 200 + number, **extra}
        residuals, sample = run(nets, unet, case)
        for model in nets + ([] if unet is None else [unet]):
            to_double(model)
        exact, exact_sample = run(nets, unet, case)
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(residuals, exact)]
        case["shapes"] = [list(r.shape) for r in residuals]
        case["reference_error"] = max(errors)
        for i, residual in enumerate(residuals):
            tensors[f"{name}.{i}"] = residual
        if sample is not None:
            tensors[name] = sample
            case["reference_error"] = max(errors + [float((sample - exact_sample).norm() / exact_sample.norm())])
        cases.append(case)
        rms = [float(r.square().mean().sqrt()) for r in exact]
        print(f"  {name:28s} {len(rms):2d} residuals, rms {min(rms):.3f} to {max(rms):.3f}, float32 against float64 "
              f"{case['reference_error']:.1e}")
        assert all(r.isfinite().all() for r in residuals), name
    return tensors, cases


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    write(arguments.out, "controlnet", *controlnet())


if __name__ == "__main__":
    main()
