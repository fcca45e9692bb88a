"""Whole runs of diffusers' pipelines: samples and images for a seed."""
import json
import os
import tempfile
from contextlib import ExitStack

import numpy as np
import torch
from diffusers import ControlNetModel, DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

import mcm
from random_models import ROOT, randomise
from report import relative_error
from schedulers import KINDS, SOLVERS

from make_controlnet import control
from make_latent import BAD, CAT, LONG, MODELS, SEA, components, latent_case, model_files, picture, quietly

# Guidance takes differences of predictions, and the steps add up.
BOUND = 3e-5
PIXEL_BOUND = 1      # of 255


def save_files(files, folder):
    """A model of make_latent.py with its weights."""
    for name, part in components(files)[0].items():
        if isinstance(part, torch.nn.Module):
            part.save_pretrained(os.path.join(folder, name))
    for path, contents in files.items():
        os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
        with open(os.path.join(folder, path), "w", encoding="utf-8") as file:
            file.write(contents if isinstance(contents, str) else json.dumps(contents))


def random_case(rng, models):
    """A model, the class of a pipeline for it, and what make_latent.py's DEFAULTS do not have."""
    model = rng.choice(list(models))
    own = models[model]["model_index.json"]["_class_name"]
    if model == "ldm":
        scheduler = rng.choice([None, None, "DDPMScheduler", "EulerDiscreteScheduler"])
        return model, own, {"steps": rng.randint(2, 12), "scheduler": scheduler, "batch": rng.choice([1, 2]),
                            "eta": 0.0 if scheduler else rng.choice([0.0, 1.0])}
    family = own.removesuffix("Pipeline").removesuffix("Img2Img").removesuffix("Inpaint")
    tasks = {"inpainting": ["Inpaint"], "xl-inpainting": ["Inpaint"], "refiner": ["Img2Img", "Inpaint"],
             "lcm": ["", "Img2Img"]}.get(model, ["", "Img2Img", "Inpaint"])
    task, images = rng.choice(tasks), rng.choice([1, 1, 2])
    extra = {"prompts": [rng.choice([CAT, SEA, LONG, ""]) for _ in range(images)],
             "batch": rng.choice([images, 2]), "steps": rng.randint(4, 8),
             "guidance": rng.choice([None, 1.0, 3.0, 7.5]),
             "height": 8 * rng.randint(2, 4), "width": 8 * rng.randint(2, 4)}
    if model != "lcm":
        extra["scheduler"] = rng.choice([None, "DDIMScheduler"] + [s for s in SOLVERS if s != "LCMScheduler"])
        extra["options"] = {"clip_sample": False} if extra["scheduler"] in ("DDIMScheduler",
                                                                            "HeunDiscreteScheduler") else {}
        if extra["scheduler"] == "DDIMScheduler":
            extra["eta"] = rng.choice([0.0, 0.7])
        if extra["scheduler"] == "PNDMScheduler":
            extra["options"] = {"skip_prk_steps": True}
        extra["negatives"] = rng.choice([None, [BAD] * images])
        extra["clip_skip"] = rng.choice([0, 0, 1])
        extra["rescale"] = rng.choice([0.0, 0.7]) if not task and "XL" not in family else 0.0
    if task:
        extra |= {"image": rng.randrange(2 ** 31), "strength": rng.choice([1.0, round(rng.uniform(0.3, 1), 3)]),
                  "images": rng.choice([1, extra["batch"]])}
    if task == "Inpaint":
        extra["mask"] = rng.randrange(2 ** 31)
    # See README.md of the fixtures: in inpainting, an image for several generators is drawn from the first alone.
    if extra["batch"] == 2 and rng.random() < 0.5 and (task != "Inpaint" or extra["images"] == 2):
        extra["seeds"] = [rng.randrange(2 ** 63) for _ in range(2)]
    kind = f"{family}{task}Pipeline"
    if kind != own and extra["guidance"] is None:       # a session's default is that of the folder's class
        extra["guidance"] = 5.0
    return model, kind, extra


def random_control(rng, model, kind, extra):
    """ControlNets for a case: the pipeline's class, the networks, what a session is told of each, what diffusers is."""
    family, task = kind.split("Pipeline")[0], ""
    for name in ("Img2Img", "Inpaint"):
        if family.endswith(name):
            family, task = family.removesuffix(name), name
    nets, told = [], []
    extra["rescale"] = 0.0      # which these pipelines do not have
    pools = rng.random() < 0.2      # of several, diffusers asks the first one, a session each
    for _ in range(rng.choice([1, 1, 2])):
        arguments = {k: v for k, v in MODELS[model][1].items() if k != "sample_size"}
        # Two widths: one halving between image and sample, as the autoencoder has it.
        nets.append(randomise(ControlNetModel(**control(
            arguments, conditioning_embedding_out_channels=(8, 12),
            global_pool_conditions=pools)), rng.randrange(2 ** 31)))
        told.append({"images": picture((1, 3, extra["height"], extra["width"]), rng.randrange(2 ** 31)),
                     "weight": rng.choice([1.0, round(rng.uniform(0.2, 1.2), 2)])})
    guess = rng.random() < 0.25
    images = [one["images"] / 255 for one in told]
    weights = [one["weight"] for one in told]
    several = len(nets) > 1
    # Windows in whole steps, of runs that have as many evaluations: diffusers leaves out a step that ends beyond its
    # window, a session one that begins beyond it.
    begin, end = 0, extra["steps"]
    if not task and extra["scheduler"] in ("DDIMScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler"):
        begin, end = rng.randint(0, 2), extra["steps"] - rng.randint(0, 1)
    window = begin / extra["steps"], end / extra["steps"]
    call = {"control_image" if task else "image": images if several else images[0],
            "controlnet_conditioning_scale": weights if several else weights[0], "guess_mode": guess,
            "control_guidance_start": window[0], "control_guidance_end": window[1]}
    for one in told:
        one.update(guess=guess, begin=window[0], end=window[1])
    return f"{family}ControlNet{task}Pipeline", nets, told, call


def as_arrays(pictures):
    """(N, C, H, W) of whole numbers to a list of (H, W, C) bytes."""
    return list(pictures.permute(0, 2, 3, 1).to(torch.uint8).numpy())


def run_session(model, case, nets=(), told=()):
    """The final samples and images of a case, with ControlNets' folders and how they are attached."""
    with ExitStack() as stack:
        session = stack.enter_context(mcm.Session(
            model, case["batch"], case["width"], case["height"], steps=case["steps"], eta=case["eta"],
            scheduler=KINDS.get(case["scheduler"], "default"), scheduler_options=case["options"],
            strength=case["strength"], guidance_scale=case["guidance"], guidance_rescale=case["rescale"]))
        if model.info.text_channels:
            prompt = mcm.Prompt.encode(model, case["prompts"], clip_skip=case["clip_skip"])
            session.set_prompt(prompt, case["negatives"])
        size = (case["images"], 3, case["height"], case["width"])
        if case["image"] is not None:
            session.set_image(as_arrays(picture(size, case["image"])))
        if case["mask"] is not None:
            session.set_mask(as_arrays(picture((size[0], 1, *size[2:]), case["mask"])))
        for folder, one in zip(nets, told):
            controlnet = stack.enter_context(mcm.ControlNet.open(folder))
            session.attach_controlnet(controlnet, **{**one, "images": as_arrays(one["images"])})
        session.seed(case["seeds"])
        session.run()
        return session.x, session.result()


def check_pipelines(report, rng, count=60):
    """On small random models: Stable Diffusion 1, 2, XL and its refiner, inpainting and consistency models, latent
    diffusion; a third with ControlNets."""
    quietly()
    files = {name: model_files(name) for name in MODELS}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        models = {}
        for name in MODELS:
            save_files(files[name], f"{folder}/{name}")
            models[name] = stack.enter_context(mcm.Model.open(f"{folder}/{name}"))
        done = 0
        while done < count:
            model, kind, extra = random_case(rng, files)
            nets, told, beside, call = [], [], None, None
            if model in ("sd1", "sd2", "xl", "inpainting") and rng.random() < 0.5:
                kind, nets, told, call = random_control(rng, model, kind, extra)
                beside = {"controlnet": nets if len(nets) > 1 else nets[0]}
            try:
                case, samples, pictures = latent_case(files, "", model, kind, extra, rng.randrange(2 ** 31), beside,
                                                      call)
            except (ValueError, AssertionError):    # no step is left; a latent between two vectors of the codebook
                continue
            if not samples.isfinite().all():
                continue
            for i, net in enumerate(nets):
                net.save_pretrained(f"{folder}/controlnet{i}")
            x, images = run_session(models[model], case, [f"{folder}/controlnet{i}" for i in range(len(nets))], told)
            controls = [{k: v for k, v in one.items() if k != "images"} for one in told]
            name = (f"{done}: {model}, {kind}, {case['scheduler']}, {case['steps']} steps, "
                    f"strength {case['strength']}, guidance {case['guidance']}, {case['batch']} images"
                    f"{f', ControlNets {controls}' if nets else ''}")
            group = "controlled" if nets else "pipeline"
            report.add(group, name, relative_error(x, samples), BOUND)
            report.add("pixels", f"{name}: largest difference",
                       int(np.abs(images.astype(int) - pictures.numpy().astype(int)).max()), PIXEL_BOUND)
            done += 1


def check_end_to_end(report, rng, count=2, folder=os.path.join(ROOT, "examples", "fashion", "base")):
    """The same images as diffusers' DDPM and DDIM pipelines for the same seeds."""
    with mcm.Model.open(folder) as model:
        for cls, steps, eta, per_image in ((DDPMPipeline, 100, 0.0, False), (DDPMPipeline, 20, 0.0, True),
                                           (DDIMPipeline, 50, 0.0, False), (DDIMPipeline, 20, 1.0, True)):
            seeds = [rng.randrange(2 ** 63) for _ in range(count if per_image else 1)]
            generators = [torch.Generator().manual_seed(s) for s in seeds]
            loaded = cls.from_pretrained(folder)
            kind = DDPMScheduler if cls is DDPMPipeline else DDIMScheduler
            loaded.scheduler = kind.from_config(loaded.scheduler.config)
            loaded.set_progress_bar_config(disable=True)
            options = {"eta": eta} if cls is DDIMPipeline else {}
            images = loaded(batch_size=count, generator=generators if per_image else generators[0],
                            num_inference_steps=steps, output_type="np", **options).images
            ref = (images * 255).round().astype(np.uint8)
            out = mcm.generate(model, seeds=seeds, batch=count, scheduler=KINDS[kind.__name__], steps=steps, eta=eta)
            worst = int(np.abs(out.astype(int) - ref.reshape(out.shape).astype(int)).max())
            name = f"{cls.__name__}, {steps} steps, eta {eta}, {len(seeds)} seeds: largest pixel difference"
            report.add("end-to-end", name, worst, PIXEL_BOUND)
