"""original.safetensors: tiny checkpoints in the layout of the original programs, and the same as diffusers has them.

    python Tests/Fixtures/make_original.py

The names of the original layout are written down here from CompVis' and Stability AI's programs (openaimodel.py,
model.py, open_clip's model.py); diffusers' own conversion is asked whether they are right. Tensors are called
"CASE/original/NAME", "CASE/unet/KEY", "CASE/vae/KEY", "CASE/text0/KEY", "CASE/text1/KEY".
"""
import json
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel, VQModel
from diffusers.loaders import single_file_utils as reference
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
OUTER = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
         "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
         "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}


def unet_name(key, layers):
    """The original name of a key; layers: resnets per down block."""
    module, parameter = key.rsplit(".", 1)
    if module in OUTER:
        return f"{OUTER[module]}.{parameter}"
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
        kind, i, rest = match.groups()
        return f"middle_block.{2 * int(i)}.{resnet(rest)}" if kind == "resnets" else f"middle_block.1.{rest}"
    side, block, kind, i, rest = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", key).groups()
    block, i = int(block), int(i)
    if side == "down":
        row = f"input_blocks.{1 + block * (layers + 1) + (layers if kind == 'downsamplers' else i)}"
        part = {"resnets": f"0.{resnet(rest)}", "attentions": f"1.{rest}", "downsamplers": f"0.op.{parameter}"}
        return f"{row}.{part[kind]}"
    row = block * (layers + 1) + (layers if kind == "upsamplers" else i)
    part = {"resnets": f"0.{resnet(rest)}", "attentions": f"1.{rest}", "upsamplers": f"UP.conv.{parameter}"}
    return f"output_blocks.{row}.{part[kind]}"


def resnet(rest):
    module, parameter = rest.rsplit(".", 1)
    return f"{RESNET.get(module, module)}.{parameter}"


def unet_original(state, layers, heads=None):
    """heads: attention without text, of so many channels each."""
    out = {}
    for key, value in state.items():
        out[unet_name(key, layers)] = value
    attentive = {name.split(".1.")[0] for name in out if name.startswith("output_blocks") and ".1." in name}
    for name in [name for name in out if ".UP." in name]:        # after attention, if there is any
        part = 2 if name.split(".UP.")[0] in attentive else 1
        out[name.replace(".UP.", f".{part}.")] = out.pop(name)
    if heads:
        rows = {name.rsplit(".to_q.", 1)[0] for name in out if ".to_q." in name}
        for row in rows:
            for parameter in ("weight", "bias"):
                parts = [out.pop(f"{row}.{k}.{parameter}") for k in ("to_q", "to_k", "to_v")]
                split = [part.reshape(-1, heads, *part.shape[1:]) for part in parts]
                qkv = torch.stack(split, 1).reshape(-1, *parts[0].shape[1:])
                out[f"{row}.qkv.{parameter}"] = qkv[..., None] if parameter == "weight" else qkv
                out[f"{row}.norm.{parameter}"] = out.pop(f"{row}.group_norm.{parameter}")
                last = out.pop(f"{row}.to_out.0.{parameter}")
                out[f"{row}.proj_out.{parameter}"] = last[..., None] if parameter == "weight" else last
    return out


def vae_original(state, blocks):
    out = {}
    for key, value in state.items():
        name = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
        name = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{blocks - 1 - int(m[1])}", name)
        name = name.replace("down_blocks", "down").replace("resnets", "block").replace("attentions", "attn")
        name = name.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
        for new, old in {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}.items():
            if ".attn" in name and f".{new}." in name:
                name = name.replace(f".{new}.", f".{old}.")
                value = value[..., None, None] if value.ndim == 2 else value
        out[name] = value
    return out


def open_clip_original(state, extra_layer):
    out = {"logit_scale": torch.ones(())}
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc",
             "mlp.fc2": "mlp.c_proj"}
    for key, value in state.items():
        key = key.removeprefix("text_model.")
        if key == "embeddings.token_embedding.weight":
            out["token_embedding.weight"] = value
        elif key == "embeddings.position_embedding.weight":
            out["positional_embedding"] = value
        elif key == "text_projection.weight":
            out["text_projection"] = value.T.contiguous()
        elif key.startswith("final_layer_norm"):
            out[key.replace("final_layer_norm", "ln_final")] = value
        else:
            i, rest = re.fullmatch(r"encoder\.layers\.(\d+)\.(.*)", key).groups()
            module, parameter = rest.rsplit(".", 1)
            if module in names:
                out[f"transformer.resblocks.{i}.{names[module]}.{parameter}"] = value
    layers = 1 + max(int(key.split("layers.")[1].split(".")[0]) for key in state if "layers." in key)
    for i in range(layers):
        prefix = next(key for key in state if key.endswith("layers.0.self_attn.q_proj.weight")).split("layers.")[0]
        for parameter in ("weight", "bias"):
            parts = [state[f"{prefix}layers.{i}.self_attn.{k}_proj.{parameter}"] for k in "qkv"]
            out[f"transformer.resblocks.{i}.attn.in_proj_{parameter}"] = torch.cat(parts)
    if extra_layer:
        last = f"transformer.resblocks.{layers - 1}."
        out |= {name.replace(last, f"transformer.resblocks.{layers}."): value + 1 for name, value in out.items()
                if name.startswith(last)}
    return out


def same(a, b, what):
    assert a.keys() == b.keys(), (what, a.keys() ^ b.keys())
    assert all(torch.equal(a[key], b[key]) for key in a), what


def text(kind, **options):
    config = CLIPTextConfig(vocab_size=20, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
                            num_attention_heads=2, max_position_embeddings=5, projection_dim=6, **options)
    state = {k: v for k, v in kind(config).state_dict().items() if "position_ids" not in k}
    return {k if k.startswith(("text_model.", "text_projection")) else f"text_model.{k}": v for k, v in state.items()}


def randomised(state):
    """Random values; convolutions are cut to (2, 2, ...), since only their names matter."""
    return {key: torch.randn(value[:2, :2].shape if value.ndim == 4 else value.shape) for key, value in state.items()}


def case_tensors(name, prefix_parts, expected):
    """prefix_parts: {prefix: original tensors}; expected: {part: diffusers' tensors}"""
    tensors = {f"{name}/original/{prefix}{key}": value for prefix, part in prefix_parts.items()
               for key, value in part.items()}
    for part, state in expected.items():
        tensors |= {f"{name}/{part}/{key}": value for key, value in state.items()}
    return {key: value.half().contiguous().clone() for key, value in tensors.items()}


SD1 = dict(in_channels=4, out_channels=4, block_out_channels=[320, 640, 1280, 1280], cross_attention_dim=768,
           attention_head_dim=8, down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
           up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3)
REAL = {
    "sd1": SD1,
    "sd1-inpainting": SD1 | dict(in_channels=9),
    "sd2": SD1 | dict(cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True),
    "sdxl": dict(in_channels=4, out_channels=4, block_out_channels=[320, 640, 1280], cross_attention_dim=2048,
                 attention_head_dim=[5, 10, 20], use_linear_projection=True, transformer_layers_per_block=[1, 2, 10],
                 addition_embed_type="text_time", addition_time_embed_dim=256, sample_size=128,
                 projection_class_embeddings_input_dim=2816,
                 down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                 up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]),
    "sdxlRefiner": dict(in_channels=4, out_channels=4, block_out_channels=[384, 768, 1536, 1536],
                        cross_attention_dim=1280, attention_head_dim=[6, 12, 24, 24], use_linear_projection=True,
                        transformer_layers_per_block=[1, 4, 4, 4],      # diffusers' config says 4
                        addition_embed_type="text_time", addition_time_embed_dim=256, sample_size=128,
                        projection_class_embeddings_input_dim=2560,
                        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
                        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]),
    "ldm": dict(in_channels=3, out_channels=3, block_out_channels=[224, 448, 672, 896], attention_head_dim=32,
                down_block_types=["DownBlock2D"] + ["AttnDownBlock2D"] * 3,
                up_block_types=["AttnUpBlock2D"] * 3 + ["UpBlock2D"]),
}
KL = dict(in_channels=3, out_channels=3, latent_channels=4, block_out_channels=[128, 256, 512, 512], layers_per_block=2,
          down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
VQ = dict(in_channels=3, out_channels=3, latent_channels=3, block_out_channels=[128, 256, 512], layers_per_block=2,
          num_vq_embeddings=8192, down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3)
CLIP_L = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
              hidden_act="quick_gelu", vocab_size=49408, max_position_embeddings=77)
CLIP_H = CLIP_L | dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16,
                       hidden_act="gelu")
CLIP_G = CLIP_L | dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
                       hidden_act="gelu", projection_dim=1280)


def real_models():
    """Names and shapes of weights of the real models in the original layout, and diffusers' configs of them."""
    cases = []
    for name, config in REAL.items():
        with torch.device("meta"):
            kind = UNet2DModel if name == "ldm" else UNet2DConditionModel
            unet = kind(**config).state_dict()
            vae = (VQModel if name == "ldm" else AutoencoderKL)(**(VQ if name == "ldm" else KL)).state_dict()
            texts = {"sd1": [CLIP_L], "sd1-inpainting": [CLIP_L], "sd2": [CLIP_H], "sdxl": [CLIP_L, CLIP_G],
                     "sdxlRefiner": [CLIP_G]}.get(name, [])
            states = [meta_text(text) for text in texts]
        prefixes = {"model.diffusion_model.": unet_original(unet, 2, heads=32 if name == "ldm" else None),
                    "first_stage_model.": vae_original(vae, len((VQ if name == "ldm" else KL)["block_out_channels"]))}
        if name == "sd2":
            prefixes["cond_stage_model.model."] = open_clip_original(states[0], True)
        elif name == "sdxl":
            prefixes["conditioner.embedders.0.transformer."] = states[0]
            prefixes["conditioner.embedders.1.model."] = open_clip_original(states[1], False)
        elif name == "sdxlRefiner":
            prefixes["conditioner.embedders.0.model."] = open_clip_original(states[0], False)
        elif states:
            prefixes["cond_stage_model.transformer."] = states[0]
        shapes = {prefix + key: list(value.shape) for prefix, part in prefixes.items() for key, value in part.items()
                  if not key.endswith("bias")}
        scale = {"ldm": 1, "sdxl": 0.13025, "sdxlRefiner": 0.13025}.get(name, 0.18215)
        cases.append({"name": name, "shapes": shapes, "unet": config | {"layers_per_block": 2},
                      "vae": (VQ if name == "ldm" else KL) | {"scaling_factor": scale}, "texts": texts})
    return cases


def meta_text(options):
    kind = CLIPTextModelWithProjection if "projection_dim" in options else CLIPTextModel
    state = {k: v for k, v in kind(CLIPTextConfig(**options)).state_dict().items() if "position_ids" not in k}
    return {k if k.startswith(("text_model.", "text_projection")) else f"text_model.{k}": v for k, v in state.items()}


def main():
    torch.manual_seed(0)
    with open(Path(__file__).parent / "original.json", "w") as f:
        json.dump(real_models(), f, separators=(",", ":"))
    small = dict(block_out_channels=(4, 8), norm_num_groups=2, sample_size=8)
    tensors = {}
    kl = AutoencoderKL(block_out_channels=(4, 8), norm_num_groups=2, layers_per_block=2,
                       down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
    for name, options in {
        "sd1": dict(layers_per_block=2, attention_head_dim=2),
        "sd2": dict(layers_per_block=2, attention_head_dim=(1, 2), use_linear_projection=True),
        "sdxl": dict(layers_per_block=2, attention_head_dim=(1, 2), use_linear_projection=True,
                     transformer_layers_per_block=(1, 2), addition_embed_type="text_time",
                     addition_time_embed_dim=2, projection_class_embeddings_input_dim=18,
                     down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                     up_block_types=("CrossAttnUpBlock2D", "UpBlock2D")),
    }.items():
        types = dict(down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                     up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
        model = UNet2DConditionModel(cross_attention_dim=8, **{**small, **types, **options})
        unet, vae = randomised(model.state_dict()), randomised(kl.state_dict())
        original = {"model.diffusion_model.": unet_original(unet, 2), "first_stage_model.": vae_original(vae, 2)}
        flat = {prefix + key: value for prefix, part in original.items() for key, value in part.items()}
        same(reference.convert_ldm_unet_checkpoint(flat, dict(model.config)), unet, name)
        same(reference.convert_ldm_vae_checkpoint(flat, dict(kl.config)), vae, name)
        expected = {"unet": unet, "vae": vae}
        if name == "sd1":
            expected["text0"] = randomised(text(CLIPTextModel))
            original["cond_stage_model.transformer."] = expected["text0"]
        elif name == "sd2":
            expected["text0"] = randomised(text(CLIPTextModel))
            original["cond_stage_model.model."] = open_clip_original(expected["text0"], True)
        else:
            expected["text0"] = randomised(text(CLIPTextModel))
            expected["text1"] = randomised(text(CLIPTextModelWithProjection))
            original["conditioner.embedders.0.transformer."] = expected["text0"]
            original["conditioner.embedders.1.model."] = open_clip_original(expected["text1"], False)
        original[""] = {"alphas_cumprod": torch.rand(4), "model_ema.decay": torch.ones(())}
        tensors |= case_tensors(name, original, expected)

    ldm = UNet2DModel(sample_size=8, in_channels=3, out_channels=3, block_out_channels=(4, 64), layers_per_block=1,
                      down_block_types=("DownBlock2D", "AttnDownBlock2D"), norm_num_groups=4, attention_head_dim=32,
                      up_block_types=("AttnUpBlock2D", "UpBlock2D"), downsample_type="conv", upsample_type="conv")
    vq = VQModel(block_out_channels=(4, 8), norm_num_groups=2, layers_per_block=1, latent_channels=3,
                 down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"), num_vq_embeddings=5,
                 up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"))
    unet, vae = randomised(ldm.state_dict()), randomised(vq.state_dict())
    original = {"model.diffusion_model.": unet_original(unet, 1, heads=32),
                "first_stage_model.": vae_original(vae, 2) | {"loss.discriminator.main.0.weight": torch.zeros(1)}}
    tensors |= case_tensors("ldm", original, {"unet": unet, "vae": vae})
    cases = [{"name": name} for name in ("sd1", "sd2", "sdxl", "ldm")]
    save_file(tensors, Path(__file__).parent / "original.safetensors", {"cases": json.dumps(cases)})


if __name__ == "__main__":
    main()
