"""`stalwart rl train | evaluate | watch | compare`: learning to act."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from stalwart.cli.listen import play
from stalwart.cli.shelf import settings
from stalwart.cli.training import InterruptedRunError, run_name
from stalwart.cli.work import Json, Quiet
from stalwart.core.errors import InputError, RunError

app = typer.Typer(
    name="rl",
    help="Learn to act in Gymnasium's environments and in our own worlds.",
    no_args_is_help=True,
    epilog="Examples:\n\nstalwart rl train --env CartPole-v1 --out runs/cartpole\n\nstalwart rl evaluate runs/cartpole",
)

_ENV, _ALGO = "CartPole-v1", "ppo()"

Env = Annotated[
    str | None,
    typer.Option("--env", help="A Gymnasium id, or a world as `stalwart list worlds` spells it.", show_default=False),
]
Run = Annotated[Path, typer.Argument(help="A run folder, such as runs/cartpole.", show_default=False)]


def _setting(name: str, flag: str) -> Any:
    """The option for one field of `Practice`, with that field's note and default."""
    default, note = settings("Practice").get(name, ("", ""))
    return typer.Option(flag, help=f"{note} Default: {default}.", show_default=False)


Steps = Annotated[int | None, _setting("steps", "--steps")]
Worlds = Annotated[int | None, _setting("worlds", "--worlds")]
Chapters = Annotated[int | None, _setting("chapters", "--chapters")]
Episodes = Annotated[int | None, _setting("episodes", "--episodes")]
Seed = Annotated[int | None, _setting("seed", "--seed")]
Device = Annotated[str | None, _setting("device", "--device")]


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@app.command(
    epilog='Examples:\n\nstalwart rl train --env CartPole-v1 --algo "ppo()" --steps 50000 --out runs/cartpole\n\n'
    'stalwart rl train --env "inventory(lead=2)" --algo "qlearning()" --worlds 256 --steps 2000000\n\n'
    "stalwart rl train --resume runs/cartpole"
)
def train(
    env: Env = None,
    algo: Annotated[
        str | None, typer.Option("--algo", help=f"As `stalwart list rl` spells it. Default: {_ALGO}.")
    ] = None,
    steps: Steps = None,
    worlds: Worlds = None,
    chapters: Chapters = None,
    episodes: Episodes = None,
    seed: Seed = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="So many runs, each with the next seed, in folders within --out.")
    ] = 1,
    device: Device = None,
    to: Annotated[Path | None, typer.Option("--out", help="The run folder. Default: runs/ALGO-ENV-TIME.")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on with the run in this folder.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a policy and keep it as a checkpoint in a run folder."""
    how = _given(
        steps=steps, worlds=worlds, chapters=chapters, episodes=episodes, seed=seed, device=device
    )  # fmt: skip
    if resume is not None:
        if env or algo or how or seeds > 1 or (to is not None and to != resume):
            raise InputError(f"--resume {resume} goes on as the run was begun: leave out the other options.")
        env, algo, how = _as_begun(resume)
    env, algo = env or _ENV, algo or _ALGO
    folder = resume or to or run_name(algo, env)
    from stalwart.run.contest import contest
    from stalwart.run.learn import Practice, learn

    if seeds > 1:
        events = contest(env, [algo], folder, seeds=seeds, settings=Practice(**how))
    else:
        events = learn(env, algo, settings=Practice(**how), out=folder, resume=resume is not None)
    try:
        play(iter(events), as_json=as_json, quiet=quiet)
    except KeyboardInterrupt:
        if seeds > 1 or not (folder / "last").is_dir():
            raise
        again = f"stalwart rl train --resume {shlex.quote(str(folder))}"
        raise InterruptedRunError(f"interrupted. Go on from the last chapter's end with: {again}") from None


def _as_begun(run: Path) -> tuple[str, str, dict[str, Any]]:
    from stalwart.store.folder import RunFolder

    match RunFolder.open(run).config:
        case {"kind": "rl", "spelling": {"env": str(env), "algo": str(algo)}, "settings": dict(how)}:
            known = settings("Practice")
            return env, algo, {name: value for name, value in how.items() if name in known}
    raise RunError(f"{run / 'config.json'} is not the configuration of a run of `stalwart rl train`.")


@app.command(epilog="Examples:\n\nstalwart rl evaluate runs/cartpole --episodes 200 --json")
def evaluate(
    run: Run,
    env: Env = None,
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Whole episodes to play.")] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the worlds; training has others.")] = 10_000,
    worlds: Annotated[int, typer.Option("--worlds", min=1, help="Worlds side by side.")] = 16,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw actions by the policy's chances in place of the best one.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")] = "cpu",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Play whole episodes with the best action: mean return, its 95 % interval, the episodes."""
    from stalwart.run.play import evaluate_policy

    events = evaluate_policy(
        run, env=env, episodes=episodes, seed=seed, worlds=worlds, sample=sample, device=device
    )  # fmt: skip
    play(iter(events), as_json=as_json, quiet=quiet, json_kinds=("result",))


@app.command(epilog="Examples:\n\nstalwart rl watch runs/cartpole --out cartpole.gif")
def watch(
    run: Run,
    to: Annotated[Path | None, typer.Option("--out", help="A .gif, .webp or .mp4. Default: RUN/watch.gif.")] = None,
    env: Env = None,
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Episodes to record.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the worlds.")] = 10_000,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Record a policy at work as a moving picture; no window, no display."""
    from stalwart.run.play import watch as runner

    events = runner(run, to or run / "watch.gif", env=env, episodes=episodes, seed=seed)
    play(iter(events), as_json=as_json, quiet=quiet)


@app.command(
    epilog='Examples:\n\nstalwart rl compare --env CartPole-v1 --algo "ppo()" --algo "dqn()" --seeds 5 --out runs/two'
)
def compare(
    algos: Annotated[list[str], typer.Option("--algo", help="A learner, repeatable.", show_default=False)],
    env: Env = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each learner.")] = 3,
    steps: Steps = None,
    worlds: Worlds = None,
    chapters: Chapters = None,
    episodes: Episodes = None,
    seed: Seed = None,
    device: Device = None,
    to: Annotated[Path | None, typer.Option("--out", help="The folder. Runs that stand there already go on.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train several learners with several seeds and draw their curves with intervals."""
    from stalwart.run.contest import contest
    from stalwart.run.learn import Practice

    how = _given(
        steps=steps, worlds=worlds, chapters=chapters, episodes=episodes, seed=seed, device=device
    )  # fmt: skip
    env = env or _ENV
    events = contest(env, algos, to or run_name("contest", env), seeds=seeds, settings=Practice(**how))
    play(iter(events), as_json=as_json, quiet=quiet)


@app.command(
    epilog='Examples:\n\nstalwart rl attack runs/cartpole --attack "pgd(steps=10)" --threat "linf(0.1)"\n\n'
    "stalwart rl train --env \"deceiving(run='runs/cartpole', epsilon=0.1)\" --out runs/rival\n\n"
    'stalwart rl attack runs/cartpole --adversary runs/rival --threat "linf(0.1)"'
)
def attack(
    run: Run,
    attacks: Annotated[
        list[str] | None, typer.Option("--attack", help="As `stalwart list attacks` spells it, repeatable.")
    ] = None,
    threats: Annotated[
        list[str] | None,
        typer.Option("--threat", help="linf, l2 or l1, in units of normalised observations; repeatable."),
    ] = None,
    adversary: Annotated[
        Path | None, typer.Option("--adversary", help="A policy trained on deceiving(run=...), to play as well.")
    ] = None,
    env: Annotated[str, typer.Option("--env", help="Where to play. Default: where it was trained.")] = "",
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="best or last.")] = "best",
    episodes: Annotated[int, typer.Option("--episodes", min=2, help="Whole episodes of each.")] = 20,
    sure: Annotated[
        float, typer.Option("--sure", help="Only where the best action is preferred to the worst by more than this.")
    ] = 0.0,
    worth: Annotated[
        int,
        typer.Option("--worth", min=0, help="Steps to learn what its actions are worth, for attacks that know it."),
    ] = 0,
    seed: Seed = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Change what a policy sees at every step: its return untouched, under noise of that size, and under attack."""
    from stalwart.run.deceive import deceive

    chosen = attacks or ([] if adversary else ["pgd(steps=10)"])
    events = deceive(
        run, chosen, threats or ["linf(0.1)"], adversary=adversary, env=env, checkpoint=checkpoint, episodes=episodes,
        sure=sure, worth=worth, seed=seed or 0,
    )  # fmt: skip
    play(iter(events), as_json=as_json, quiet=quiet)
