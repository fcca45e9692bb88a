"""What the comparisons find."""
import math

import torch

LEFT_OUT = []       # what cannot be compared here, and why: one line each


def relative_error(out, ref):
    """||out - ref|| / ||ref||, infinite where the shapes differ or out is not finite; tensors or arrays."""
    out, ref = torch.as_tensor(out).double(), torch.as_tensor(ref).double()
    if out.shape != ref.shape:
        return math.inf
    error = float((out - ref).norm() / ref.norm())
    return error if math.isfinite(error) else math.inf


class Report:
    """Prints a line per comparison as it is added, and a summary at the end."""

    def __init__(self):
        self.rows = []

    def add(self, group, name, error, bound):
        self.rows.append((group, name, error, bound))
        print(f"{'ok  ' if error <= bound else 'FAIL'} {group:10s} {error:9.2e} (<= {bound:.0e})  {name}", flush=True)

    def finish(self):
        """Prints the worst of each group; true if every bound holds."""
        print()
        for group in dict.fromkeys(row[0] for row in self.rows):
            rows = [row for row in self.rows if row[0] == group]
            worst = max(rows, key=lambda row: row[2] / row[3] if row[3] else row[2])
            failed = sum(row[2] > row[3] for row in rows)
            print(f"{group}: {len(rows)} comparisons, {failed} failed, worst {worst[2]:.2e} ({worst[1]})")
        for what in LEFT_OUT:
            print(f"left out: {what}")
        return bool(self.rows) and all(row[2] <= row[3] for row in self.rows)
