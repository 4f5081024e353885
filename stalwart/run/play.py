"""Using a policy that was learned: evaluate it on whole episodes, and record pictures of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stalwart.core.contracts import Event
from stalwart.core.errors import CheckpointError, InputError
from stalwart.core.rng import seed_of
from stalwart.mdp.evaluation import Episodes, evaluate
from stalwart.mdp.open import is_id, open_single, open_worlds
from stalwart.mdp.policies import Policy
from stalwart.mdp.spaces import Spaces, flat
from stalwart.run._movie import encoder, write_mp4
from stalwart.store import atomic, checkpoint

PICTURES = (".gif", ".webp", ".mp4")


def evaluate_policy(
    run: str | Path,
    *,
    env: str | None = None,
    episodes: int = 100,
    seed: int = 10_000,
    worlds: int = 16,
    sample: bool = False,
    device: str = "cpu",
) -> Iterator[Event]:
    """Play whole episodes with a learned policy.

    Args:
        run: a run folder, whose best policy is taken, or a checkpoint folder.
        env: where to; None: where it was trained.
        seed: of the worlds; training's are hashes of its own seed, so no episode is one of those.
        worlds: side by side; each plays its share of the episodes.
        sample: draw actions by the policy's chances in place of the best one.

    Yields:
        start, progress, result with mean_return, its interval (95 %, Student's t) and episodes.

    Raises:
        InputError: no policy there, or one for other spaces.
    """
    if episodes < 1:
        raise InputError(f"episodes must be at least 1. Got {episodes}.")
    policy, env = load_policy(run, env, device)
    many = open_worlds(env, min(worlds, episodes))
    try:
        _expect_fit(policy, Spaces.of(many), run, env)
        yield Event("start", {"what": "evaluate", "env": env, "total": episodes, "unit": "episodes"})
        begun, found = time.perf_counter(), Episodes()
        for found in evaluate(policy, many, episodes, seed, sample=sample):
            done = len(found.returns)
            rate = done / max(time.perf_counter() - begun, 1e-9)
            left = {"left_s": (episodes - done) / rate} if done else {}
            yield Event("progress", {"done": done, "total": episodes, "unit": "episodes", "rate": rate, **left})
        figures = {**found.figures(), "env": env, "seed": seed, "policy": str(run), "sampled": sample}
        yield Event("result", {"kind": "play", **figures})
    finally:
        many.close()


def load_policy(run: str | Path, env: str | None = None, device: str = "cpu") -> tuple[Policy, str]:
    """A run's best policy, and the environment: the one given, or the one it was trained in.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or no policy.
    """
    policy = checkpoint.load(run, device)
    if not isinstance(policy, Policy):
        raise CheckpointError(f"{run} holds no policy but {policy.card['model']}.")  # type: ignore[index]
    return policy, env if env is not None else str(policy.card["data"])  # type: ignore[index]


def _expect_fit(policy: Policy, spaces: Spaces, run: str | Path, env: str) -> None:
    own, wanted = (policy.inputs, policy.states, policy.outputs), (
        spaces.inputs, spaces.states, spaces.actions or spaces.dims,
    )  # fmt: skip
    if own != wanted or (policy.kind in ("values", "logits")) != bool(spaces.actions):
        raise InputError(
            f"{run} holds a policy from {own[0]} {'states' if own[1] else 'numbers'} to {own[2]} outputs; {env} needs "
            f"{wanted[0]} {'states' if wanted[1] else 'numbers'} and {wanted[2]} "
            f"{'discrete actions' if spaces.actions else 'numbers of an action'}."
        )


def watch(
    run: str | Path,
    out: str | Path,
    *,
    env: str | None = None,
    episodes: int = 1,
    seed: int = 10_000,
    most: int = 1000,
    rate_hz: float = 30.0,
) -> Iterator[Event]:
    """Record episodes as a moving picture (GIF, WebP or, with PyAV, MP4). It opens no window and needs no display.

    Args:
        most: pictures at most.
        rate_hz: pictures a second.

    Yields:
        start, progress, saved, result.

    Raises:
        InputError: an environment without pictures, or a file name of another kind.
    """
    to = Path(out)
    if to.suffix.lower() not in PICTURES:
        raise InputError(f"{to}: moving pictures are written as {', '.join(PICTURES)}. Got {to.suffix or 'none'!r}.")
    if to.suffix.lower() == ".mp4":
        encoder()
    policy, env = load_policy(run, env)
    if not is_id(env):
        raise InputError(f"{env} has no pictures; only Gymnasium's environments can be watched so far.")
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    one = open_single(env, render=True)
    yield Event("start", {"what": "watch", "env": env, "total": episodes, "unit": "episodes"})
    frames: list[Image.Image] = []
    total = 0.0
    try:
        for episode in range(episodes):
            seen, _ = one.reset(seed=seed_of(seed, episode) % 2**31)
            memory, over = None, False
            while not over and len(frames) < most:
                frames.append(_picture(one, env))
                with torch.inference_mode():
                    actions, memory = policy.act(torch.from_numpy(flat(np.asarray(seen)[None])), memory)
                taken = actions[0].numpy().reshape(one.action_space.shape or ())
                seen, reward, ended, cut, _ = one.step(taken)
                total, over = total + float(reward), ended or cut
            frames.append(_picture(one, env))
            yield Event("progress", {"done": episode + 1, "total": episodes, "unit": "episodes"})
    finally:
        one.close()
    to.parent.mkdir(parents=True, exist_ok=True)
    kind = to.suffix[1:].upper()

    def fill(path: Path) -> None:
        if kind == "MP4":
            write_mp4(path, (np.asarray(frame) for frame in frames), Fraction(rate_hz).limit_denominator(1000))
        else:
            frames[0].save(path, kind, save_all=True, append_images=frames[1:], duration=round(1000 / rate_hz), loop=0)

    atomic.write(to, fill)
    yield Event("saved", {"path": str(to)})
    yield Event("result", {"kind": "watch", "env": env, "episodes": episodes, "pictures": len(frames), "return": total})


def _picture(env: Any, name: str) -> Image.Image:
    import gymnasium  # for its error alone

    try:
        pixels = env.render()
    except gymnasium.error.DependencyNotInstalled as error:
        raise InputError(f"{name}: {' '.join(str(error).split())}") from None
    if not isinstance(pixels, np.ndarray):
        raise InputError(f"{name} must give pictures as arrays. Got {type(pixels).__name__}.")
    return Image.fromarray(pixels)
