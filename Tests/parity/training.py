"""Training of modules, against PyTorch's.

A bank of a random base's predictions is recorded and read as docs/format.md says; for random modules the gradient of
every parameter is compared with autograd's, and so are weights and their moving average after some steps of AdamW.
"""
import json
import struct
import tempfile

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

import mcm
from report import relative_error

# Of the whole gradient; of each parameter's, if it is not a vanishing part of that.
GRADIENT_BOUND = 1e-4
VANISHING = 1e-3
# Adam divides by the gradient's size: where that is rounding noise, so is the step.
STEPS, STEPS_BOUND = 20, 1e-3
EMA_DECAY = 0.9
SIZE = 16


def read_bank(path):
    """images, timesteps, seeds (N,) and predictions (N, C, H, W)."""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:8] == b"MCMBANK1"
    (length,) = struct.unpack_from("<I", data, 8)
    header = json.loads(data[12:12 + length])
    shape = (header["channels"], header["height"], header["width"])
    size = 2 * int(np.prod(shape))
    record = np.dtype([("image", "<u4"), ("timestep", "<u4"), ("seed", "<u8"), ("e", "<f2", shape),
                       ("zeros", "u1", -size % 8), ("checksum", "<u8")])
    first = 12 + length + 4 * header["num_train_timesteps"]
    abar = torch.from_numpy(np.frombuffer(data, "<f4", header["num_train_timesteps"], 12 + length).copy())
    return np.frombuffer(data, record, header["count"], first), abar


def random_module(rng, channels):
    """A module's config, and the network that it stands for."""
    levels = rng.choice([1, 2, 3])
    attention = [rng.random() < 0.5 for _ in range(levels)]
    kind = rng.choice(["plain", "plain", "plain", "resnet"])
    name = {"plain": "{}Block2D", "resnet": "Resnet{}sampleBlock2D"}[kind]
    down = ["AttnDownBlock2D" if a else name.format("Down") for a in attention]
    up = ["AttnUpBlock2D" if a else name.format("Up") for a in reversed(attention)]
    net = dict(
        sample_size=SIZE, block_out_channels=[rng.choice([8, 12, 16, 24, 32]) for _ in range(levels)],
        layers_per_block=rng.choice([1, 2]), down_block_types=down, up_block_types=up, norm_num_groups=4,
        attention_head_dim=rng.choice([4, 8, None]), act_fn=rng.choice(["silu", "mish", "gelu"]),
        resnet_time_scale_shift=rng.choice(["default", "scale_shift"]), downsample_padding=rng.choice([0, 1]),
        time_embedding_type=rng.choice(["positional", "positional", "learned"]), num_train_timesteps=1000,
        downsample_type=rng.choice(["conv", "resnet"]), upsample_type=rng.choice(["conv", "resnet"]))
    modalities = [{"name": "sketch", "channels": 1}, {"name": "labels", "channels": 5}][:rng.choice([1, 2])]
    config = {"net": net, "prediction_channels": channels, "scale_offset": rng.choice([1.0, 0.5]),
              "presence_flags": rng.random() < 0.5, "modalities": modalities}
    planes = sum(m["channels"] + config["presence_flags"] for m in modalities)
    return config, UNet2DModel(**net, in_channels=2 * channels + planes, out_channels=2 * channels)


class Reference:
    """The same training in PyTorch, of all records at once."""

    def __init__(self, config, net, records, abar, x0, conditions):
        self.config, self.net = config, net
        t = torch.from_numpy(records["timestep"].astype(np.int64))
        self.noise = torch.stack([torch.randn(x0.shape[1:], generator=torch.Generator().manual_seed(int(seed)))
                                  for seed in records["seed"]])
        a = abar[t][:, None, None, None]
        image = torch.from_numpy(records["image"].astype(np.int64))
        self.t, self.e = t, torch.from_numpy(records["e"].astype(np.float32))
        x = a.sqrt() * x0[image] + (1 - a).sqrt() * self.noise
        planes = []
        for m in config["modalities"]:
            y = torch.from_numpy(conditions[m["name"]])[image]
            if m["channels"] == 1:
                planes.append(y[:, None].float() / 255)
            else:
                planes.append(torch.nn.functional.one_hot(y.long(), m["channels"]).permute(0, 3, 1, 2).float())
        if config["presence_flags"]:
            planes += [torch.ones(len(x), 1, *x.shape[2:])] * len(config["modalities"])
        self.input = torch.cat([x, self.e, *planes], 1)

    def loss(self):
        g, v = self.net(self.input, self.t).sample.chunk(2, 1)
        return (self.e * (self.config["scale_offset"] + g) + v - self.noise).square().mean()


def check(report, rng, folder, number):
    base, dataset = mcm.Model.open(f"{folder}/base"), mcm.Dataset(f"{folder}/data.safetensors")
    count = rng.choice([4, 7])
    bank = mcm.Bank.record(base, dataset, f"{folder}/{number}.bank", count=count, seed=rng.randrange(2 ** 40),
                           progress=False)
    records, abar = read_bank(f"{folder}/{number}.bank")
    x0 = torch.from_numpy(np.load(f"{folder}/x0.npy"))
    conditions = dict(np.load(f"{folder}/conditions.npz"))
    config, net = random_module(rng, x0.shape[1])
    reference = Reference(config, net, records, abar, x0, conditions)

    trainer = mcm.Trainer(bank, config, weighting="uniform", dropout=0.0, warmup_steps=0, learning_rate=1e-3,
                          weight_decay=0.01, ema_decay=EMA_DECAY, clip_norm=0.0)
    parameters = dict(net.named_parameters())
    torch.manual_seed(number)
    with torch.no_grad():  # the last convolution too, which begins as zero
        for key, values in trainer.named_parameters.items():
            parameters[key].copy_(parameters[key] + 0.05 * torch.randn_like(parameters[key]))
            values[...] = parameters[key].numpy()
    trainer.ema = trainer.parameters
    found = trainer.accumulate_dataset(dataset, count, bank=bank)
    loss = reference.loss()
    loss.backward()
    name = f"{number}: {config['net']['block_out_channels']}, {config['net']['act_fn']}"
    report.add("training", f"{name}: loss", abs(found.loss - loss.item()) / loss.item(), 1e-5)
    gradients = {key: torch.from_numpy(values / count) for key, values in trainer.named_gradients.items()}
    whole = torch.sqrt(sum(p.grad.square().sum() for p in parameters.values()))
    worst = np.max([float((gradients[key] - p.grad).norm() / max(p.grad.norm(), VANISHING * whole))
                    for key, p in parameters.items()])  # NaN if one is, unlike max
    report.add("training", f"{name}: gradients", worst, GRADIENT_BOUND)

    trainer.clear()
    decaying = [p for p in parameters.values() if p.ndim > 1]
    others = [p for p in parameters.values() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": decaying}, {"params": others, "weight_decay": 0.0}], lr=1e-3,
                                  weight_decay=0.01)
    start = {key: p.detach().clone() for key, p in parameters.items()}
    mean = {key: p.clone() for key, p in start.items()}
    for step in range(1, STEPS + 1):
        trainer.step_dataset(dataset, count, bank=bank)
        optimizer.zero_grad()
        reference.loss().backward()
        optimizer.step()
        for key, p in parameters.items():
            mean[key].lerp_(p.detach(), 1 - min(EMA_DECAY, (step + 1) / (step + 10)))
    order = list(trainer.named_parameters)

    def flat(tensors):
        return torch.cat([tensors[key].detach().flatten() for key in order])

    # Of parameters whose gradient is rounding noise, Adam's steps are noise of full size: compare the others.
    steady = flat({key: torch.full_like(p, p.grad.norm() > VANISHING * whole) for key, p in parameters.items()}) > 0
    begin = flat(start)
    for what, ours, theirs in [("weights", trainer.parameters, parameters), ("average", trainer.ema, mean)]:
        error = relative_error((torch.from_numpy(ours) - begin)[steady], (flat(theirs) - begin)[steady])
        report.add("training", f"{name}: change of the {what} in {STEPS} steps", error, STEPS_BOUND)
    trainer.close()
    bank.close()


def check_training(report, rng, count=12):
    with tempfile.TemporaryDirectory() as folder:
        seed = rng.randrange(2 ** 31)
        torch.manual_seed(seed)
        unet = UNet2DModel(sample_size=SIZE, in_channels=3, out_channels=3, block_out_channels=(16, 32),
                           layers_per_block=1, norm_num_groups=8, down_block_types=("DownBlock2D",) * 2,
                           up_block_types=("UpBlock2D",) * 2)
        DDIMPipeline(unet, DDIMScheduler()).save_pretrained(f"{folder}/base")
        x0 = torch.randn(9, 3, SIZE, SIZE).numpy()
        generator = np.random.default_rng(seed)
        conditions = {"sketch": generator.integers(0, 256, (9, SIZE, SIZE), np.uint8),
                      "labels": generator.integers(0, 5, (9, SIZE, SIZE), np.uint8)}
        np.save(f"{folder}/x0.npy", x0)
        np.savez(f"{folder}/conditions.npz", **conditions)
        mcm.write_dataset(f"{folder}/data.safetensors", samples=x0, **conditions)
        for number in range(count):
            check(report, rng, folder, number)
