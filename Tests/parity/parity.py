#!/usr/bin/env python3
"""Compare libmcm with the installed diffusers, transformers and torch, live, through the C ABI.

    python parity.py --library build/libmcm.so [--seed 0] [--count N] [NAME ...]
    python parity.py --library build/libmcm.so --model FOLDER full-size

Random networks, texts, scheduler configurations and whole runs are done on both sides; a table shows the relative
error ||out - ref|| / ||ref|| of each and its bound, and the exit status is 1 if one is exceeded. The library is called
through its Python binding, bindings/python.

full-size is done only when it is named: it takes minutes and some 8 GB of memory, and wants the folder of a model with
the networks of Stable Diffusion 1.5, which may have random weights.
"""
import argparse
import os
import random
import sys
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKS = {      # what checks it, in which file
    "randn": ("randn", "check_randn"), "unets": ("unets", "check_unets"),
    "text-unets": ("text_unets", "check_text_unets"), "controlnets": ("text_unets", "check_controlnets"),
    "autoencoders": ("autoencoders", "check_autoencoders"), "texts": ("text", "check_texts"),
    "originals": ("original", "check_originals"), "schedulers": ("schedulers", "check_schedulers"),
    "solvers": ("schedulers", "check_solvers"), "beginnings": ("beginnings", "check_beginnings"),
    "pipelines": ("pipelines", "check_pipelines"), "end-to-end": ("pipelines", "check_end_to_end"),
    "training": ("training", "check_training")}


def prepare(library):
    """Before anything imports the binding: which library it is for."""
    os.environ["MCM_LIBRARY"] = os.path.abspath(library)
    sys.path.insert(0, os.path.join(HERE, "..", "..", "bindings", "python"))
    import diffusers
    import torch
    import transformers
    warnings.simplefilter("ignore")
    for package in (diffusers.utils, transformers):
        package.logging.set_verbosity_error()
        package.logging.disable_progress_bar()
    return torch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="NAME",
                        help=f"which ones: {', '.join(CHECKS)} (default: all of these), full-size")
    parser.add_argument("--library", required=True, help="path of libmcm.so")
    parser.add_argument("--model", help="model folder for full-size")
    parser.add_argument("--seed", type=int, default=0, help="of the random configurations")
    parser.add_argument("--count", type=int, help="random configurations per check")
    arguments = parser.parse_args()
    for name in set(arguments.checks) - {*CHECKS, "full-size"}:
        parser.error(f"no check is named {name}, expected one of {', '.join(CHECKS)}, full-size")
    if "full-size" in arguments.checks and not arguments.model:
        parser.error("full-size wants --model FOLDER")
    torch = prepare(arguments.library)
    from report import Report
    report, threads = Report(), torch.get_num_threads()
    for name in arguments.checks or CHECKS:
        rng = random.Random(f"{arguments.seed} {name}")
        if name == "full-size":
            from full_size import check_full_size
            torch.set_num_threads(threads)
            check_full_size(report, rng, arguments.model)
            continue
        torch.set_num_threads(1)    # networks this small are slower on more
        module, check = CHECKS[name]
        counts = [arguments.count] if arguments.count else []
        getattr(__import__(module), check)(report, rng, *counts)
    sys.exit(0 if report.finish() else 1)


if __name__ == "__main__":
    main()
