"""torch.randn."""
import torch

import mcm


def check_randn(report, rng, count=100):
    for _ in range(count):
        seed = rng.choice([rng.randrange(2 ** 32), rng.randrange(2 ** 63)])
        sizes = [rng.choice([rng.randint(1, 15), rng.randint(16, 64), rng.randint(1, 20000)])
                 for _ in range(rng.randint(1, 6))]
        theirs, ours = torch.Generator().manual_seed(seed), mcm.Generator(seed)
        different = sum(int((torch.randn(n, generator=theirs).numpy() != ours.normal(n)).sum()) for n in sizes)
        report.add("randn", f"seed {seed}, sizes {sizes}: values that differ", different, 0)
