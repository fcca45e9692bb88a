"""UNet2DConditionModel and ControlNetModel."""
import inspect
import tempfile

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel

import mcm
from random_models import BOUND, least_autoencoder, plain_scheduler, random_dtype, randomise, save_folder
from report import relative_error

ARGUMENTS = inspect.signature(UNet2DConditionModel.__init__).parameters
CONTROLNET_ARGUMENTS = inspect.signature(ControlNetModel.__init__).parameters
TIME_IDS = 6


def number_or_list(rng, values, levels):
    return rng.choice(values) if rng.random() < 0.5 else [rng.choice(values) for _ in range(levels)]


def random_config(rng, simple=False):
    """Arguments of a small UNet2DConditionModel, and a (height, width) that it accepts. simple: without what a
    ControlNetModel does not have."""
    levels, groups = rng.randint(1, 3), rng.choice([1, 2, 4, 8])
    channels = [groups * rng.randint(max(1, 16 // groups), 64 // groups) for _ in range(levels)]
    kinds = ["CrossAttn{}Block2D"] * 3 + ["{}Block2D"] * 2
    is_even = rng.random() < 0.3
    kinds += ["Attn{}Block2D", "Resnet{}sampleBlock2D"] if is_even else []      # these halve even sizes only
    down, up = ([rng.choice(kinds).format(way) for _ in range(levels)] for way in ("Down", "Up"))
    config = dict(
        in_channels=rng.choice([4, 4, 9]), out_channels=4, block_out_channels=channels, norm_num_groups=groups,
        layers_per_block=rng.randint(1, 2) if simple else number_or_list(rng, [1, 2], levels),
        cross_attention_dim=rng.choice([8, 24, 33, 64]),
        attention_head_dim=number_or_list(rng, [1, 2, 4, 5, 8], levels),
        down_block_types=down, up_block_types=up, use_linear_projection=rng.random() < 0.5,
        transformer_layers_per_block=number_or_list(rng, [1, 1, 2, 3], levels),
        mid_block_type=rng.choice(["UNetMidBlock2DCrossAttn"] * 3 + ["UNetMidBlock2D"]),
        only_cross_attention=number_or_list(rng, [False, False, True], levels), upcast_attention=rng.random() < 0.2,
        act_fn=rng.choice(["silu", "silu", "mish", "gelu", "relu"]), norm_eps=rng.choice([1e-6, 1e-5, 1e-3]),
        resnet_time_scale_shift=rng.choice(["default", "default", "scale_shift"]),
        downsample_padding=rng.choice([1, 1, 0]), mid_block_scale_factor=rng.choice([1, 2 ** 0.5]),
        flip_sin_to_cos=rng.random() < 0.7, freq_shift=rng.choice([0, 0, 1]))
    if rng.random() < 0.3:      # sizes and a pooled text, as in Stable Diffusion XL
        width = rng.choice([4, 8])
        config.update(addition_embed_type="text_time", addition_time_embed_dim=width,
                      projection_class_embeddings_input_dim=TIME_IDS * width + rng.choice([5, 24]))
    elif not simple:
        config.update(rng.choice([{}, {}, {"num_class_embeds": 10}, {"class_embed_type": "timestep"},
                                  {"class_embed_type": "identity"}, *[
                                      {"class_embed_type": kind, "projection_class_embeddings_input_dim": 18}
                                      for kind in ("projection", "simple_projection")]]))
    if not simple:
        config.update(center_input_sample=rng.random() < 0.2, conv_in_kernel=rng.choice([3, 3, 1]),
                      conv_out_kernel=rng.choice([3, 3, 5]), time_embedding_dim=rng.choice([None, None, 48]),
                      time_cond_proj_dim=rng.choice([None, None, 20]), encoder_hid_dim=rng.choice([None, None, 20]))
        if rng.random() < 0.1:
            config["mid_block_type"] = None
    unit = 2 ** (levels - 1) if is_even else 1
    return config, [unit * rng.randint(max(1, 4 // unit), 20 // unit) for _ in range(2)]


def describe(config, arguments=ARGUMENTS):
    return {k: v for k, v in config.items() if k not in arguments or v != arguments[k].default}


def random_conditions(rng, config, unet, n):
    """What a network is told of n images beside sample and time: diffusers' arguments, and those of Model.predict."""
    states = torch.randn(n, rng.randint(1, 90), config.get("encoder_hid_dim") or config["cross_attention_dim"])
    theirs, ours, pooled = {"encoder_hidden_states": states}, {}, None
    kind = config.get("class_embed_type")
    if kind == "identity":
        labels = torch.randn(n, unet.time_embedding.linear_2.out_features)
    elif kind in ("projection", "simple_projection"):
        labels = torch.randn(n, config["projection_class_embeddings_input_dim"])
    else:
        labels = torch.tensor([rng.randrange(10) for _ in range(n)])
    if kind or config.get("num_class_embeds"):
        theirs["class_labels"] = ours["class_input"] = labels
    if config.get("time_cond_proj_dim") and rng.random() < 0.7:
        theirs["timestep_cond"] = ours["timestep_cond"] = torch.randn(n, config["time_cond_proj_dim"])
    if config.get("addition_embed_type"):
        width = config["projection_class_embeddings_input_dim"] - TIME_IDS * config["addition_time_embed_dim"]
        pooled = torch.randn(n, width)
        ids = torch.tensor([[float(rng.randint(0, 1024)) for _ in range(TIME_IDS)] for _ in range(n)])
        theirs["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids}
        ours["time_ids"] = ids
    return theirs, {**ours, "prompt": mcm.Prompt.from_arrays(states, pooled)}


def save_unet(folder, config, unet, shard="10GB"):
    xl = "XL" if config.get("addition_embed_type") else ""
    save_folder(folder, f"StableDiffusion{xl}Pipeline", shard, unet=unet, vae=least_autoencoder(),
                scheduler=plain_scheduler())


def check_text_unets(report, rng, count=60):
    for i in range(count):
        config, size = random_config(rng)
        unet = randomise(UNet2DConditionModel(**config), rng.randrange(2 ** 31))
        dtype, shard = random_dtype(rng), rng.choice(["10GB", "10GB", "500KB"])
        n = rng.randint(1, 3)
        sample = torch.randn(n, config["in_channels"], *size)
        timesteps = torch.tensor([rng.choice([rng.randint(0, 999), rng.uniform(0, 999)]) for _ in range(n)])
        theirs, ours = random_conditions(rng, config, unet, n)
        with tempfile.TemporaryDirectory() as folder:
            save_unet(folder, config, unet.to(dtype), shard)
            with mcm.Model.open(folder) as model:
                out = model.predict(sample, timesteps, **ours)
        with torch.no_grad():
            ref = unet.float()(sample, timesteps, **theirs).sample
        report.add("text unet", f"{i}: batch {n}, {size}, {dtype}, {describe(config)}", relative_error(out, ref), BOUND)


def random_controlnet(rng, config, pools):
    """Arguments of a ControlNetModel for a UNet."""
    shared = {k: v for k, v in config.items() if k in CONTROLNET_ARGUMENTS}
    return {**shared, "conditioning_embedding_out_channels": [rng.choice([4, 8, 20]) for _ in range(rng.randint(1, 4))],
            "controlnet_conditioning_channel_order": rng.choice(["rgb", "rgb", "bgr"]),
            "global_pool_conditions": pools}


def check_controlnets(report, rng, count=40):
    """One or two ControlNets in a session's only step, with a scheduler that hands the prediction on."""
    for i in range(count):
        config, size = random_config(rng, simple=True)
        config["in_channels"] = 4
        unet = randomise(UNet2DConditionModel(**config), rng.randrange(2 ** 31))
        pools = rng.random() < 0.2      # diffusers adds no means to what is none
        arguments = [random_controlnet(rng, config, pools) for _ in range(rng.choice([1, 1, 2]))]
        nets = [randomise(ControlNetModel(**a), rng.randrange(2 ** 31)) for a in arguments]
        n, guess = rng.randint(1, 2), rng.random() < 0.3
        scales = [rng.choice([1.0, round(rng.uniform(-0.5, 1.5), 2)]) for _ in nets]
        theirs, ours = random_conditions(rng, config, unet, n)
        images = []
        for net in nets:
            scale = 2 ** (len(net.config.conditioning_embedding_out_channels) - 1)
            images.append(torch.rand(n, 3, *(scale * s for s in size)))
        seed = rng.randrange(2 ** 31)
        with tempfile.TemporaryDirectory() as folder:
            save_unet(folder, config, unet)
            with mcm.Model.open(folder) as model, mcm.Session(
                    model, batch=n, width=size[1], height=size[0], steps=1, guidance_scale=1) as session:
                for net, image, scale in zip(nets, images, scales):
                    net.save_pretrained(f"{folder}/controlnet")
                    with mcm.ControlNet.open(f"{folder}/controlnet") as controlnet:
                        pixels = list(image.permute(0, 2, 3, 1).numpy())
                        session.attach_controlnet(controlnet, pixels, scale, guess=guess)
                session.set_prompt(ours["prompt"])
                if "time_ids" in ours:
                    session.set_time_ids(ours["time_ids"])
                session.seed(seed)
                sample, timestep = torch.from_numpy(session.x), torch.tensor(session.timestep)
                session.step()
                out = session.x0
        with torch.no_grad():
            down, middle = MultiControlNetModel(nets)(
                sample, timestep, controlnet_cond=images, conditioning_scale=scales, guess_mode=guess,
                return_dict=False, **theirs)
            ref = unet(sample, timestep, down_block_additional_residuals=list(down),
                       mid_block_additional_residual=middle, **theirs).sample
        name = f"{i}: batch {n}, {size}, scales {scales}, guess {guess}, {describe(arguments[0], CONTROLNET_ARGUMENTS)}"
        report.add("controlnet", name, relative_error(out, ref), BOUND)
