"""The README's measured claims are docs/benchmark.json's."""
from __future__ import annotations

import json
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
RESULTS = {(result["work"], result["threads"]): result["contenders"]
           for result in json.loads((ROOT / "docs" / "benchmark.json").read_text())["results"]}
COLUMNS = ["libmcm", "torch", "sdcpp", "openvino", "ncnn"]  # of the README's table
NETWORKS = ["fashion-b1", "fashion-b8", "fashion-b64", "cifar-b1", "cifar-b8", "celebahq-b1", "ldm-b1", "ldm-b4",
            "sd-unet-b2"]


def measured(work: str, column: str) -> dict:
    """With two threads; of PyTorch's two layouts the faster."""
    contenders = RESULTS[work, 2]
    names = ["torch", "torch-cl"] if column == "torch" else [column]
    found = [contenders[name] for name in names if "ms" in contenders.get(name, {})]
    return min(found, key=lambda result: result["ms"], default={})


class NumberTests(unittest.TestCase):
    def test_table(self):
        rows = {
            "a step with guidance": ("sd-unet-b2", lambda m: f"{m['ms'] / 1000:.1f} s"),
            "an image of 20 steps": ("sd-512-20", lambda m: f"{m['ms'] / 1000:.3g} s, {m['peak_mb'] / 1000:.1f} GB"),
            "its decoder": ("vae-decode-512", lambda m: f"{m['ms'] / 1000:.1f} s, {m['working_mb']:.0f} MB"),
            "its text encoder": ("clip-text", lambda m: f"{m['ms']:.0f} ms"),
            "LDM CelebA-HQ": ("ldm-b1", lambda m: f"{m['ms'] / 1000:.2f} s, {m['peak_mb'] / 1000:.1f} GB"),
        }
        for title, (work, text) in rows.items():
            row = re.search(rf"^\| [^|]*{title}[^|]*\|(.*)\|$", README, re.M)[1].replace("**", "")
            cells = [cell.strip() for cell in row.split("|")]
            results = [measured(work, column) for column in COLUMNS]
            self.assertEqual(cells, [text(result) if result else "" for result in results], title)

    def test_ranges(self):
        names = {"PyTorch": "torch", "OpenVINO": "openvino", "ncnn": "ncnn"}
        claim = re.search(r"\*\*Fast and small\.\*\*(.*?)\n- ", README, re.S)[1].replace("\n ", "")
        for name, column in names.items():
            contenders = [RESULTS[work, 2] for work in NETWORKS]
            columns = ["torch", "torch-cl"] if column == "torch" else [column]
            ratios = [min(c[name]["ratio"] for name in columns if name in c) for c in contenders]
            least, most = re.search(rf"([\d.]+) to ([\d.]+) times as fast as {name}", claim).groups()
            self.assertEqual((least, most), (f"{min(ratios):.1f}", f"{max(ratios):.1f}"), name)
        self.assertIn(f"{RESULTS['sd-unet-b2', 2]['sdcpp']['ratio']:.1f} times as fast as stable-diffusion.cpp", claim)

    def test_memory(self):
        self.assertIn("in less memory than PyTorch and OpenVINO", " ".join(README.split()))
        for work in [*NETWORKS, "sd-512-20"]:
            contenders = RESULTS[work, 2]
            others = [contenders[name]["peak_mb"] for name in ("torch", "torch-cl", "openvino") if name in contenders]
            self.assertLess(contenders["libmcm"]["peak_mb"], min(others), work)


if __name__ == "__main__":
    unittest.main()
