"""UNet2DModel."""
import inspect
import tempfile

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

import mcm
from random_models import BOUND, random_dtype, randomise
from report import relative_error

ARGUMENTS = inspect.signature(UNet2DModel.__init__).parameters


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


def check_unet(report, name, unet, sample, timesteps, labels=None, dtype=torch.float32, shard="10GB"):
    """Saves the network in `dtype` as a pipeline, opens it with the library and compares the predictions."""
    scheduler = DDPMScheduler()
    if unet.config.out_channels != unet.config.in_channels:
        scheduler = DDPMScheduler(variance_type="learned_range")
    with tempfile.TemporaryDirectory() as folder:
        DDPMPipeline(unet=unet.to(dtype), scheduler=scheduler).save_pretrained(folder, max_shard_size=shard)
        with mcm.Model.open(folder) as model:
            out = model.predict(sample, timesteps, class_input=labels)
    with torch.no_grad():
        ref = unet.float()(sample, timesteps, class_labels=labels).sample
    report.add("unet", name, relative_error(out, ref), BOUND)


def check_unets(report, rng, count=60):
    for i in range(count):
        config, size = random_unet_config(rng)
        unet = randomise(UNet2DModel(**config), rng.randrange(2 ** 31))
        dtype, shard = random_dtype(rng), rng.choice(["10GB", "10GB", "500KB"])
        sample, timesteps, labels = random_inputs(config, unet, size, rng)
        changed = {k: v for k, v in config.items() if v != ARGUMENTS[k].default}
        name = f"{i}: batch {len(sample)}, {dtype}, {shard}, {changed}"
        check_unet(report, name, unet, sample, timesteps, labels, dtype, shard)
