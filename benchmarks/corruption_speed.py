"""Corrupting images: ours, a batch at a time, against imagecorruptions, an image at a time.

For each kind and one severity both corrupt the same pictures in one process and one thread, turn and turn about; the
figure is CPU milliseconds an image (`time.process_time`), the least of the rounds. Needs
`pip install imagecorruptions-imaug scikit-image opencv-python-headless numba`.

    python benchmarks/corruption_speed.py --images 8 --rounds 3
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from stalwart.core.corruptions import KINDS, corrupt
from stalwart.core.memory import keep_memory
from stalwart.core.rng import Noise


def pictures(n: int, side: int) -> torch.Tensor:
    """(n, 3, side, side) with structure at every scale, on the 8-bit grid."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(n, 3, side, side)
    for cells in (3, 7, 15, 40, 110):
        rough = torch.rand(n, 3, cells, cells, generator=generator)
        total += nn.functional.interpolate(rough, (side, side), mode="bicubic") / 5
    return (total.clamp(0, 1) * 255).round() / 255


def cpu_ms(work: Callable[[], object], images: int) -> float:
    begun = time.process_time()
    work()
    return 1000 * (time.process_time() - begun) / images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), metavar="KIND")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()  # as every command does; the peer's arrays come from the same allocator
    warnings.simplefilter("ignore")
    import cv2
    import imagecorruptions

    cv2.setNumThreads(1)
    clean = pictures(options.images, options.side)
    arrays = [(image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy() for image in clean]
    noise = Noise.of_images(clean, 0)
    print(f"{options.images} images of {options.side} px, severity {options.severity}, CPU ms an image")
    print(f"{'kind':18}{'ours':>9}{'peer':>9}{'times':>8}")
    ratios, sums = [], [0.0, 0.0]
    for kind in options.only:

        def ours(kind: str = kind) -> object:
            return corrupt(clean, kind, options.severity, noise).mul(255).round().to(torch.uint8)

        def peer(kind: str = kind) -> object:
            return [imagecorruptions.corrupt(x, severity=options.severity, corruption_name=kind) for x in arrays]

        ours(), imagecorruptions.corrupt(arrays[0], severity=options.severity, corruption_name=kind)  # compile, tables
        rounds = [(cpu_ms(ours, len(clean)), cpu_ms(peer, len(clean))) for _ in range(options.rounds)]
        mine, theirs = (min(pair[side] for pair in rounds) for side in (0, 1))
        ratios.append(theirs / mine)
        sums = [sums[0] + mine, sums[1] + theirs]
        print(f"{kind:18}{mine:9.2f}{theirs:9.2f}{theirs / mine:8.1f}", flush=True)
    print(f"{'all of these':18}{sums[0]:9.2f}{sums[1]:9.2f}{sums[1] / sums[0]:8.1f}")
    print(f"geometric mean of the ratios: {np.exp(np.log(ratios).mean()):.1f}")


if __name__ == "__main__":
    main()
