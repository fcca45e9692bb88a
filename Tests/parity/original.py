"""Single files in the layout of the programs by which Stable Diffusion and latent diffusion models were trained."""
import tempfile

import torch
from diffusers import (AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline,
                       UNet2DConditionModel, UNet2DModel, VQModel)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import mcm
from autoencoders import PIXEL_BOUND, is_decided, pixel_error
from random_models import BOUND, randomise
from report import relative_error
from text import SHORT_MERGES, make_tokenizer, random_texts

from make_original import open_clip_original, unet_original, vae_original

# Widths of text encoders, by which a file's family is told, and of their states together.
WIDTHS = {"sd1": [768], "sd2": [1024], "xl": [768, 1280], "refiner": [1280], "ldm": []}
SCALING = {"sd1": 0.18215, "sd2": 0.18215, "xl": 0.13025, "refiner": 0.13025, "ldm": 1.0}


def random_unet(rng, family):
    """What a file does not say is the same in all of a family; so is the size of heads but in Stable Diffusion 1."""
    levels, unit = rng.randint(2, 3), 32 if family in ("sd1", "ldm") else 64
    channels = [unit * rng.randint(1, 2) for _ in range(levels)]
    common = dict(sample_size=8, block_out_channels=channels, layers_per_block=rng.randint(1, 2))
    kind = "Attn" if family == "ldm" else "CrossAttn"
    kinds = [rng.choice(["", kind]) for _ in range(levels)]
    kinds[rng.randrange(2)] = kind      # where a file's family is looked for
    common.update(down_block_types=[f"{name}DownBlock2D" for name in kinds],
                  up_block_types=[f"{name}UpBlock2D" for name in reversed(kinds)])
    if family == "ldm":
        return UNet2DModel(in_channels=3, out_channels=3, attention_head_dim=32, **common)
    if family in ("xl", "refiner"):
        ids = 6 if family == "xl" else 5
        common.update(addition_embed_type="text_time", addition_time_embed_dim=256,
                      projection_class_embeddings_input_dim=1280 + 256 * ids)
    depths = [rng.choice([1, 2]) if name else 1 for name in kinds]
    depths[-1] = rng.choice([1, 2])     # the middle's, too
    return UNet2DConditionModel(
        in_channels=rng.choice([4, 4, 9]), cross_attention_dim=sum(WIDTHS[family]), transformer_layers_per_block=depths,
        attention_head_dim=8 if family == "sd1" else [width // 64 for width in channels],
        use_linear_projection=family != "sd1" or rng.random() < 0.3, **common)


def random_vae(rng, family):
    levels = rng.randint(1, 3)
    common = dict(block_out_channels=[32 * rng.randint(1, 2) for _ in range(levels)],
                  layers_per_block=rng.randint(1, 2), scaling_factor=SCALING[family],
                  down_block_types=["DownEncoderBlock2D"] * levels, up_block_types=["UpDecoderBlock2D"] * levels)
    return VQModel(latent_channels=3, num_vq_embeddings=rng.choice([20, 300]), **common) if family == "ldm" else (
        AutoencoderKL(latent_channels=4, **common))


def random_encoders(rng, family, tokenizer):
    encoders = []
    for width in WIDTHS[family]:
        config = CLIPTextConfig(
            hidden_size=width, num_attention_heads=width // 64, intermediate_size=64,
            num_hidden_layers=rng.randint(2, 3), vocab_size=tokenizer.eos_token_id + 1, bos_token_id=0, eos_token_id=2,
            max_position_embeddings=tokenizer.model_max_length, projection_dim=width,
            hidden_act="quick_gelu" if width == 768 else "gelu")
        encoders.append((CLIPTextModelWithProjection if width == 1280 else CLIPTextModel)(config))
    return encoders


def original_tensors(family, unet, vae, encoders):
    tensors = {"model.diffusion_model.": unet_original(unet.state_dict(), unet.config.layers_per_block,
                                                       heads=32 if family == "ldm" else None),
               "first_stage_model.": vae_original(vae.state_dict(), len(vae.config.block_out_channels))}
    states = [{k if k.startswith(("text_model.", "text_projection")) else f"text_model.{k}": v
               for k, v in encoder.state_dict().items()} for encoder in encoders]
    if family == "sd1":
        tensors["cond_stage_model.transformer."] = states[0]
    elif family == "sd2":
        tensors["cond_stage_model.model."] = open_clip_original(states[0], True)
    elif family == "refiner":
        tensors["conditioner.embedders.0.model."] = open_clip_original(states[0], False)
    elif family == "xl":
        tensors["conditioner.embedders.0.transformer."] = states[0]
        tensors["conditioner.embedders.1.model."] = open_clip_original(states[1], False)
    return {prefix + key: value.contiguous().clone() for prefix, part in tensors.items() for key, value in part.items()}


def encode(family, texts, unet, vae, encoders, tokenizer):
    """diffusers' prompt_embeds and pooled_prompt_embeds."""
    rest = dict(unet=unet, vae=vae, scheduler=DDIMScheduler(steps_offset=1, clip_sample=False))
    if family in ("sd1", "sd2"):
        pipeline = StableDiffusionPipeline(text_encoder=encoders[0], tokenizer=tokenizer, safety_checker=None,
                                           feature_extractor=None, requires_safety_checker=False, **rest)
        return pipeline.encode_prompt(texts, "cpu", 1, False)[0], None
    both = [None, *encoders][-2:]
    pipeline = StableDiffusionXLPipeline(text_encoder=both[0], text_encoder_2=both[1], tokenizer_2=tokenizer,
                                         tokenizer=tokenizer if both[0] is not None else None, **rest)
    states, _, pooled, _ = pipeline.encode_prompt(texts, device="cpu", do_classifier_free_guidance=False)
    return states, pooled


def check_originals(report, rng, count=20):
    """All networks of a file: text encoders, prediction with their texts, autoencoder."""
    for i in range(count):
        family, n, dtype = rng.choice(list(WIDTHS)), rng.randint(1, 2), rng.choice([torch.float32, torch.float16])
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = make_tokenizer(f"{folder}/tokenizer", SHORT_MERGES, "!", rng.choice([77, 20]))
            unet, vae = random_unet(rng, family), random_vae(rng, family)
            encoders = random_encoders(rng, family, tokenizer)
            for network in (unet, vae, *encoders):
                randomise(network, rng.randrange(2 ** 31)).to(dtype)
            save_file(original_tensors(family, unet, vae, encoders), f"{folder}/model.safetensors")
            for network in (unet, vae, *encoders):
                network.float()
            unit = 2 ** (len(vae.config.block_out_channels) - 1)
            size = [8 * rng.randint(1, 2) for _ in range(2)]
            sample, timesteps = torch.randn(n, unet.config.in_channels, *size), torch.tensor([17.0, 901.5][:n])
            images = torch.rand(n, 3, *(unit * s for s in size))
            name = (f"{i}: {family}, {dtype}, {list(sample.shape)}, unet {unet.config.block_out_channels}, depths "
                    f"{unet.config.get('transformer_layers_per_block')}, vae {vae.config.block_out_channels}")
            path = f"{folder}/model.safetensors"
            with mcm.Model.open(path, tokenizer=f"{folder}/tokenizer") as model, torch.no_grad():
                theirs, ours = {}, {}
                if encoders:
                    texts = random_texts(rng)[:1] * n
                    states, pooled = encode(family, texts, unet, vae, encoders, tokenizer)
                    prompt = mcm.Prompt.encode(model, texts)
                    report.add("original", f"{name}: text", relative_error(prompt.states, states), BOUND)
                    theirs["encoder_hidden_states"], ours["prompt"] = states, prompt
                    if pooled is not None:
                        report.add("original", f"{name}: pooled text", relative_error(prompt.pooled, pooled), BOUND)
                        ids = torch.randint(0, 1000, (n, model.info.time_id_count)).float()
                        theirs["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids}
                        ours["time_ids"] = ids
                report.add("original", f"{name}: unet", relative_error(
                    model.predict(sample, timesteps, **ours), unet(sample, timesteps, **theirs).sample), BOUND)
                latents = torch.randn(n, vae.config.latent_channels, *size)
                if family == "ldm":
                    while not is_decided(vae, latents):
                        latents = torch.randn(latents.shape)
                    encoded = vae.encode(2 * images - 1).latents
                else:
                    encoded = vae.encode(2 * images - 1).latent_dist.mean * SCALING[family]
                report.add("original", f"{name}: encoder", relative_error(
                    model.encode(list(images.permute(0, 2, 3, 1).numpy())), encoded), BOUND)
                report.add("original", f"{name}: decoder", pixel_error(
                    model.decode(latents * SCALING[family]), vae.decode(latents).sample), PIXEL_BOUND)
