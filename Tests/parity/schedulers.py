"""Schedulers: whole runs on noise in place of predictions."""
import importlib.util
import inspect
import math
import random
import tempfile

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

import mcm
from random_models import least_unet, save_folder
from report import LEFT_OUT, relative_error

# torch's square root is up to one unit in the last place off (it comes from a vector library), so whole
# trajectories drift apart with their length even where every other operation is the same.
# Against float64 ours are as near as diffusers' own, 3e-6 at most.
BOUND = 5e-6
BOUND_STEPS = 100
# Rescaling to zero terminal SNR, and the cosine schedule, have an abar so near 1 that one unit in its last place is up to
# 1e-3 of the noise's 1 - abar, which divides.
NEAR_ONE_BOUND = 5e-4
# The solvers divide differences of logarithms, which torch rounds its own way, by small steps; those of beta sigmas are
# the smallest.
SOLVER_BOUND, BETA_SIGMAS_BOUND = 1e-5, 3e-5
# Third orders divide by the square of small steps: on noise in place of predictions diffusers is 1e-5 from itself in
# float64, and with beta sigmas 6e-3.
THIRD_ORDER_BOUND, THIRD_ORDER_BETA_BOUND = 1e-4, 1e-2
# Schedules that end near zero signal begin with sigmas of thousands, which leave the rounding of large numbers behind, and
# end with sigmas that one unit in abar's last place changes by 1e-3.
ILL_CONDITIONED_BOUND = 5e-3

KINDS = {"DDPMScheduler": "ddpm", "DDIMScheduler": "ddim", "PNDMScheduler": "pndm", "LMSDiscreteScheduler": "lms",
         "EulerDiscreteScheduler": "euler", "EulerAncestralDiscreteScheduler": "euler_ancestral",
         "HeunDiscreteScheduler": "heun", "DPMSolverMultistepScheduler": "dpm_solver_multistep",
         "UniPCMultistepScheduler": "unipc", "LCMScheduler": "lcm"}
SPACINGS = ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
SOLVERS = list(KINDS)[2:]
if importlib.util.find_spec("scipy") is None:
    LEFT_OUT.append("LMS and beta sigmas, for which diffusers wants scipy, which is not installed")
    SPACINGS.remove("use_beta_sigmas")
    SOLVERS.remove("LMSDiscreteScheduler")


def near_one(config):
    return config.get("rescale_betas_zero_snr") or config["beta_schedule"] == "squaredcos_cap_v2"


def random_scheduler(rng):
    """A scheduler, and a number of steps at which diffusers itself works."""
    while True:
        cls = rng.choice([DDPMScheduler, DDIMScheduler])
        train = rng.choice([1000, 1000, rng.randint(20, 2000)])
        config = dict(
            num_train_timesteps=train, prediction_type=rng.choice(["epsilon", "sample", "v_prediction"]),
            timestep_spacing=rng.choice(["leading", "trailing", "linspace"]), steps_offset=rng.choice([0, 0, 1]),
            beta_schedule=rng.choice(["linear", "scaled_linear", "squaredcos_cap_v2"]),
            beta_start=rng.choice([1e-4, 0.00085, 0.0015]), beta_end=rng.choice([0.02, 0.012, 0.0195]),
            clip_sample=rng.random() < 0.6, clip_sample_range=rng.choice([1.0, 1.0, 0.5, 2.0]),
            thresholding=rng.random() < 0.2, dynamic_thresholding_ratio=rng.choice([0.995, 0.9]),
            sample_max_value=rng.choice([1.0, 1.5, 20.0]))
        if rng.random() < 0.15:
            config["trained_betas"] = [rng.uniform(1e-4, 10 / train) for _ in range(train)]
        if rng.random() < 0.15:     # a prediction of the noise says nothing about x_0 where alpha is 0
            config.update(rescale_betas_zero_snr=True, prediction_type=rng.choice(["sample", "v_prediction"]))
        if cls is DDIMScheduler:
            config["set_alpha_to_one"] = rng.random() < 0.7
        else:
            config["variance_type"] = rng.choice(["fixed_small", "fixed_small_log", "fixed_large", "learned",
                                                  "learned_range"])
            config["beta_schedule"] = rng.choice([config["beta_schedule"], "sigmoid"])
        scheduler, steps = cls(**config), rng.randint(1, min(train, 60))
        scheduler.set_timesteps(steps)
        # Rounding makes some "trailing" runs one step too long, ending at timestep -1, and an offset can lead
        # past the last timestep.
        if len(scheduler.timesteps) == steps and scheduler.timesteps.min() >= 0 and scheduler.timesteps.max() < train:
            return scheduler, steps


def random_prediction(scheduler, shape):
    """Noise in place of a prediction, with a variance that is not negative where one is learned."""
    variance = scheduler.config.get("variance_type", "fixed_small")
    if variance not in ("learned", "learned_range"):
        return 0.9 * torch.randn(shape)
    n, c, h, w = shape
    second = torch.randn(shape)
    return torch.cat([0.9 * torch.randn(shape), second.square() * 0.1 if variance == "learned" else second], 1)


def check_scheduler(report, name, scheduler, steps, eta=0.0, kind="default", reference=None, seed=0):
    """A whole trajectory of the scheduler of a model, or of `reference`, made from it, where `kind` asks for
    another class; and add_noise."""
    torch.manual_seed(seed)
    learned = scheduler.config.get("variance_type") in ("learned", "learned_range")
    unet = UNet2DModel.from_config(least_unet(3).config, out_channels=6 if learned else 3)
    reference = reference or scheduler
    reference.set_timesteps(steps)
    options = {"eta": eta} if isinstance(reference, DDIMScheduler) else {}
    shape = (2, 3, random.Random(seed).randint(1, 8), 6)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        save_folder(folder, "DDIMPipeline" if isinstance(scheduler, DDIMScheduler) else "DDPMPipeline", unet=unet,
                    scheduler=scheduler)
        with mcm.Model.open(folder) as model, mcm.Scheduler(model, kind, steps, eta) as ours:
            if ours.timesteps.tolist() != reference.timesteps.tolist():
                worst = math.inf
            x = torch.randn(shape)
            mine, generator, noises = x, torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
            for i, t in enumerate(reference.timesteps):
                prediction = random_prediction(reference, shape)
                theirs = reference.step(prediction, t, x, generator=generator, **options)
                noise = torch.randn(shape, generator=noises) if ours.needs_noise(i) else None
                mine, x0 = ours.step(i, mine, prediction, noise)
                x = theirs.prev_sample
                worst = max(worst, relative_error(mine, x), relative_error(x0, theirs.pred_original_sample))
            t = int(reference.timesteps[len(reference.timesteps) // 2])
            clean, noise = torch.randn(shape), torch.randn(shape)
            worst = max(worst, relative_error(ours.add_noise(t, clean, noise),
                                              reference.add_noise(clean, noise, torch.tensor([t, t]))))
    bound = NEAR_ONE_BOUND if near_one(reference.config) else BOUND
    report.add("scheduler", name, worst, bound * max(1, steps / BOUND_STEPS))


def describe(scheduler):
    defaults = type(scheduler)().config
    changed = {k: v for k, v in scheduler.config.items() if not k.startswith("_") and v != defaults[k]}
    if "trained_betas" in changed:
        changed["trained_betas"] = "..."
    return f"{type(scheduler).__name__} {changed}"


def check_schedulers(report, rng, count=60):
    for cls in (DDPMScheduler, DDIMScheduler):
        check_scheduler(report, f"{cls.__name__}, 1000 steps", cls(), 1000)
    for i in range(count):
        scheduler, steps = random_scheduler(rng)
        kind, reference = "default", scheduler
        learned = scheduler.config.get("variance_type") in ("learned", "learned_range")
        if rng.random() < 0.3 and not learned and scheduler.config.beta_schedule != "sigmoid":
            cls = rng.choice([DDPMScheduler, DDIMScheduler])
            kind, reference = KINDS[cls.__name__], cls.from_config(scheduler.config)
        eta = rng.choice([0.0, 0.5, 1.0]) if isinstance(reference, DDIMScheduler) else 0.0
        if scheduler.config.rescale_betas_zero_snr:     # diffusers takes the root of a rounding error at eta 1
            eta = min(eta, 0.5)
        check_scheduler(report, f"{i}: {kind}, {steps} steps, eta {eta}, {describe(scheduler)}", scheduler,
                        steps, eta, kind, reference, seed=rng.randrange(2 ** 31))


def random_solver(rng):
    """A scheduler that is neither DDPM nor DDIM, and a number of steps at which its timesteps are in range."""
    while True:
        scheduler, steps = solver_and_steps(rng)
        scheduler.set_timesteps(steps)
        train = scheduler.config.num_train_timesteps
        if scheduler.config.timestep_spacing == "trailing" and len(np.arange(train, 0, -train / steps)) != steps:
            continue        # numpy makes a step too many, which sets the range of other spacings
        if scheduler.timesteps.min() >= 0 and scheduler.timesteps.max() < train:
            return scheduler, steps


def solver_and_steps(rng):
    kind = rng.choice(SOLVERS)
    cls = getattr(diffusers, kind)
    own = inspect.signature(cls.__init__).parameters
    train = rng.choice([1000, 1000, 1000, rng.randint(100, 2000)])
    config = dict(
        num_train_timesteps=train, timestep_spacing=rng.choice(["leading", "trailing", "linspace"]),
        prediction_type=rng.choice(["epsilon", "epsilon", "v_prediction", "sample"]),
        steps_offset=rng.choice([0, 0, 1]),
        beta_schedule=rng.choice(["linear", "scaled_linear", "scaled_linear", "squaredcos_cap_v2"]),
        beta_start=rng.choice([1e-4, 0.00085, 0.0015]), beta_end=rng.choice([0.02, 0.012, 0.0195]),
        thresholding=rng.random() < 0.1, sample_max_value=rng.choice([1.0, 1.5]), clip_sample=rng.random() < 0.3,
        solver_order=rng.choice([1, 2, 2, 3]), lower_order_final=rng.random() < 0.8, euler_at_final=rng.random() < 0.2,
        final_sigmas_type=rng.choice(["zero", "zero", "sigma_min"]), set_alpha_to_one=rng.random() < 0.5,
        skip_prk_steps=rng.random() < 0.5, interpolation_type=rng.choice(["linear", "linear", "log_linear"]),
        original_inference_steps=rng.choice([50, 50, 80]), predict_x0=rng.random() < 0.8,
        disable_corrector=rng.choice([[], [], [0, 2]]))
    if rng.random() < 0.1:
        config["trained_betas"] = [rng.uniform(1e-4, 10 / train) for _ in range(train)]
    if rng.random() < 0.4:
        config[rng.choice(SPACINGS)] = True
    if rng.random() < 0.15 and "rescale_betas_zero_snr" in own:
        config.update(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    if kind == "DPMSolverMultistepScheduler":
        config["algorithm_type"] = rng.choice(["dpmsolver++", "dpmsolver++", "sde-dpmsolver++", "dpmsolver",
                                               "sde-dpmsolver"])
        config["solver_type"] = rng.choice(["midpoint", "heun"])
        if config["algorithm_type"] in ("dpmsolver", "sde-dpmsolver"):
            config["final_sigmas_type"] = "sigma_min"
        if config["algorithm_type"] == "sde-dpmsolver":
            config["solver_order"] = rng.choice([1, 2])
    elif kind == "UniPCMultistepScheduler":
        config["solver_type"] = rng.choice(["bh1", "bh2"])
        if config["solver_type"] == "bh1" or not (config["predict_x0"] and config["lower_order_final"]):
            config["final_sigmas_type"] = "sigma_min"     # at zero diffusers divides infinities
    if kind in ("PNDMScheduler", "EulerAncestralDiscreteScheduler") and config["prediction_type"] == "sample":
        config["prediction_type"] = "epsilon"
    return cls(**{k: v for k, v in config.items() if k in own}), rng.randint(4, 50)


def solver_trajectory(scheduler, ours, steps, seed):
    """The largest distance of samples and predicted originals over all steps of a run; timesteps that differ by more
    than rounding count too."""
    torch.manual_seed(seed)
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    if len(ours.timesteps) != len(scheduler.timesteps):
        return math.inf
    shape = (2, 3, random.Random(seed).randint(1, 8), 6)
    generator, noises = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    options = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    start = torch.randn(shape)
    x, mine = start * scheduler.init_noise_sigma, start.numpy() * np.float32(ours.init_noise_sigma)
    scale = 0.5 if scheduler.config.prediction_type == "sample" else 0.9
    # numpy's logarithms are not rounded correctly, and some classes cut timesteps off to whole numbers.
    slack = 0.05 if scheduler.timesteps.is_floating_point() else 1
    slack = slack if any(scheduler.config.get(s) for s in SPACINGS) else 1e-3
    slack = max(slack, 0.5) if near_one(scheduler.config) else slack
    worst, history = 0.0, ours.history(mine)
    for i, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(x, t)
        worst = max(worst, relative_error(ours.scale_model_input(i, mine), scaled), relative_error(mine, x))
        if abs(ours.model_timesteps[i] - float(t)) > slack:
            return math.inf
        prediction = scale * torch.randn(shape)
        theirs = scheduler.step(prediction, t, x, **options)
        noise = torch.randn(shape, generator=noises) if ours.needs_noise(i) else None
        mine, x0 = ours.step(i, mine, prediction, noise, history)
        original = theirs.get("pred_original_sample", theirs.get("denoised"))
        if original is not None:
            worst = max(worst, relative_error(x0, original))
        x = theirs.prev_sample
        if not x.isfinite().all():      # the last step of some runs divides zero by zero in diffusers
            return worst
    return max(worst, relative_error(mine, x))


def check_solvers(report, rng, count=150):
    """Random configurations, as the model's own scheduler and as options on another's."""
    for i in range(count):
        scheduler, steps = random_solver(rng)
        own = rng.random() < 0.5
        kind, options = ("default", None) if own else (KINDS[type(scheduler).__name__], options_of(scheduler))
        name = f"{i}: {'own' if own else 'options'}, {steps} steps, {describe(scheduler)}"
        with tempfile.TemporaryDirectory() as folder:
            save_folder(folder, "DDPMPipeline", unet=least_unet(3), scheduler=scheduler if own else DDPMScheduler())
            with mcm.Model.open(folder) as model:
                try:
                    ours = mcm.Scheduler(model, kind, steps, options=options)
                except mcm.MCMError as error:
                    # A run that diffusers cannot do either, or that makes a number that is not finite there.
                    report.add("solver", f"{name}: {error}", math.inf if finite_run(scheduler, steps) else 0,
                               SOLVER_BOUND)
                    continue
                report.add("solver", name, solver_trajectory(scheduler, ours, steps, rng.randrange(2 ** 31)),
                           solver_bound(scheduler.config))


def options_of(scheduler):
    return {k: v for k, v in scheduler.config.items() if not k.startswith("_")}


def solver_bound(config):
    third, beta_sigmas = config.get("solver_order") == 3, config.get("use_beta_sigmas")
    if third and beta_sigmas:
        return THIRD_ORDER_BETA_BOUND
    if near_one(config):
        return ILL_CONDITIONED_BOUND
    return THIRD_ORDER_BOUND if third else BETA_SIGMAS_BOUND if beta_sigmas else SOLVER_BOUND


def finite_run(scheduler, steps):
    """Whether diffusers gets through a run with finite numbers."""
    try:
        scheduler.set_timesteps(steps)
        x = torch.randn(1, 1, 2, 2) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(torch.randn(x.shape), t, scheduler.scale_model_input(x, t) * 0 + x).prev_sample
        return bool(x.isfinite().all())
    except (IndexError, ValueError, ZeroDivisionError):
        return False
