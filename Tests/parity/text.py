"""CLIP's tokenizer and text encoders."""
import os
import tempfile

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

import mcm
from random_models import BOUND, ROOT, least_autoencoder, least_unet, plain_scheduler, randomise, save_folder
from report import relative_error

from make_tokenizer import END, START, TEXTS, clip_layout, compact, merges_text, random_text

SHORT_MERGES = [tuple(merge.split()) for merge in "a t</w>|c at</w>|t h|th e</w>|i n|in g</w>".split("|")]


def clip_merges():
    """Of the tokenizer that all of Stable Diffusion has."""
    with open(os.path.join(ROOT, "Sources", "CLIPMerges", "merges.txt"), encoding="utf-8") as file:
        return [tuple(line.split()) for line in file.read().split("\n")[1:] if line]


def make_tokenizer(folder, merges, padding, length):
    files = {"vocab.json": compact(clip_layout(merges)), "merges.txt": merges_text(merges),
             "tokenizer_config.json": compact(dict(bos_token=START, eos_token=END, unk_token=END, pad_token=padding,
                                                   model_max_length=length, tokenizer_class="CLIPTokenizer"))}
    os.makedirs(folder)
    for name, contents in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="") as file:
            file.write(contents)
    return CLIPTokenizer.from_pretrained(folder)


def random_encoder(rng, tokenizer, has_projection):
    heads, end = rng.choice([1, 2, 4, 5]), tokenizer.eos_token_id
    width = heads * rng.choice([4, 8, 9])
    config = CLIPTextConfig(
        vocab_size=end + 1, hidden_size=width, intermediate_size=rng.choice([32, 64, 100]), num_attention_heads=heads,
        num_hidden_layers=rng.randint(1, 4), max_position_embeddings=tokenizer.model_max_length,
        projection_dim=rng.choice([8, 24]), hidden_act=rng.choice(["quick_gelu", "gelu"]), bos_token_id=end - 1,
        eos_token_id=rng.choice([2, end]))
    return randomise((CLIPTextModelWithProjection if has_projection else CLIPTextModel)(config), rng.randrange(2 ** 31))


def random_texts(rng):
    """C's strings cannot hold a zero character."""
    texts = [rng.choice(TEXTS) if rng.random() < 0.3 else random_text(rng) for _ in range(rng.randint(1, 6))]
    return [text.replace("\0", "") for text in texts]


def check_texts(report, rng, count=60):
    """What diffusers' pipelines make of random Unicode texts, with tokenizers and text encoders as in Stable Diffusion
    1, 2 and XL: one wrong token changes the states by about as much as they are."""
    merges = clip_merges()
    for i in range(count):
        is_xl = rng.random() < 0.4
        with tempfile.TemporaryDirectory() as folder:
            length, words = rng.choice([77, 77, 12]), rng.choice([merges, merges, SHORT_MERGES])
            parts = {}
            for suffix in ["", "_2"][:1 + is_xl]:
                padding = rng.choice([END, "!"])
                tokenizer = make_tokenizer(f"{folder}/tokenizer{suffix}", words, padding, length)
                parts[f"tokenizer{suffix}"] = tokenizer
                parts[f"text_encoder{suffix}"] = random_encoder(rng, tokenizer, suffix == "_2")
            encoders = [part for name, part in parts.items() if name.startswith("text")]
            channels = sum(encoder.config.hidden_size for encoder in encoders)
            rest = dict(unet=least_unet(text_channels=channels), vae=least_autoencoder(), scheduler=plain_scheduler())
            save_folder(folder, f"StableDiffusion{'XL' * is_xl}Pipeline", **parts, **rest)
            # diffusers' clip_skip looks for the final norm where transformers 4 has it.
            for encoder in encoders:
                if isinstance(encoder, CLIPTextModel):
                    encoder.__dict__["text_model"] = encoder
            texts, pooled = random_texts(rng), None
            # As many as leave a layer to read.
            skip = rng.randint(0, max(0, min(encoder.config.num_hidden_layers for encoder in encoders) - 1 - is_xl))
            with torch.no_grad():
                if is_xl:
                    pipeline = StableDiffusionXLPipeline(**parts, **rest)
                    states, _, pooled, _ = pipeline.encode_prompt(texts, device="cpu", clip_skip=skip or None,
                                                                  do_classifier_free_guidance=False)
                else:
                    pipeline = StableDiffusionPipeline(**parts, **rest, safety_checker=None, feature_extractor=None,
                                                       requires_safety_checker=False)
                    states = pipeline.encode_prompt(texts, "cpu", 1, False, clip_skip=skip or None)[0]
            truncated = max(len(tokenizer(text)["input_ids"]) for text in texts) > length
            with mcm.Model.open(folder) as model:
                prompt = mcm.Prompt.encode(model, texts, clip_skip=skip)
        name = (f"{i}: {'XL' if is_xl else 'SD'}, {length} tokens of {tokenizer.eos_token_id + 1}, clip_skip {skip}, "
                f"{[ascii(text)[:20] for text in texts]}")
        report.add("text", name, relative_error(prompt.states, states), BOUND)
        if is_xl:
            report.add("text", f"{name}: pooled", relative_error(prompt.pooled, pooled), BOUND)
        report.add("text", f"{name}: whether it is cut off", float(prompt.truncated != truncated), 0)
