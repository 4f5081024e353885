"""Runs of learners: kept, resumed to the same bits, evaluated apart, compared, watched; and the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import stalwart
from stalwart.cli.main import run as command
from stalwart.core.errors import CheckpointError, InputError, RunError
from stalwart.mdp.policies import Policy
from stalwart.run.contest import contest
from stalwart.run.learn import Practice, learn
from stalwart.run.play import evaluate_policy, watch

ALGOS = (
    ("table('CliffWalking-v1')", "qlearning(rule='double')", 2),
    ("CartPole-v1", "dqn(after=64, batch=16, priority=0.5, steps=2, normalise=True)", 2),
    ("CartPole-v1", "ppo(horizon=32, batch=32, epochs=2, scale_rewards=True)", 2),
    ("CartPole-v1", "ppo(horizon=16, batch=32, epochs=2, gru=4)", 2),
    ("Pendulum-v1", "sac(after=64, batch=16, widths=(16, 16), memory=1000, normalise=True)", 2),
    (
        "CartPole-v1",
        "atla(learner=ppo(horizon=16, epochs=2, kappa=1.0), rival=ppo(horizon=16, epochs=2), epsilon=0.1, turns=2)",
        2,
    ),
)


def final(events: Any) -> dict[str, Any]:
    return next(dict(event.values) for event in reversed(list(events)) if event.kind == "result")


@pytest.mark.parametrize(("env", "algo", "worlds"), ALGOS)
def test_a_run_that_was_killed_ends_at_the_same_bits(env: str, algo: str, worlds: int, tmp_path: Path) -> None:
    how = Practice(steps=480, worlds=worlds, chapters=3, episodes=2, seed=4)
    whole = final(learn(env, algo, settings=how, out=tmp_path / "whole"))
    half = learn(env, algo, settings=how, out=tmp_path / "half")
    for event in half:
        if event.kind == "progress" and event.values["done"] > 200:  # in the second chapter
            half.close()  # type: ignore[attr-defined]
            break
    again = final(learn(env, algo, settings=how, out=tmp_path / "half", resume=True))
    assert again["mean_return"] == whole["mean_return"]
    one, other = (stalwart.load(tmp_path / name / "last").state_dict() for name in ("whole", "half"))
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
    finished = final(learn(env, algo, settings=how, out=tmp_path / "half", resume=True))
    assert finished["mean_return"] == whole["mean_return"]
    with pytest.raises(RunError, match="was begun with settings"):
        list(learn(env, algo, settings=Practice(steps=481), out=tmp_path / "half", resume=True))


def test_other_seeds_are_other_runs_and_the_same_seed_is_the_same(tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate((1, 1, 2)):
        how = Practice(steps=256, worlds=2, chapters=1, episodes=2, seed=seed)
        list(learn("CartPole-v1", "ppo(horizon=32)", settings=how, out=tmp_path / str(number)))
        found.append(stalwart.load(tmp_path / str(number)).state_dict()["head.weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rl") / "cartpole"
    how = Practice(steps=2048, worlds=4, chapters=2, episodes=4)  # few, so that not every episode is perfect
    list(learn("CartPole-v1", "ppo(horizon=64, lr=0.003)", settings=how, out=out))
    return out


def test_a_policy_is_an_ordinary_checkpoint(cartpole: Path) -> None:
    policy = stalwart.load(cartpole)
    assert isinstance(policy, Policy)
    assert policy.norm is not None
    assert float(policy.norm.count) > 1000
    assert policy.card["data"] == "CartPole-v1"  # type: ignore[index]
    assert policy.card["learner"].startswith("ppo(")  # type: ignore[index]
    assert policy(torch.zeros(3, 4)).shape == (3, 2)


def test_evaluation_says_its_interval_and_follows_its_seed(cartpole: Path) -> None:
    one, again, other = (final(evaluate_policy(cartpole, episodes=12, seed=seed)) for seed in (1, 1, 2))
    assert one["returns"] == again["returns"] != other["returns"]
    assert one["episodes"] == 12
    assert one["interval"][0] < one["mean_return"] < one["interval"][1]
    assert one["mean_return"] > 25  # a random policy balances for 22 steps
    with pytest.raises(InputError, match=r"from 4 numbers to 2 outputs; Pendulum-v1 needs 3 numbers"):
        list(evaluate_policy(cartpole, env="Pendulum-v1"))


def test_imitation_follows_its_expert(cartpole: Path, tmp_path: Path) -> None:
    how = Practice(steps=2048, worlds=4, chapters=2, episodes=8)
    expert = final(evaluate_policy(cartpole, episodes=8))
    for algo in (f"imitate({str(cartpole)!r}, horizon=128)", f"imitate({str(cartpole)!r}, dagger=False, horizon=128)"):
        student = final(learn("CartPole-v1", algo, settings=how))
        assert student["mean_return"] > 0.5 * expert["mean_return"]
        assert student["loss"] < 0.6  # of ln 2 = 0.69 for a coin
    with pytest.raises(InputError, match="expert must be a policy"):
        list(learn("Pendulum-v1", f"imitate({str(cartpole)!r})", settings=how))
    with pytest.raises(InputError, match="no adviser of its own"):
        list(learn("CartPole-v1", "imitate()", settings=how))


def test_ppo_begins_with_a_policy_and_leaves_it_alone_while_only_the_values_learn(
    cartpole: Path, tmp_path: Path
) -> None:
    how = Practice(steps=512, worlds=2, chapters=1, episodes=1)
    before = stalwart.load(cartpole).state_dict()
    for first, same in ((4, True), (3, False)):  # of 4 rollouts
        algo = f"ppo(start={str(cartpole)!r}, horizon=64, values_first={first}, normalise=True)"
        list(learn("CartPole-v1", algo, settings=how, out=tmp_path / str(first)))
        after = stalwart.load(tmp_path / str(first)).state_dict()
        assert all(torch.equal(before[k], after[k]) for k in before if not k.startswith("norm")) == same
        assert float(after["norm.count"]) > float(before["norm.count"])
    with pytest.raises(InputError, match="policy of the same shape"):
        list(learn("CartPole-v1", f"ppo(start={str(cartpole)!r}, widths=(8,))", settings=how))
    with pytest.raises(InputError, match="shared needs hidden layers"):
        list(learn("CartPole-v1", "ppo(shared=True, widths=())", settings=how))


def test_a_comparison_draws_its_curves_and_goes_on(tmp_path: Path) -> None:
    algos = ["ppo(horizon=32)", "dqn(batch=16, after=50)"]
    how = Practice(steps=256, worlds=2, chapters=2, episodes=2)
    rows = [e.values for e in contest("CartPole-v1", algos, tmp_path / "two", seeds=2, settings=how)]
    assert (tmp_path / "two" / "curves.png").read_bytes()[:4] == b"\x89PNG"
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert [row["algo"] for row in results["learners"]] == algos
    assert all(len(row["returns"]) == 2 for row in results["learners"])
    shutil.rmtree(tmp_path / "two" / "ppo-horizon=32-seed-1")
    list(contest("CartPole-v1", algos, tmp_path / "two", seeds=2, settings=how))  # one anew
    again = json.loads((tmp_path / "two" / "results.json").read_text())
    assert [r["returns"] for r in again["learners"]] == [r["returns"] for r in results["learners"]]
    assert rows


def test_watching_writes_a_moving_picture(cartpole: Path, tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    from PIL import Image

    said = final(watch(cartpole, tmp_path / "seen.gif", most=5))
    with Image.open(tmp_path / "seen.gif") as picture:
        assert picture.n_frames > 1  # type: ignore[attr-defined]
    assert said["pictures"] >= 5
    with pytest.raises(InputError, match=r"\.gif, \.webp, \.mp4"):
        list(watch(cartpole, tmp_path / "seen.avi"))


def test_watching_writes_a_film(cartpole: Path, tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    av: Any = pytest.importorskip("av")
    said = final(watch(cartpole, tmp_path / "seen.mp4", most=5, rate_hz=10.0))
    with av.open(str(tmp_path / "seen.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.frames, float(stream.average_rate)) == ("h264", said["pictures"], 10)


def test_the_command_line(cartpole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    words = ["--algo", "ppo(horizon=16)", "--steps", "64", "--chapters", "2", "--episodes", "2", "--out", out]
    assert command(["rl", "train", "--env", "CartPole-v1", *words, "--quiet"]) == 0
    capsys.readouterr()
    assert command(["rl", "train", "--resume", out]) == 0
    capsys.readouterr()
    assert command(["rl", "evaluate", str(cartpole), "--episodes", "3", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {"mean_return", "interval", "episodes", "returns"} <= said.keys()
    assert command(["rl", "train", "--env", "CartPole-v1", "--algo", "ppo(horizn=2)"]) == 2
    assert "ppo has no field 'horizn'. Did you mean 'horizon'?" in capsys.readouterr().err
    assert command(["rl", "train", "--env", "CartPol-v1"]) == 2
    assert "CartPole-v1" in capsys.readouterr().err
    assert command(["rl", "train", "--resume", out, "--steps", "9"]) == 2
    assert "leave out the other options" in capsys.readouterr().err


def test_a_run_of_images_is_no_policy(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        list(evaluate_policy(tmp_path / "nothing"))
