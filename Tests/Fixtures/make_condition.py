#!/usr/bin/env python3
"""Write the golden fixtures of networks that read a text: what diffusers and transformers compute.

    python make_condition.py [--out FOLDER] [unet2d_condition clip_text]

Needs transformers beside what make_fixtures.py needs.  README.md states the rules.
"""
import argparse
import os

import torch
import transformers
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from make_fixtures import golden_parameter, golden_weights, public_config, randn, write

# ---------------------------------------------------------------- UNet2DConditionModel

CROSS, UP_CROSS = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"


def blocks(down, up):
    return dict(down_block_types=down, up_block_types=up)


SMALL = dict(block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=24, attention_head_dim=4,
             norm_num_groups=8, **blocks((CROSS, "DownBlock2D"), ("UpBlock2D", UP_CROSS)))
TWO_CROSS = blocks((CROSS, CROSS), (UP_CROSS, UP_CROSS))
SDXL = dict(block_out_channels=(32, 64, 64), layers_per_block=2, cross_attention_dim=40, attention_head_dim=(2, 4, 8),
            norm_num_groups=8, use_linear_projection=True, transformer_layers_per_block=(1, 2, 3),
            addition_embed_type="text_time", addition_time_embed_dim=16, projection_class_embeddings_input_dim=120,
            **blocks(("DownBlock2D", CROSS, CROSS), (UP_CROSS, UP_CROSS, "UpBlock2D")))
SSD = dict(SDXL, transformer_layers_per_block=[[1, 1], [2, 2], [1, 3]], mid_block_type="UNetMidBlock2D",
           reverse_transformer_layers_per_block=[[2, 1, 3], [2, 1, 1], 1])

# name: (batch, height, width, extra case entries, network arguments)
UNETS = {
    # public checkpoints, scaled down
    "sd15": (2, 16, 16, {"tokens": 77}, dict(
        block_out_channels=(32, 64, 96, 96), layers_per_block=2, cross_attention_dim=48, attention_head_dim=8)),
    "sd15_inpaint": (1, 8, 8, {}, dict(SMALL, in_channels=9)),
    "sd21": (1, 16, 8, {}, dict(
        block_out_channels=(32, 64, 64, 64), layers_per_block=1, cross_attention_dim=64,
        attention_head_dim=(2, 4, 4, 8), use_linear_projection=True, upcast_attention=True)),
    "sdxl": (2, 8, 12, {"text_embeds": 24}, SDXL),
    "ssd1b": (1, 8, 8, {"text_embeds": 24}, SSD),
    "lcm": (2, 8, 8, {"timestep_cond": True}, dict(SMALL, time_cond_proj_dim=20)),
    "lcm_without_condition": (2, 8, 8, {}, dict(SMALL, time_cond_proj_dim=20)),
    "unclip": (2, 8, 8, {"class_inputs": 18}, dict(
        SMALL, class_embed_type="projection", projection_class_embeddings_input_dim=18)),
    "instruct_pix2pix": (1, 8, 8, {}, dict(SMALL, in_channels=8)),
    "controlnet": (2, 8, 12, {"control": True}, dict(SMALL, **TWO_CROSS)),
    "unclip_small": (1, 8, 8, {"class_inputs": 12}, dict(
        SMALL, class_embed_type="simple_projection", projection_class_embeddings_input_dim=12)),
    # sizes that do not halve evenly
    "odd_size": (2, 13, 10, {}, dict(SMALL, **TWO_CROSS)),
    "odd_levels": (1, 9, 15, {}, dict(
        SMALL, block_out_channels=(32, 32, 64), **blocks((CROSS, CROSS, CROSS), (UP_CROSS, UP_CROSS, UP_CROSS)))),
    "odd_padding_0": (1, 11, 7, {}, dict(SMALL, downsample_padding=0, **TWO_CROSS)),
    "one_level": (1, 5, 3, {}, dict(SMALL, block_out_channels=(32,), **blocks((CROSS,), (UP_CROSS,)))),
    # texts
    "one_token": (1, 8, 8, {"tokens": 1}, SMALL),
    "300_tokens": (1, 8, 8, {"tokens": 300}, SMALL),
    "text_projection": (1, 8, 8, {"text_channels": 20}, dict(SMALL, encoder_hid_dim=20)),
    # transformers
    "only_cross_attention": (2, 8, 8, {}, dict(SMALL, only_cross_attention=True)),
    "only_cross_attention_list": (1, 8, 8, {}, dict(SMALL, only_cross_attention=(True, False), **TWO_CROSS)),
    "uneven_heads": (1, 8, 8, {}, dict(SMALL, attention_head_dim=5)),
    "uneven_heads_linear": (1, 8, 8, {}, dict(SMALL, attention_head_dim=5, use_linear_projection=True)),
    "one_head": (1, 8, 8, {}, dict(SMALL, attention_head_dim=1)),
    "cross_attention_dims": (1, 8, 8, {}, dict(SMALL, cross_attention_dim=(24, 24), **TWO_CROSS)),
    "transformer_layers": (1, 8, 8, {}, dict(SMALL, transformer_layers_per_block=3)),
    # time and class embeddings
    "class_labels": (2, 8, 8, {"class_labels": [9, 0]}, dict(SMALL, num_class_embeds=10)),
    "class_timestep": (2, 8, 8, {"class_labels": [12, 900]}, dict(SMALL, class_embed_type="timestep", act_fn="gelu")),
    "class_identity": (1, 8, 8, {"class_inputs": 128}, dict(SMALL, class_embed_type="identity")),
    "time_options": (2, 8, 8, {"timesteps": [0.25, 731.5]}, dict(
        SMALL, flip_sin_to_cos=False, freq_shift=1, time_embedding_dim=96)),
    # blocks
    "scale_shift": (1, 8, 8, {}, dict(SMALL, resnet_time_scale_shift="scale_shift")),
    "attention_blocks": (1, 8, 8, {}, dict(
        SMALL, attention_head_dim=(8, 16), **blocks(("AttnDownBlock2D", CROSS), (UP_CROSS, "AttnUpBlock2D")))),
    "resnet_blocks": (1, 8, 8, {}, dict(
        SMALL, **blocks(("ResnetDownsampleBlock2D", CROSS), (UP_CROSS, "ResnetUpsampleBlock2D")))),
    "layers_list": (1, 8, 8, {}, dict(SMALL, layers_per_block=(1, 2), **TWO_CROSS)),
    "mid_none": (1, 8, 8, {}, dict(SMALL, mid_block_type=None)),
    "mid_plain": (1, 8, 8, {}, dict(SMALL, mid_block_type="UNetMidBlock2D")),
    "mid_scale_factor": (1, 8, 8, {}, dict(SMALL, mid_block_scale_factor=2.0)),
    "act_mish": (1, 8, 8, {}, dict(SMALL, act_fn="mish")),
    "act_relu": (1, 8, 8, {}, dict(SMALL, act_fn="relu")),
    "center_input": (1, 8, 8, {}, dict(SMALL, center_input_sample=True)),
    "kernels": (1, 8, 8, {}, dict(SMALL, conv_in_kernel=1, conv_out_kernel=5)),
    "downsample_padding_0": (1, 12, 8, {}, dict(SMALL, downsample_padding=0)),
}


def run_unet(model, case):
    n, h, w, seed, dtype = case["batch"], case["height"], case["width"], case["seed"], model.dtype
    x = randn((n, model.config.in_channels, h, w), seed).to(dtype)
    text = randn((n, case["tokens"], case["text_channels"]), seed + 1000).to(dtype)
    inputs = {}
    if case["class_labels"] is not None:
        inputs["class_labels"] = torch.tensor(case["class_labels"])
    if case["class_inputs"] is not None:
        inputs["class_labels"] = randn((n, case["class_inputs"]), seed + 2000).to(dtype)
    if case["timestep_cond"]:
        inputs["timestep_cond"] = randn((n, model.config.time_cond_proj_dim), seed + 3000).to(dtype)
    if case["text_embeds"] is not None:
        ids = torch.tensor([[1024, 768, 0, 16 * i, 512, 512] for i in range(n)])
        inputs["added_cond_kwargs"] = {"text_embeds": randn((n, case["text_embeds"]), seed + 4000).to(dtype),
                                       "time_ids": ids}
    if case["control"]:
        skips, middle = [], []
        hooks = [model.conv_in.register_forward_hook(lambda _, i, out: skips.append(out))]
        hooks += [b.register_forward_hook(lambda _, i, out: skips.extend(out[1])) for b in model.down_blocks]
        hooks.append(model.mid_block.register_forward_hook(lambda _, i, out: middle.append(out)))
        with torch.no_grad():
            model(x, torch.tensor(case["timesteps"]), text)
        for hook in hooks:
            hook.remove()
        case["control_shapes"] = [list(t.shape) for t in skips + middle]
        residuals = [randn(s, seed + 5000 + i).to(dtype) for i, s in enumerate(case["control_shapes"])]
        inputs["down_block_additional_residuals"] = residuals[:-1]
        inputs["mid_block_additional_residual"] = residuals[-1]
    with torch.no_grad():
        return model(x, torch.tensor(case["timesteps"]), text, **inputs).sample


def unet2d_condition():
    tensors, cases = {}, []
    for number, (name, (batch, height, width, extra, arguments)) in enumerate(UNETS.items()):
        model = golden_weights(UNet2DConditionModel(**arguments))
        case = {"name": name, "config": {k: v for k, v in public_config(model.config).items()}, "batch": batch,
                "height": height, "width": width, "timesteps": [7, 981][:batch], "tokens": 9,
                "text_channels": arguments["cross_attention_dim"], "class_labels": None, "class_inputs": None,
                "timestep_cond": False, "text_embeds": None, "control": False, "seed": 100 + number, **extra}
        if not isinstance(case["text_channels"], int):
            case["text_channels"] = case["text_channels"][0]
        tensors[name] = run_unet(model, case)
        model.double()
        for projection in [model.time_proj] + ([model.add_time_proj] if hasattr(model, "add_time_proj") else []):
            projection.register_forward_hook(lambda _, inputs, result: result.double())
        exact = run_unet(model, case)
        case["reference_error"] = float((tensors[name] - exact).norm() / exact.norm())
        cases.append(case)
        parameters = sum(p.numel() for p in model.parameters())
        print(f"  {name:28s} {parameters:9d} parameters, rms {float(exact.square().mean().sqrt()):8.4f}, "
              f"float32 against float64 {case['reference_error']:.1e}")
        assert tensors[name].isfinite().all(), name
    return tensors, cases


# ---------------------------------------------------------------- CLIPTextModel

TEXT = dict(vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
            max_position_embeddings=77, projection_dim=24, bos_token_id=97, eos_token_id=98, pad_token_id=1)

# name: (texts, length, whether there is a projection, arguments)
TEXTS = {
    "clip_l": (2, 77, False, TEXT),
    "clip_g": (1, 77, True, dict(TEXT, hidden_act="gelu", num_hidden_layers=4, hidden_size=40, num_attention_heads=5)),
    "legacy_eos": (3, 20, False, dict(TEXT, eos_token_id=2)),
    "legacy_eos_projection": (2, 20, True, dict(TEXT, eos_token_id=2)),
    "no_eos": (2, 5, True, dict(TEXT, eos_token_id=50)),
    "one_token": (2, 1, True, TEXT),
    "gelu_new": (2, 9, False, dict(TEXT, hidden_act="gelu_new")),
    "long": (1, 290, True, dict(TEXT, max_position_embeddings=512)),
    "one_layer": (2, 30, False, dict(TEXT, num_hidden_layers=1, layer_norm_eps=1e-3, hidden_act="silu")),
    "one_head": (1, 50, True, dict(TEXT, num_attention_heads=1)),
}


def clip_text():
    tensors, cases = {}, []
    for number, (name, (n, length, has_projection, arguments)) in enumerate(TEXTS.items()):
        model = (CLIPTextModelWithProjection if has_projection else CLIPTextModel)(CLIPTextConfig(**arguments))
        state = {}
        for key, value in model.state_dict().items():
            # Names as transformers 4 writes them.
            old = key if has_projection else "text_model." + key
            state[key] = golden_parameter(old, value.shape)
        model.load_state_dict(state)
        model.eval()
        ids = torch.randint(3, 97, (n, length), generator=torch.Generator().manual_seed(number))
        if name != "no_eos":
            for i in range(n):
                # The end, in another place in each text; padding as CLIP's tokenizer pads, or not.
                end = length // (2 + i)
                ids[i, end] = 98
                if i % 2 == 0:
                    ids[i, end:] = 98
        case = {"name": name, "config": arguments, "projection": has_projection, "batch": n,
                "ids": ids.flatten().tolist()}
        with torch.no_grad():
            out = model(ids, output_hidden_states=True)
        final = (model.text_model if has_projection else model).final_layer_norm
        case["skipping"] = list(range(arguments["num_hidden_layers"] + 1)) if name in ("clip_l", "clip_g") else [0]
        with torch.no_grad():
            for skip in case["skipping"]:
                hidden = out.hidden_states[-1 - skip]
                tensors[f"{name}.{skip}"] = out.last_hidden_state if skip == 0 else final(hidden)
                if len(case["skipping"]) > 1:
                    tensors[f"{name}.{skip}.raw"] = hidden.clone()
        if has_projection:
            tensors[f"{name}.embeds"] = out.text_embeds
        else:
            tensors[f"{name}.pooled"] = out.pooler_output
        cases.append(case)
        print(f"  {name:24s} rms {float(out.last_hidden_state.square().mean().sqrt()):.3f}")
        assert all(t.isfinite().all() for t in tensors.values()), name
    return tensors, cases


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("transformers", transformers.__version__)
    for make in (unet2d_condition, clip_text):
        if not arguments.names or make.__name__ in arguments.names:
            write(arguments.out, make.__name__, *make())


if __name__ == "__main__":
    main()
