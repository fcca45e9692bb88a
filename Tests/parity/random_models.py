"""What random networks have in common."""
import json
import os
import sys

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel, UNet2DModel

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.append(os.path.join(ROOT, "Tests", "Fixtures"))    # the generators of golden files have models too

# Of a network's output, in the 2-norm.
BOUND = 1e-5


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


def save_folder(folder, pipeline, shard="10GB", **components):
    """A folder as diffusers' pipelines write it. Its own index holds what else is given: truth values."""
    index = {"_class_name": pipeline}
    for name, component in components.items():
        if isinstance(component, bool):
            index[name] = component
            continue
        options = {"max_shard_size": shard} if isinstance(component, torch.nn.Module) else {}
        component.save_pretrained(os.path.join(folder, name), **options)
        library = "transformers" if name.startswith(("text_encoder", "tokenizer")) else "diffusers"
        index[name] = [library, type(component).__name__]
    with open(os.path.join(folder, "model_index.json"), "w", encoding="utf-8") as file:
        json.dump(index, file)


def random_dtype(rng):
    """Of weights in files: mostly float32."""
    return rng.choice([torch.float32] * 3 + [torch.float16, torch.bfloat16])


# The smallest networks, to complete a folder with.

def least_unet(channels=4, text_channels=None):
    """With text_channels one that reads a text, else one that does not."""
    sizes = dict(sample_size=8, in_channels=channels, out_channels=channels, block_out_channels=(4,),
                 layers_per_block=1, norm_num_groups=1)
    if text_channels is None:
        return UNet2DModel(**sizes, add_attention=False, down_block_types=("DownBlock2D",),
                           up_block_types=("UpBlock2D",))
    return UNet2DConditionModel(**sizes, cross_attention_dim=text_channels, attention_head_dim=1,
                                down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",))


def least_autoencoder():
    """Of four latent channels, as large as its images."""
    return AutoencoderKL(block_out_channels=(4,), norm_num_groups=1, mid_block_add_attention=False)


def plain_scheduler():
    """Its predicted original sample is the network's prediction."""
    return DDIMScheduler(prediction_type="sample", clip_sample=False)
