"""Write solvers.safetensors and solver_pipelines.safetensors: trajectories of the schedulers that make_fixtures.py
leaves out (PNDM, LMS, Euler, Heun, DPM-Solver, UniPC, LCM) as diffusers computes them. Needs scipy too.

    python make_schedulers.py [--out FOLDER]

README.md describes the files.
"""
import argparse
import inspect
import os

import diffusers
import torch
from diffusers import UNet2DModel

from make_fixtures import BASE, model_output, public_config, write

SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
V = dict(prediction_type="v_prediction")
X0 = dict(prediction_type="sample")
KARRAS, EXPONENTIAL, BETA = (dict([(f"use_{name}_sigmas", True)]) for name in ("karras", "exponential", "beta"))
ZERO_SNR = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", **V)
TRAINED = dict(num_train_timesteps=20, trained_betas=[round(0.001 * (1 + i) ** 1.5, 6) for i in range(20)])
LEADING, TRAILING, LINSPACE = (dict(timestep_spacing=s) for s in ("leading", "trailing", "linspace"))
SIGMA_MIN = dict(final_sigmas_type="sigma_min")

# What each class is tried with: (steps, arguments).
SHARED = [(10, {}), (7, TRAILING), (9, LEADING), (13, LINSPACE), (50, SD), (6, TRAINED), (10, {**V, **SD}),
          (8, dict(beta_schedule="squaredcos_cap_v2")), (5, dict(num_train_timesteps=400))]
SPACINGS = [(10, KARRAS), (25, {**KARRAS, **SD}), (10, EXPONENTIAL), (10, BETA), (11, {**KARRAS, **LEADING, **V})]
MULTISTEP = [(10, X0), (10, ZERO_SNR), (20, {**SIGMA_MIN, "solver_order": 3}), (14, dict(solver_order=3)),
             (15, dict(solver_order=3)), (50, dict(solver_order=1)), (10, dict(lower_order_final=False, **SIGMA_MIN)),
             (3, dict(solver_order=3)), (1, {}), (2, {}), (10, dict(thresholding=True, sample_max_value=1.5)),
             (25, {**KARRAS, **SD, "solver_order": 3})]
CASES = {
    "PNDMScheduler": [*SHARED, (50, dict(skip_prk_steps=True, **SD)), (10, dict(skip_prk_steps=True, **V)), (4, {}),
                      (1, dict(skip_prk_steps=True)), (2, dict(skip_prk_steps=True)), (10, dict(set_alpha_to_one=True)),
                      (12, dict(skip_prk_steps=True, **TRAILING))],
    "LMSDiscreteScheduler": [*SHARED, *SPACINGS, (10, X0), (1, {}), (2, {}), (50, KARRAS)],
    "EulerDiscreteScheduler": [*SHARED, *SPACINGS, (10, X0), (1, {}), (10, ZERO_SNR), (10, SIGMA_MIN),
                               (10, dict(interpolation_type="log_linear")), (10, {**V, "timestep_type": "continuous"}),
                               (10, {**KARRAS, "sigma_min": 0.05, "sigma_max": 20.0}), (10, {**SIGMA_MIN, **BETA})],
    "EulerAncestralDiscreteScheduler": [*SHARED, (10, ZERO_SNR), (1, {}), (50, {})],
    "HeunDiscreteScheduler": [*SHARED, *SPACINGS, (10, X0), (1, {}), (2, {}), (10, dict(clip_sample=True)),
                              (10, dict(clip_sample=True, clip_sample_range=2.0, **V)),
                              (10, dict(beta_schedule="exp"))],
    "DPMSolverMultistepScheduler": [
        *SHARED, *SPACINGS, *MULTISTEP, (10, dict(solver_type="heun")), (10, dict(lower_order_final=False)),
        (10, dict(euler_at_final=True, **SIGMA_MIN)),
        *[(steps, dict(algorithm_type="sde-dpmsolver++", solver_order=order, solver_type=kind, **extra))
          for steps, order, kind, extra in [(10, 1, "midpoint", {}), (10, 2, "midpoint", {}), (20, 2, "heun", V),
                                            (20, 3, "midpoint", {}), (25, 2, "midpoint", {**SD, **KARRAS})]],
        *[(10, dict(algorithm_type=name, solver_order=order, solver_type=kind, **SIGMA_MIN, **extra))
          for name, order, kind, extra in [("dpmsolver", 1, "midpoint", {}), ("dpmsolver", 2, "midpoint", V),
                                           ("dpmsolver", 2, "heun", {}), ("dpmsolver", 3, "midpoint", X0),
                                           ("dpmsolver", 2, "midpoint", dict(thresholding=True, sample_max_value=1.5)),
                                           ("sde-dpmsolver", 2, "midpoint", {}), ("sde-dpmsolver", 2, "heun", {})]],
        (10, dict(use_lu_lambdas=True)), (8, dict(lambda_min_clipped=-5.1, beta_schedule="squaredcos_cap_v2")),
        (8, dict(lambda_min_clipped=-3.0, **TRAILING))],
    "UniPCMultistepScheduler": [
        *SHARED, *SPACINGS, *MULTISTEP, (10, dict(solver_type="bh1", **SIGMA_MIN)),
        (12, dict(solver_type="bh1", solver_order=3, **SIGMA_MIN)),
        (10, dict(disable_corrector=[0, 3])), (10, dict(predict_x0=False, **SIGMA_MIN)),
        (10, dict(predict_x0=False, solver_order=3, solver_type="bh1", **SIGMA_MIN, **V)),
        (10, {**KARRAS, **SIGMA_MIN})],
    "LCMScheduler": [(4, {}), (1, {}), (8, V), (8, X0), (4, dict(clip_sample=True)),
                     (4, dict(thresholding=True, sample_max_value=1.5)), (7, dict(original_inference_steps=30)),
                     (4, dict(rescale_betas_zero_snr=True, **V)), (50, dict(timestep_scaling=1.0)),
                     (4, dict(beta_schedule="linear"))],
}


def trajectory(scheduler, steps, x, predict, generator):
    """Samples and predicted originals (None where diffusers gives none) after each step, as its pipelines go."""
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):     # else it begins at the second of equal first timesteps
        scheduler.set_begin_index(0)
    options = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    x = x * scheduler.init_noise_sigma
    samples, originals = [], []
    for i, t in enumerate(scheduler.timesteps):
        out = scheduler.step(predict(i, t, scheduler.scale_model_input(x, t)), t, x, **options)
        x = out.prev_sample
        samples.append(x)
        originals.append(out.get("pred_original_sample", out.get("denoised")))
    return samples, originals


def solvers():
    tensors, cases = {}, []
    for kind, entries in CASES.items():
        for number, (steps, arguments) in enumerate(entries):
            scheduler = getattr(diffusers, kind)(**arguments)
            name = f"{kind}.{number}"
            shape, seed = [2, 1, 3, 5], 700 + number
            generator = torch.Generator().manual_seed(seed)
            x = torch.randn(shape, generator=generator)
            samples, originals = trajectory(
                scheduler, steps, x, lambda i, t, x: model_output(scheduler.config, shape, i), generator)
            tensors[name] = torch.stack(samples)
            if originals[0] is not None:
                tensors[name + ".x0"] = torch.stack(originals)
            config = public_config(scheduler.config)
            config = {k: v for k, v in config.items() if v != -float("inf")}      # is no JSON
            cases.append({"name": name, "class": kind, "config": config, "steps": steps, "shape": shape, "seed": seed,
                          "timesteps": scheduler.timesteps.tolist(),
                          "init_noise_sigma": float(scheduler.init_noise_sigma)})
            assert all(x.isfinite().all() for x in samples), (name, steps, arguments)
    return tensors, cases


# name: class, steps, arguments beside those of the bundled model
PIPELINES = {
    "pndm": ("PNDMScheduler", 12, {}),
    "lms": ("LMSDiscreteScheduler", 10, {}),
    "euler_karras": ("EulerDiscreteScheduler", 12, KARRAS),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", 12, {}),
    "heun": ("HeunDiscreteScheduler", 6, {}),
    "dpm": ("DPMSolverMultistepScheduler", 12, {}),
    "dpm_sde_karras": ("DPMSolverMultistepScheduler", 12, dict(algorithm_type="sde-dpmsolver++", **KARRAS)),
    "unipc": ("UniPCMultistepScheduler", 12, dict(solver_order=3)),
    "lcm": ("LCMScheduler", 4, {}),
}


def solver_pipelines():
    tensors, cases = {}, []
    unet = UNet2DModel.from_pretrained(os.path.join(BASE, "unet"), torch_dtype=torch.float32).eval()
    base = diffusers.DDIMScheduler.from_pretrained(BASE, subfolder="scheduler").config
    for number, (name, (kind, steps, arguments)) in enumerate(PIPELINES.items()):
        scheduler = getattr(diffusers, kind).from_config(base, **arguments)
        shape = [2, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size]
        generator = torch.Generator().manual_seed(900 + number)
        x = torch.randn(shape, generator=generator)
        with torch.no_grad():
            samples, _ = trajectory(scheduler, steps, x, lambda i, t, x: unet(x, t).sample, generator)
        tensors[name] = samples[-1]
        cases.append({"name": name, "class": kind, "steps": steps, "options": arguments, "seed": 900 + number})
    return tensors, cases


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the golden trajectories of the solvers.")
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)), help="folder to write to")
    out = parser.parse_args().out
    write(out, "solvers", *solvers())
    write(out, "solver_pipelines", *solver_pipelines())
