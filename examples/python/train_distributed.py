"""Two processes train one module: each accumulates its own examples, the gradients are averaged, each takes the step.
The weights equal those of one process with the double batch, to rounding.

With torch: torch.distributed (gloo); without: pipes. From the root:  python examples/python/train_distributed.py
Each process on its own, with torch:  ... --world 2 --rank 0 --folder FOLDER, and --rank 1; an empty folder
"""
import argparse
import importlib.util
import multiprocessing
import tempfile
import time
from typing import Any

import mcm
import numpy as np
import numpy.typing as npt

NET = {"block_out_channels": [8], "norm_num_groups": 4, "layers_per_block": 1, "down_block_types": ["DownBlock2D"],
       "up_block_types": ["UpBlock2D"]}
CONFIG = {"net": NET, "prediction_channels": 1, "modalities": [{"name": "sketch", "channels": 1}]}
HAS_TORCH = importlib.util.find_spec("torch") is not None


def average(gradients: npt.NDArray[np.float32], rank: int, world: int, pipes: list[Any]) -> None:
    """The mean over all processes, in the trainer's own memory."""
    if HAS_TORCH:
        torch = importlib.import_module("torch")
        torch.distributed.all_reduce(torch.from_numpy(gradients))
    elif rank == 0:
        gradients += sum(pipe.recv() for pipe in pipes)
        for pipe in pipes:
            pipe.send(gradients)
    else:
        pipes[0].send(gradients)
        gradients[:] = pipes[0].recv()
    gradients /= world


def work(rank: int, world: int, pipes: list[Any], options: argparse.Namespace) -> None:
    # pipes: of rank 0 to all others; of another to rank 0
    if world > 1 and HAS_TORCH:
        start, meet = importlib.import_module("torch.distributed").init_process_group, f"file://{options.folder}/meet"
        start("gloo", init_method=meet, rank=rank, world_size=world)
    images = np.random.default_rng(0).integers(0, 256, (256, 7, 7), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    mcm.write_dataset(f"{options.folder}/examples-{rank}", images, sketch=255 * (images > 127))
    dataset = mcm.Dataset(f"{options.folder}/examples-{rank}")
    model = mcm.Model.open("examples/fashion/base", threads=1)
    trainer = mcm.Trainer(model, CONFIG, rank=rank, world=world, warmup_steps=0)
    for _ in range(options.steps):
        trainer.accumulate_dataset(dataset, options.batch // world)
        if world > 1:
            average(trainer.gradients, rank, world, pipes)
        trainer.apply()
    if world > 1 and HAS_TORCH:
        importlib.import_module("torch.distributed").destroy_process_group()
    if rank == 0:
        np.save(f"{options.folder}/weights-{world}.npy", trainer.parameters)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=16, help="examples per step, of all processes together")
    parser.add_argument("--world", type=int, default=2, help="number of processes")
    parser.add_argument("--rank", type=int, help="which this is; by default all are started and compared with one")
    parser.add_argument("--folder", help="where processes meet and rank 0 writes the weights; with --rank")
    options = parser.parse_args()
    if options.batch % options.world:
        parser.error(f"--batch is {options.batch}, expected a multiple of --world, {options.world}")
    if options.rank is not None:
        if not HAS_TORCH or not options.folder:
            parser.error("--rank needs torch, for the processes to meet, and --folder")
        work(options.rank, options.world, [], options)
        raise SystemExit
    options.folder = tempfile.mkdtemp()
    context, ends = multiprocessing.get_context("spawn"), [multiprocessing.Pipe() for _ in range(options.world - 1)]
    pipes = [[first for first, _ in ends], *([second] for _, second in ends)]
    processes = [context.Process(target=work, args=(k, options.world, pipes[k], options)) for k in range(options.world)]
    for process in processes:
        process.start()
    work(0, 1, [], options)
    while any(process.is_alive() for process in processes):
        if any(process.exitcode for process in processes):  # the others would wait for it
            for process in processes:
                process.terminate()
            raise SystemExit("a process failed")
        time.sleep(0.05)
    many, one = (np.load(f"{options.folder}/weights-{k}.npy") for k in (options.world, 1))
    difference = np.linalg.norm(many - one) / np.linalg.norm(one)
    print(f"{options.world} processes ({'gloo' if HAS_TORCH else 'pipes'}) and one differ by {difference:.1e}")
    assert difference <= 1e-4
