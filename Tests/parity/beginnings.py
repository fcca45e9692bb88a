"""Runs that begin from an image, as diffusers' image-to-image and inpainting pipelines begin them."""
import inspect
import math
import tempfile

import torch
from diffusers import DDIMScheduler, DDPMScheduler

import mcm
from random_models import least_unet, randomise, save_folder
from report import relative_error
from schedulers import KINDS, SPACINGS, describe, options_of, random_scheduler, random_solver, solver_bound

from make_begun import begin, leaving

# Their timesteps are found from logarithms, which numpy rounds its own way; networks are told them.
SPACING_BOUND = 1e-4


def random_run(rng):
    """A scheduler, steps, strength and eta; None if diffusers makes no run of it."""
    scheduler, steps = random_solver(rng) if rng.random() < 0.8 else random_scheduler(rng)
    if scheduler.config.get("variance_type") in ("learned", "learned_range"):
        return None
    if scheduler.config.get("skip_prk_steps") is False:     # Runge-Kutta steps cannot be left out
        scheduler = type(scheduler).from_config(scheduler.config, skip_prk_steps=True)
    strength = rng.choice([*[rng.uniform(1 / steps, 1) for _ in range(2)], leaving(1, steps), leaving(2, steps), 1.0])
    return scheduler, steps, strength, rng.choice([0.0, 0.5]) if isinstance(scheduler, DDIMScheduler) else 0.0


def reference_run(scheduler, steps, strength, eta, seed, unet, image, mask):
    """Samples and predicted originals, None where diffusers gives none, after each step.

    image: (N, C, H, W) of -1 ... 1; mask: None, or (1, 1, H, W), 1 for what is painted."""
    timesteps = begin(scheduler, steps, strength)
    generator = torch.Generator().manual_seed(seed)
    parameters = inspect.signature(scheduler.step).parameters
    options = {k: v for k, v in dict(generator=generator, eta=eta).items() if k in parameters}
    noise = torch.randn(image.shape, generator=generator)
    if mask is not None and strength == 1:
        x = noise * scheduler.init_noise_sigma
    else:
        x = scheduler.add_noise(image, noise, timesteps[:1].repeat(len(image)))
    for i, t in enumerate(timesteps):
        with torch.no_grad():
            prediction = unet(scheduler.scale_model_input(x, t), t).sample
        out = scheduler.step(prediction, t, x, **options)
        x = out.prev_sample
        if mask is not None:
            kept = image
            if i + 1 < len(timesteps):
                kept = scheduler.add_noise(image, noise, torch.tensor([timesteps[i + 1]]))
            x = (1 - mask) * kept + mask * x
        yield x, out.get("pred_original_sample", out.get("denoised"))


def check_beginnings(report, rng, count=150):
    done = 0
    while done < count:
        run = random_run(rng)
        if run is None:
            continue
        scheduler, steps, strength, eta = run
        seed, batch = rng.randrange(2 ** 31), rng.randint(1, 2)
        torch.manual_seed(seed)
        pixels = torch.rand(batch, 8, 8, 3)
        mask = torch.rand(1, 1, 8, 8).round() if rng.random() < 0.4 else None
        unet = randomise(least_unet(3), seed)
        image = 2 * pixels.permute(0, 3, 1, 2) - 1
        try:
            steps_done = list(reference_run(scheduler, steps, strength, eta, seed, unet, image, mask))
        except (IndexError, ValueError, ZeroDivisionError):
            continue
        if not all(t.isfinite().all() for pair in steps_done for t in pair if t is not None):
            continue
        own = rng.random() < 0.5
        name = (f"{done}: {'own' if own else 'options'}, {steps} steps, strength {strength:.3f}"
                f"{'' if mask is None else ', mask'}, eta {eta}, {describe(scheduler)}")
        worst = 0.0
        with tempfile.TemporaryDirectory() as folder:
            save_folder(folder, "DDPMPipeline", unet=unet, scheduler=scheduler if own else DDPMScheduler())
            chosen = {} if own else dict(scheduler=KINDS[type(scheduler).__name__],
                                         scheduler_options=options_of(scheduler))
            try:
                with mcm.Model.open(folder) as model, mcm.Session(
                        model, batch, steps=steps, strength=strength, eta=eta, **chosen) as session:
                    session.set_image(list(pixels.numpy()))
                    if mask is not None:
                        session.set_mask(mask[0, 0].numpy())
                    session.seed(seed)
                    if session.steps != len(steps_done):
                        worst = math.inf
                    for _, (x, x0) in zip(session, steps_done):
                        worst = max(worst, relative_error(session.x, x))
                        if x0 is not None:
                            worst = max(worst, relative_error(session.x0, x0))
                        session.x = x       # a difference that is fed back to a network may grow
            except mcm.MCMError as error:
                name, worst = f"{name}: {error}", math.inf
        bound = solver_bound(scheduler.config)
        if any(scheduler.config.get(spacing) for spacing in SPACINGS):
            bound = max(bound, SPACING_BOUND)
        report.add("beginning", name, worst, bound)
        done += 1
