"""The driving world's functions as a graphics card runs them: in Numba's simulator, and through its compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stalwart import drive
from stalwart.core.errors import InputError
from stalwart.drive.scene import Ground, Scene
from stalwart.drive.sensors.on_gpu import GpuScene
from stalwart.drive.world.angles import cosine_sine

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "drive_gpu.py"


@pytest.mark.slow
def test_the_simulated_card_moves_tells_hears_and_sees_what_the_processor_does() -> None:
    said = subprocess.run(
        [sys.executable, BENCHMARK, "--tiny"], env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    assert "integers of state" in said.stdout
    assert "LiDAR: range_m" in said.stdout
    assert "camera: rgb" in said.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a graphics card")
def test_without_a_card_one_line_says_so() -> None:
    with pytest.raises(InputError, match="needs a CUDA graphics card"):
        drive.make("crossroads(seed=1)", device="cuda")
    with pytest.raises(InputError, match=r"device=.*must be one of cpu, cuda"):
        drive.make("crossroads(seed=1)", device="tpu")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs a CUDA graphics card"):
        GpuScene.of(Scene.empty(1, 1, Ground(np.zeros((1, 4, 4), np.uint8), 1.0, np.zeros((1, 2), np.float32))))


def turned(i: int, angle: Any, out: Any) -> None:
    out[i, 0], out[i, 1] = cosine_sine(angle[i])


def test_a_form_for_the_card_compiles_to_its_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba import cuda, types

    from stalwart.drive import on_gpu

    try:
        compile_ptx: Any = cuda.compile_ptx
        compile_ptx(lambda: None, (), cc=(9, 0))
    except Exception as error:
        pytest.skip(f"Numba's compiler for graphics cards is not here: {str(error).splitlines()[0]}")

    class Card:
        compute_capability = (9, 0)

    monkeypatch.setattr(cuda.dispatcher, "get_current_device", lambda: Card)

    floats = types.Array(types.float32, 1, "C"), types.Array(types.float32, 2, "A")
    code, _ = compile_ptx(
        on_gpu.launcher(turned), types.void(types.int64, types.Tuple(floats)), cc=(9, 0), device=False
    )
    assert ".entry" in code
    assert "sin.approx" not in code  # the polynomial that the processor has


def test_numbers_of_neighbouring_worlds_lie_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    from stalwart.drive import on_gpu

    monkeypatch.setattr(on_gpu, "DEVICE", "cuda" if torch.cuda.is_available() else "cpu")
    given = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    assert on_gpu.spread(given).stride(0) == 1
    np.testing.assert_array_equal(on_gpu.spread(given).cpu().numpy(), given)
