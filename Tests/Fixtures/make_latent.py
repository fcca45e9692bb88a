#!/usr/bin/env python3
"""Write the golden fixtures of pipelines that sample latents or read a text: what diffusers' own pipelines draw.

    python make_latent.py [--out FOLDER]

Needs transformers beside what make_fixtures.py needs.  latent_models.json holds the files of small models but for
their weights, latent.safetensors what the pipelines make of them; README.md says more.
"""
import argparse
import inspect
import json
import os
import tempfile
import warnings

import diffusers
import torch
import transformers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from make_fixtures import golden_parameter, golden_weights, randn, write
from make_tokenizer import clip_layout, compact, merges_text

# ---------------------------------------------------------------- models

MERGES = [tuple(merge.split()) for merge in """
a t</w>|c at</w>|o f</w>|t h|th e</w>|i n|in g</w>|o n</w>|p h|o t|ph ot|phot o</w>|s e|a n|an d</w>|r e|re d</w>
""".strip().split("|")]
# CLIP's order of ids; the last one is the end of a text.
VOCABULARY = clip_layout(MERGES)
END = VOCABULARY["<|endoftext|>"]

CROSS = dict(down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
             up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
UNET = dict(sample_size=8, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, cross_attention_dim=32,
            attention_head_dim=4, **CROSS)
XL_UNET = dict(UNET, cross_attention_dim=72, attention_head_dim=(2, 4), use_linear_projection=True,
               transformer_layers_per_block=(1, 2), addition_embed_type="text_time", addition_time_embed_dim=8,
               projection_class_embeddings_input_dim=72, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
               up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"))
VAE = dict(sample_size=16, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, latent_channels=4,
           scaling_factor=0.6, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
TEXT = dict(vocab_size=len(VOCABULARY), hidden_size=32, intermediate_size=64, num_hidden_layers=3,
            num_attention_heads=4, max_position_embeddings=77, projection_dim=24, bos_token_id=END - 1,
            eos_token_id=END, hidden_act="quick_gelu")
SHORT = dict(TEXT, max_position_embeddings=12, hidden_act="gelu")
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
PNDM = ("PNDMScheduler", dict(BETAS, skip_prk_steps=True))
DDIM = ("DDIMScheduler", dict(BETAS, clip_sample=False, set_alpha_to_one=False))
EULER = ("EulerDiscreteScheduler", dict(BETAS, timestep_spacing="leading"))
# Of Stable Diffusion 1 and 2, and as Stable Diffusion XL's refiner: hidden size, whether there is a projection
ONE = {"text_encoder": (TEXT, False)}
TWO = {"text_encoder": (SHORT, False),
       "text_encoder_2": (dict(SHORT, hidden_size=40, num_attention_heads=5, num_hidden_layers=4), True)}
LDM_BETAS = dict(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False)
XL = "StableDiffusionXL"

# name: pipeline, network, autoencoder, text encoders, scheduler, what else model_index.json says
MODELS = {
    "ldm": ("LDMPipeline", dict(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(32, 64), layers_per_block=1,
        norm_num_groups=8, attention_head_dim=16, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D")), dict(
        block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, latent_channels=3, num_vq_embeddings=48,
        scaling_factor=16, down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D")), {}, ("DDIMScheduler", LDM_BETAS), {}),
    "sd1": ("StableDiffusionPipeline", UNET, VAE, ONE, PNDM, {}),
    "sd2": ("StableDiffusionPipeline", dict(UNET, attention_head_dim=(2, 4), use_linear_projection=True), VAE,
            {"text_encoder": (dict(SHORT, num_hidden_layers=2), False)},
            ("DDIMScheduler", dict(DDIM[1], prediction_type="v_prediction")), {}),
    "inpainting": ("StableDiffusionInpaintPipeline", dict(UNET, in_channels=9), VAE, ONE, PNDM, {}),
    "xl": (XL + "Pipeline", XL_UNET, VAE, TWO, EULER, {"force_zeros_for_empty_prompt": True}),
    "refiner": (XL + "Img2ImgPipeline", dict(XL_UNET, cross_attention_dim=40, projection_class_embeddings_input_dim=64),
                VAE, {"text_encoder_2": TWO["text_encoder_2"]}, EULER,
                {"force_zeros_for_empty_prompt": False, "requires_aesthetics_score": True}),
    "xl-inpainting": (XL + "InpaintPipeline", dict(XL_UNET, in_channels=9), VAE, TWO, EULER,
                      {"force_zeros_for_empty_prompt": True}),
    "lcm": ("LatentConsistencyModelPipeline", dict(UNET, time_cond_proj_dim=20), VAE, ONE,
            ("LCMScheduler", dict(BETAS, clip_sample=False, set_alpha_to_one=True)), {}),
}


def tokenizer_files(second, length):
    """Those of Stable Diffusion, or of Stable Diffusion 2 and XL's second."""
    return {"vocab.json": compact(VOCABULARY), "merges.txt": merges_text(MERGES), "tokenizer_config.json": compact(dict(
        bos_token="<|startoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>", model_max_length=length,
        pad_token="!" if second else "<|endoftext|>", tokenizer_class="CLIPTokenizer"))}


def json_of(value):
    return json.loads(json.dumps(value))


def model_files(name):
    """{path: contents} of a folder without its weights."""
    pipeline, unet, vae, texts, (scheduler, options), rest = MODELS[name]
    unet_class, vae_name, vae_class = ("UNet2DModel", "vqvae", "VQModel") if name == "ldm" else (
        "UNet2DConditionModel", "vae", "AutoencoderKL")
    index = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__,
             "unet": ["diffusers", unet_class], vae_name: ["diffusers", vae_class],
             "scheduler": ["diffusers", scheduler], **rest}
    files = {"unet/config.json": {"_class_name": unet_class, **unet},
             f"{vae_name}/config.json": {"_class_name": vae_class, **vae},
             "scheduler/scheduler_config.json": {"_class_name": scheduler, **options}}
    if texts:
        for component in ("text_encoder", "text_encoder_2") if XL in pipeline else ("text_encoder",):
            tokenizer = component.replace("text_encoder", "tokenizer")
            index[component], index[tokenizer] = [None, None], [None, None]
            if component in texts:
                config, has_projection = texts[component]
                kind = "CLIPTextModelWithProjection" if has_projection else "CLIPTextModel"
                index[component], index[tokenizer] = ["transformers", kind], ["transformers", "CLIPTokenizer"]
                files[f"{component}/config.json"] = {"architectures": [kind], "model_type": "clip_text_model", **config}
                second = component.endswith("2") or name == "sd2"
                for file, text in tokenizer_files(second, config["max_position_embeddings"]).items():
                    files[f"{tokenizer}/{file}"] = text
        if XL not in pipeline:
            index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
    return json_of({"model_index.json": index, **files})


def text_model(config, has_projection):
    model = (CLIPTextModelWithProjection if has_projection else CLIPTextModel)(CLIPTextConfig(**config))
    # Names as transformers 4 writes them.
    model.load_state_dict({key: golden_parameter(key if has_projection else "text_model." + key, value.shape)
                           for key, value in model.state_dict().items()})
    # diffusers' clip_skip looks for the final norm where transformers 4 has it.
    if not has_projection:
        model.__dict__["text_model"] = model
    return model.eval()


def tokenizer(files, component):
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            if path.startswith(component + "/"):
                with open(os.path.join(folder, path.split("/")[1]), "w", encoding="utf-8") as out:
                    out.write(text)
        return CLIPTokenizer.from_pretrained(folder)


def components(files):
    """All that a folder's pipelines are made of."""
    index = files["model_index.json"]
    parts = {}
    for name, entry in index.items():
        if not isinstance(entry, list):
            continue
        kind = entry[1]
        if kind is None:
            parts[name] = None
        elif name.startswith("tokenizer"):
            parts[name] = tokenizer(files, name)
        elif name.startswith("text_encoder"):
            parts[name] = text_model(files[f"{name}/config.json"], kind.endswith("Projection"))
        elif name == "scheduler":
            parts[name] = getattr(diffusers, kind).from_config(files["scheduler/scheduler_config.json"])
        else:
            config = {k: v for k, v in files[f"{name}/config.json"].items() if not k.startswith("_")}
            parts[name] = golden_weights(getattr(diffusers, kind)(**config))
    options = {k: v for k, v in index.items() if k.startswith(("force_zeros", "requires_aesthetics"))}
    return parts, options


# ---------------------------------------------------------------- cases

CAT, SEA, BAD = "a photo of the red cat", "painting (of) the sea, and 2 boats!", "bad, blurred"
LONG = "a cat and the sea and the red cat " * 12
DPM = {"scheduler": "DPMSolverMultistepScheduler"}
IMAGE, MASK = {"image": 70}, {"image": 71, "mask": 72}
SD, IMG2IMG, INPAINT = "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"
SIZES = {"time_ids": [24, 20, 2, 4, 16, 16], "negative_time_ids": [16, 16, 1, 0, 24, 24]}
FOUR = {"prompts": [CAT, SEA], "negatives": [BAD, "", ], "seeds": [5, 6]}


def files(file, **changes):
    """A case whose model has a file that says something else."""
    return {"files": {file: changes}}


def old(name, **options):
    """A case whose model has another scheduler."""
    return {"files": {"scheduler/scheduler_config.json": {"_class_name": name, **options},
                      "model_index.json": {"scheduler": ["diffusers", name]}}}


def scheduler(name, **options):
    return {"scheduler": name, "options": options}


# name: (model, pipeline, extra); see DEFAULTS
CASES = {
    "ldm": ("ldm", "LDMPipeline", {"steps": 6}),
    "ldm_eta": ("ldm", "LDMPipeline", {"steps": 6, "eta": 1.0, "batch": 2}),
    "ldm_ddpm": ("ldm", "LDMPipeline", {"steps": 6, "scheduler": "DDPMScheduler"}),
    "ldm_euler": ("ldm", "LDMPipeline", {"steps": 6, "scheduler": "EulerDiscreteScheduler", "batch": 2}),
    # Stable Diffusion 1
    "sd1": ("sd1", SD, {}),
    "sd1_defaults": ("sd1", SD, {"guidance": None, "steps": 50}),
    "sd1_negative": ("sd1", SD, {"negatives": [BAD]}),
    "sd1_unguided": ("sd1", SD, {"guidance": 1.0, "negatives": [BAD], "height": 24}),
    "sd1_below_one": ("sd1", SD, {"guidance": 0.5}),
    "sd1_rescale": ("sd1", SD, {"rescale": 0.7, "batch": 2, "negatives": [BAD]}),
    "sd1_clip_skip": ("sd1", SD, {"clip_skip": 1, "negatives": [BAD]}),
    "sd1_clip_skip_2": ("sd1", SD, {"clip_skip": 2, "guidance": 1.0}),
    "sd1_long": ("sd1", SD, {"prompts": [LONG], "guidance": 3.0}),
    "sd1_batch_each": ("sd1", SD, {"batch": 2, "seeds": [1, 2]}),
    "sd1_batch_one": ("sd1", SD, {"batch": 2, "width": 24}),
    "sd1_prompts": ("sd1", SD, {**FOUR}),
    "sd1_embeds": ("sd1", SD, {"embeds": 90, "negatives": None, "batch": 2}),
    "sd1_ddim": ("sd1", SD, {**scheduler("DDIMScheduler", clip_sample=False)}),
    "sd1_ddim_clipped": ("sd1", SD, {**scheduler("DDIMScheduler"), "eta": 1.0, "batch": 2, "seeds": [3, 4]}),
    "sd1_dpm": ("sd1", SD, DPM),
    "sd1_dpm_karras": ("sd1", SD, {**scheduler("DPMSolverMultistepScheduler", use_karras_sigmas=True)}),
    "sd1_euler_a": ("sd1", SD, {**scheduler("EulerAncestralDiscreteScheduler"), "batch": 2}),
    "sd1_unipc": ("sd1", SD, {**scheduler("UniPCMultistepScheduler")}),
    "sd1_heun": ("sd1", SD, {**scheduler("HeunDiscreteScheduler"), "steps": 4}),
    # Old files, which the pipeline's class corrects
    "sd1_old_ddim": ("sd1", SD, old("DDIMScheduler", steps_offset=None)),
    "sd1_old_euler": ("sd1", SD, old("EulerDiscreteScheduler", steps_offset=0, timestep_spacing="leading")),
    "sd1_old_ddim_to_dpm": ("sd1", SD, {
        **old("DDIMScheduler", steps_offset=0), **DPM, "options": {"timestep_spacing": "leading"}}),
    "sd1_old_ddim_to_euler": ("sd1", SD, {
        **old("DDIMScheduler", steps_offset=None), "scheduler": "EulerDiscreteScheduler",
        "options": {"timestep_spacing": "leading"}}),
    "inpainting_old": ("inpainting", INPAINT, {
        **old("PNDMScheduler", skip_prk_steps=None, steps_offset=None), **MASK, "steps": 5}),
    "inpainting_old_ddim": ("inpainting", INPAINT, {**old("DDIMScheduler", steps_offset=0), **MASK}),
    "xl_old_ddim": ("xl", XL + "Pipeline", old("DDIMScheduler", steps_offset=None)),
    # The index names the class, and the scheduler's file is another's
    "sd1_other_file": ("sd1", SD, files("model_index.json", scheduler=["diffusers", "DDIMScheduler"])),
    # Image to image
    **{f"sd1_image_{strength}": ("sd1", IMG2IMG, {**IMAGE, "strength": strength, "negatives": [BAD]})
       for strength in (0.3, 0.75, 1.0)},
    "sd1_image_one_generator": ("sd1", IMG2IMG, {**IMAGE, "strength": 0.6, "batch": 2}),
    "sd1_image_generators": ("sd1", IMG2IMG, {**IMAGE, "strength": 0.6, "batch": 2, "seeds": [8, 9]}),
    "sd1_images": ("sd1", IMG2IMG, {**IMAGE, "images": 2, **FOUR, "strength": 0.6, "width": 24}),
    "sd1_images_one_generator": ("sd1", IMG2IMG, {**IMAGE, "images": 2, "prompts": [CAT, SEA], "strength": 0.6}),
    "sd1_image_ddim": ("sd1", IMG2IMG, {**IMAGE, **scheduler("DDIMScheduler", clip_sample=False), "strength": 0.6,
                                        "eta": 0.5}),
    "sd1_image_dpm": ("sd1", IMG2IMG, {**IMAGE, **DPM, "strength": 0.6}),
    "sd1_image_euler": ("sd1", IMG2IMG, {**IMAGE, "scheduler": "EulerDiscreteScheduler", "strength": 0.6}),
    "sd1_image_euler_a": ("sd1", IMG2IMG, {**IMAGE, "scheduler": "EulerAncestralDiscreteScheduler", "strength": 0.7,
                                           "batch": 2}),
    "sd1_image_heun": ("sd1", IMG2IMG, {**IMAGE, "scheduler": "HeunDiscreteScheduler", "strength": 0.5, "steps": 4}),
    "sd2_image": ("sd2", IMG2IMG, {**IMAGE, "strength": 0.5, "clip_skip": 1}),
    # Inpainting: by keeping the image, or with a network that is told
    **{f"sd1_inpaint_{strength}": ("sd1", INPAINT, {**MASK, "strength": strength, "negatives": [BAD]})
       for strength in (0.6, 1.0)},
    "sd1_inpaint_ddim_eta": ("sd1", INPAINT, {**MASK, **scheduler("DDIMScheduler", clip_sample=False), "eta": 1.0,
                                              "strength": 0.8}),
    "sd1_inpaint_euler_a": ("sd1", INPAINT, {**MASK, "scheduler": "EulerAncestralDiscreteScheduler", "batch": 2,
                                             "height": 24}),
    "sd1_inpaint_heun": ("sd1", INPAINT, {**MASK, "scheduler": "HeunDiscreteScheduler", "strength": 0.8, "steps": 4}),
    "sd1_inpaint_images": ("sd1", INPAINT, {**MASK, "images": 2, **FOUR, "strength": 0.7,
                                            "scheduler": "EulerAncestralDiscreteScheduler"}),
    "sd1_inpaint_unguided": ("sd1", INPAINT, {**MASK, "guidance": 1.0, "strength": 0.5, "batch": 2, **DPM}),
    "inpainting_1.0": ("inpainting", INPAINT, {**MASK, "strength": 1.0, "negatives": [BAD]}),
    "inpainting_0.6": ("inpainting", INPAINT, {**MASK, "strength": 0.6, "batch": 2}),
    "inpainting_images": ("inpainting", INPAINT, {**MASK, "images": 2, **FOUR, "strength": 0.9,
                                                  "scheduler": "EulerAncestralDiscreteScheduler"}),
    "inpainting_unguided": ("inpainting", INPAINT, {**MASK, "guidance": 1.0, "width": 24}),
    # Stable Diffusion 2
    "sd2": ("sd2", SD, {}),
    "sd2_negative": ("sd2", SD, {"negatives": [BAD], "batch": 2, "seeds": [1, 2], "rescale": 1.0}),
    "sd2_long": ("sd2", SD, {"prompts": [LONG], "eta": 1.0}),
    "sd2_euler": ("sd2", SD, {"scheduler": "EulerDiscreteScheduler"}),
    "sd2_pndm": ("sd2", SD, {**scheduler("PNDMScheduler", skip_prk_steps=True), "clip_skip": 1}),
    # Stable Diffusion XL
    "xl": ("xl", XL + "Pipeline", {}),
    "xl_defaults": ("xl", XL + "Pipeline", {"guidance": None}),
    "xl_negative": ("xl", XL + "Pipeline", {"negatives": [BAD], "batch": 2, "width": 24}),
    "xl_empty_negative": ("xl", XL + "Pipeline", {"negatives": [""]}),
    "xl_sizes": ("xl", XL + "Pipeline", {**SIZES, "negatives": [BAD]}),
    # Of several images, this class mixes the sizes with and without the prompt up, so these are the same.
    "xl_prompts": ("xl", XL + "Pipeline", {**FOUR, "time_ids": SIZES["time_ids"],
                                           "negative_time_ids": SIZES["time_ids"]}),
    "xl_unguided": ("xl", XL + "Pipeline", {"guidance": 1.0}),
    "xl_clip_skip": ("xl", XL + "Pipeline", {"clip_skip": 1, "negatives": [BAD], "rescale": 0.5}),
    "xl_embeds": ("xl", XL + "Pipeline", {"embeds": 95}),
    "xl_encoded_empty": ("xl", XL + "Pipeline", {"batch": 2, **files(
        "model_index.json", force_zeros_for_empty_prompt=False)}),
    "xl_latents_mean": ("xl", XL + "Img2ImgPipeline", {**IMAGE, "strength": 0.5, **files(
        "vae/config.json", latents_mean=[0.1, -0.4, 0.3, 0.2], latents_std=[0.9, 1.2, 0.8, 1.5])}),
    "xl_image": ("xl", XL + "Img2ImgPipeline", {**IMAGE, "strength": 0.4, "batch": 2, "seeds": [1, 2]}),
    "xl_image_sizes": ("xl", XL + "Img2ImgPipeline", {**IMAGE, "strength": 0.7, "time_ids": [24, 20, 2, 4, 16, 16],
                                                      "negative_time_ids": [16, 16, 2, 4, 24, 24], **DPM}),
    "xl_inpaint": ("xl", XL + "InpaintPipeline", {**MASK, "strength": 0.8, "batch": 2}),
    "xl_inpaint_euler_a": ("xl", XL + "InpaintPipeline", {**MASK, "scheduler": "EulerAncestralDiscreteScheduler",
                                                         "strength": 0.9}),
    "xl-inpainting": ("xl-inpainting", XL + "InpaintPipeline", {**MASK, "strength": 1.0, "guidance": None}),
    "xl-inpainting_0.7": ("xl-inpainting", XL + "InpaintPipeline", {**MASK, "strength": 0.7, "negatives": [BAD]}),
    "refiner": ("refiner", XL + "Img2ImgPipeline", {**IMAGE, "strength": 0.5}),
    "refiner_scores": ("refiner", XL + "Img2ImgPipeline", {
        **IMAGE, "strength": 0.5, "negatives": [BAD], "batch": 2, "time_ids": [24, 20, 2, 4, 7.5],
        "negative_time_ids": [16, 16, 1, 0, 2.0]}),
    "refiner_zeros": ("refiner", XL + "Img2ImgPipeline", {**IMAGE, "strength": 1.0, **files(
        "model_index.json", force_zeros_for_empty_prompt=True)}),
    # Latent consistency models
    "lcm": ("lcm", "LatentConsistencyModelPipeline", {"steps": 4}),
    "lcm_defaults": ("lcm", "LatentConsistencyModelPipeline", {"steps": 4, "guidance": None, "batch": 2}),
    "lcm_each": ("lcm", "LatentConsistencyModelPipeline", {"steps": 3, "batch": 2, "seeds": [1, 2], "guidance": 1.5}),
    "lcm_image": ("lcm", "LatentConsistencyModelImg2ImgPipeline", {"steps": 4, **IMAGE, "strength": 0.8}),
    "lcm_image_half": ("lcm", "LatentConsistencyModelImg2ImgPipeline", {
        "steps": 3, **IMAGE, "strength": 0.5, "images": 2, "prompts": [CAT, SEA], "seeds": [1, 2]}),
    "sd1_lcm": ("sd1", SD, {"scheduler": "LCMScheduler", "steps": 4, "guidance": 1.0}),
    "sd1_lcm_image": ("sd1", IMG2IMG, {**IMAGE, "scheduler": "LCMScheduler", "steps": 6, "strength": 0.5,
                                       "guidance": 1.5}),
}
DEFAULTS = {"files": {}, "scheduler": None, "options": {}, "steps": 6, "eta": 0.0, "guidance": 7.5, "rescale": 0.0,
            "clip_skip": 0, "prompts": [CAT], "negatives": None, "embeds": None, "batch": 1, "seeds": None,
            "height": 16, "width": 16, "strength": 1.0, "image": None, "mask": None, "images": 1, "time_ids": None,
            "negative_time_ids": None}


def picture(shape, seed):
    """Bytes: (N, C, H, W)."""
    return (randn(shape, seed) * 60 + 128).clamp(0, 255).round()


def arguments(case, pipeline):
    """Those of the pipeline's call."""
    n, (height, width) = case["images"], (case["height"], case["width"])
    takes = inspect.signature(pipeline.__call__).parameters
    each = case["batch"] // len(case["prompts"])
    call = dict(num_inference_steps=case["steps"], num_images_per_prompt=each, eta=case["eta"], height=height,
                width=width, guidance_scale=case["guidance"], guidance_rescale=case["rescale"])
    call = {k: v for k, v in call.items() if k in takes and v is not None}
    if case["clip_skip"]:
        call["clip_skip"] = case["clip_skip"]
    if case["embeds"] is None:
        call["prompt"] = case["prompts"]
        if case["negatives"] is not None:
            call["negative_prompt"] = case["negatives"]
    else:
        tokens, channels = case["embeds_shape"]
        embeds = [randn((1, tokens, channels), case["embeds"] + i) for i in range(2)]
        call |= dict(prompt_embeds=embeds[0], negative_prompt_embeds=embeds[1])
        call["num_images_per_prompt"] = case["batch"]
        if case["pooled_channels"]:
            pooled = [randn((1, case["pooled_channels"]), case["embeds"] + 2 + i) for i in range(2)]
            call |= dict(pooled_prompt_embeds=pooled[0], negative_pooled_prompt_embeds=pooled[1])
    if case["image"] is not None:
        call |= dict(image=picture((n, 3, height, width), case["image"]) / 255, strength=case["strength"])
    if case["mask"] is not None:
        call["mask_image"] = picture((n, 1, height, width), case["mask"]) / 255
    for ids, prefix in ((case["time_ids"], ""), (case["negative_time_ids"], "negative_")):
        if ids:
            crop, aesthetic = f"{prefix}crops_coords_top_left", f"{prefix}aesthetic_score"
            call |= {f"{prefix}original_size": tuple(ids[:2]), crop: tuple(ids[2:4])}
            call |= {aesthetic: ids[4]} if len(ids) == 5 else {f"{prefix}target_size": tuple(ids[4:])}
    return call


def run(case, pipeline, call):
    """The final samples, and images as whole numbers."""
    vae = pipeline.vqvae if "LDM" in case["pipeline"] else pipeline.vae
    seen, decode = [], vae.decode
    vae.decode = lambda z, *rest, **options: (seen.append(z), decode(z, *rest, **options))[1]
    if "LDM" in case["pipeline"]:
        # It hands its scheduler no generator, which then draws from the global one.
        torch.manual_seed(case["seeds"][0])
        images = pipeline(case["batch"], torch.default_generator, case["eta"], case["steps"], output_type="np").images
        samples = seen[0] * vae.config.scaling_factor
        # A vector of the codebook must not be the nearest by little.
        distances = torch.cdist(seen[0].permute(0, 2, 3, 1).reshape(-1, 3), vae.quantize.embedding.weight)
        nearest = distances.topk(2, largest=False).values
        assert float(((nearest[:, 1] - nearest[:, 0]) / nearest[:, 1]).min()) > 1e-4
    else:
        generators = [torch.Generator().manual_seed(seed) for seed in case["seeds"]]
        last = {}

        def keep(_, step, timestep, values):
            last.update(values)
            return values

        images = pipeline(generator=generators if len(generators) > 1 else generators[0], output_type="np",
                          callback_on_step_end=keep, **{**arguments(case, pipeline), **call}).images
        samples = last["latents"]
    vae.decode = decode
    return samples, torch.from_numpy((images * 255).round())


def latent_case(models, name, model, kind, extra, seed, beside=None, call=None):
    """A case, its final samples and its images.  models: from model_files; kind: of the pipeline; extra: what DEFAULTS
    does not have, without seeds; beside: components that the folder does not have; call: more arguments."""
    case = {"name": name, "model": model, "pipeline": kind, **DEFAULTS, **extra}
    case["batch"] = max(case["batch"], len(case["prompts"]))
    case["seeds"] = case["seeds"] or [seed]
    case["files"] = {path: {**models[model][path], **changes} for path, changes in case["files"].items()}
    for contents in case["files"].values():         # null: without the option
        for key in [key for key, value in contents.items() if value is None]:
            del contents[key]
    parts, options = components({**models[model], **case["files"]})
    if case["embeds"] is not None:
        case["embeds_shape"] = [12 if "XL" in kind else 77, parts["unet"].config.cross_attention_dim]
        case["pooled_channels"] = 24 if "XL" in kind else 0
    named = getattr(diffusers, models[model]["model_index.json"]["_class_name"])
    keywords = {} if "XL" in kind or "LDM" in kind else {"requires_safety_checker": False}
    pipeline = named(**parts, **options, **keywords)      # corrects old schedulers
    if case["scheduler"]:
        scheduler_class = getattr(diffusers, case["scheduler"])
        pipeline.scheduler = scheduler_class.from_config(pipeline.scheduler.config, **case["options"])
    # As from_pretrained with another class, but for schedulers, which are as the folder's pipeline has them.
    if kind != named.__name__:
        parts = {**parts, **(beside or {}), "scheduler": pipeline.scheduler}
        pipeline = getattr(diffusers, kind)(**parts, **options, **keywords)
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        return json_of(case), *run(case, pipeline, call or {})


def quietly():
    warnings.simplefilter("ignore")
    diffusers.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()


def latent():
    models = {name: model_files(name) for name in MODELS}
    tensors, cases = {}, []
    for number, (name, (model, kind, extra)) in enumerate(CASES.items()):
        case, samples, images = latent_case(models, name, model, kind, extra, 400 + number)
        tensors[name], tensors[name + ".images"] = samples, images
        cases.append(case)
        rms = float(samples.square().mean().sqrt())
        print(f"  {name:28s} samples {tuple(samples.shape)} rms {rms:8.3f}, images {tuple(images.shape)} "
              f"{float(images.mean()):5.0f} +- {float(images.std()):4.0f}")
        assert samples.isfinite().all() and 1 < images.std() and 0.05 < rms < 100, name
    return models, tensors, cases


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    quietly()
    models, tensors, cases = latent()
    path = os.path.join(out, "latent_models.json")
    with open(path, "w") as file:
        json.dump(models, file, separators=(",", ":"))
    print(f"{path}: {os.path.getsize(path)} bytes")
    write(out, "latent", tensors, cases)


if __name__ == "__main__":
    main()
