"""Learning from pictures: what is seen of a game, that learners solve a task that only a picture tells, and Atari."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from stalwart.core import catalog
from stalwart.core.errors import InputError
from stalwart.mdp.arcade import Screen
from stalwart.mdp.evaluation import evaluate
from stalwart.mdp.open import open_worlds
from stalwart.mdp.policies import Policy
from stalwart.mdp.side import SideBySide
from stalwart.mdp.spaces import Spaces, flat


class Lamp(gymnasium.Env[NDArray[np.uint8], int]):
    """One step: one half of a picture is lit; to name it pays 1."""

    def __init__(self) -> None:
        self.observation_space, self.action_space = Box(0, 255, (36, 40, 1), np.uint8), Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self.side = int(self.np_random.integers(2))
        return self._shown(), {}

    def step(self, action: int) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        return self._shown(), float(action == self.side), True, False, {}

    def _shown(self) -> NDArray[np.uint8]:
        shown = np.zeros((36, 40, 1), np.uint8)
        shown[:, 20 * self.side : 20 * self.side + 20] = 255
        return shown


class Counter(gymnasium.Env[NDArray[np.uint8], int]):
    """Picture k of a game, of 168 × 168 pixels, is k everywhere but for a pixel row that flickers; it pays k."""

    def __init__(self, most: int = 10**6) -> None:
        self.observation_space, self.action_space = Box(0, 255, (168, 168), np.uint8), Discrete(2)
        self.most = most

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        self.k = 0
        return self._shown(), {}

    def step(self, action: int) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        self.k += 1
        return self._shown(), float(self.k), self.k >= self.most, False, {}

    def _shown(self) -> NDArray[np.uint8]:
        shown = np.full((168, 168), self.k, np.uint8)
        shown[:2] = 200 if self.k % 2 else 0
        return shown


def test_a_game_is_seen_as_its_last_four_pictures_of_every_fourth() -> None:
    screen = Screen(Counter())
    seen, _ = screen.reset()
    assert seen.shape == (4, 84, 84)
    assert seen.dtype == np.uint8
    assert (seen == 0).all()
    for round_ in range(1, 6):
        seen, reward, ended, cut, _ = screen.step(0)
        assert reward == sum(range(4 * round_ - 3, 4 * round_ + 1))
        assert not ended
        assert not cut
    assert seen[:, 50, 50].tolist() == [8, 12, 16, 20]
    assert (seen[:, 0] == 200).all()  # lit in the third picture alone: the brighter of the last two counts
    assert seen[-1, 1, 0] == 20


def test_a_game_that_ends_within_four_pictures_ends_there() -> None:
    screen = Screen(Counter(most=2))
    screen.reset()
    _, reward, ended, _, _ = screen.step(0)
    assert (ended, reward) == (True, 1 + 2)


@pytest.mark.parametrize(
    "spelled", ["ppo(horizon=32, batch=32, epochs=4, lr=0.001, widths=(16,))", "dqn(after=32, batch=16, widths=(16,))"]
)
def test_learners_see_pictures(spelled: str) -> None:
    worlds = SideBySide([Lamp] * 2)
    spaces = Spaces.of(worlds)
    assert spaces.pixels == (36, 40, 1)
    learner = catalog.make(spelled, "rl").begin(spaces, 2, 0, torch.device("cpu"))
    for _ in learner.chapter(worlds, 640, 1, 0.0, 1.0):
        pass
    *_, found = evaluate(learner.policy, SideBySide([Lamp] * 2), 20, 9)
    assert np.mean(found.returns) == 1.0
    again: Policy = catalog.make(learner.architecture, "models").build(None)
    again.load_state_dict(learner.policy.state_dict())
    seen = flat(SideBySide([Lamp] * 3).reset(seed=1)[0])
    assert seen.dtype == np.uint8
    assert torch.equal(again(torch.from_numpy(seen)), learner.policy(torch.from_numpy(seen)))


def test_channels_are_the_shortest_side_wherever_it_stands() -> None:
    picture = torch.randint(0, 256, (2, 3, 40, 44), dtype=torch.uint8)
    first = Policy(3 * 40 * 44, 2, "logits", (8,), pixels=(3, 40, 44))
    last = Policy(3 * 40 * 44, 2, "logits", (8,), pixels=(40, 44, 3))
    last.load_state_dict(first.state_dict())
    assert torch.allclose(first(picture.flatten(1)), last(picture.movedim(1, -1).flatten(1)), atol=1e-6)


def test_what_pictures_do_not_go_with() -> None:
    spaces = Spaces.of(SideBySide([Lamp]))
    with pytest.raises(InputError, match="stacked"):
        catalog.make("ppo(gru=4)", "rl").begin(spaces, 1, 0, torch.device("cpu"))
    with pytest.raises(InputError, match="36 pixels"):
        Policy(3 * 30 * 44, 2, "logits", (8,), pixels=(3, 30, 44))


def test_without_ale_py_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("ale_py"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"needs ale-py: pip install 'stalwart\[atari\]'"):
        open_worlds("ALE/Pong-v5")


def test_pong_is_played_with_sticky_actions(tmp_path: Path) -> None:
    pytest.importorskip("ale_py")
    from stalwart.run.learn import Practice, learn
    from stalwart.run.play import watch

    worlds = open_worlds("ALE/Pong-v5", 2)
    assert worlds.single_observation_space == Box(0, 255, (4, 84, 84), np.uint8)
    assert worlds.envs[0].unwrapped.ale.getFloat("repeat_action_probability") == 0.25  # type: ignore[attr-defined]
    first = [worlds.reset(seed=5)[0]] + [worlds.step(np.array([2, 3]))[0] for _ in range(30)]
    second = [worlds.reset(seed=5)[0]] + [worlds.step(np.array([2, 3]))[0] for _ in range(30)]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    worlds.close()
    how = Practice(steps=64, worlds=2, chapters=1, episodes=1)
    algo = "dqn(after=16, batch=4, memory=200, widths=(8,), signs=True)"
    *_, result = learn("ALE/Pong-v5", algo, settings=how, out=tmp_path / "pong")
    assert -21 <= result.values["mean_return"] <= 21
    *_, seen = watch(tmp_path / "pong", tmp_path / "pong.gif", most=5)
    assert seen.values["pictures"] == 6
    with pytest.raises(InputError, match="Nope"):
        open_worlds("ALE/Nope-v5")
