"""The command line: `stalwart COMMAND`. One line for a user's mistake, never a traceback.

Exit codes: 0 done, 1 the run failed or was interrupted, 2 the input was wrong.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

import stalwart
from stalwart.cli import data, drive, learning, look, loop, training, work
from stalwart.cli.console import err
from stalwart.core.errors import StalwartError
from stalwart.core.memory import keep_memory

app = typer.Typer(
    name="stalwart",
    help="Train, attack and harden vision models, and report how far each can be trusted.",
    epilog="Examples:\n\nstalwart demo\n\nstalwart list attacks\n\nstalwart show attacks.pgd",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

# Typer's own complaints (an unknown option, a missing argument) share the topmost class that can word itself.
_UsageError: type[Exception] = [kind for kind in typer.BadParameter.__mro__ if hasattr(kind, "format_message")][-1]

_DEBUG = "--debug"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"stalwart {stalwart.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _house(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of every error.")] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def _epilog(*lines: str) -> str:
    return "\n\n".join(("Examples:", *lines))


app.command("demo", epilog=_epilog("stalwart demo", "stalwart demo --out runs/first"))(work.demo)
app.command("list", epilog=_epilog("stalwart list", "stalwart list attacks", "stalwart list models --json"))(
    look.list_rooms
)
app.command("show", epilog=_epilog("stalwart show attacks.pgd", "stalwart show linf"))(look.show)
app.command(
    "train",
    epilog=_epilog(
        'stalwart train --data "digits()" --model "convnet()" --epochs 10 --out runs/a',
        'stalwart train --data "folder(\'pets/\')" --model "timm(\'mobilenetv4_conv_small\')" --augment "flip()"',
        'stalwart train --objective "adversarial(attack=pgd(steps=7), threat=linf(8/255))" --out runs/hard',
        "stalwart train --resume runs/a",
    ),
)(training.train)
app.command(
    "evaluate",
    epilog=_epilog("stalwart evaluate runs/a", "stalwart evaluate runs/a --split val --checkpoint last --tta"),
)(work.evaluate)
app.command(
    "predict",
    epilog=_epilog(
        "stalwart predict runs/a picture.jpg",
        "stalwart predict runs/a folder/ --json --skip-bad",
        "stalwart predict runs/a folder/ --guard",
        "stalwart predict runs/boxes street/ --draw drawn/",
    ),
)(work.predict)
app.command(
    "attack",
    epilog=_epilog(
        'stalwart attack runs/a --attack "pgd(steps=20)" --threat "linf(8/255)" --threat "l2(0.5)"',
        'stalwart attack runs/a --attack "pgd(steps=100, restarts=5)" --goal margin --limit 1000',
    ),
)(work.attack)
app.command(
    "audit",
    epilog=_epilog(
        "stalwart audit runs/a", 'stalwart audit runs/a --attack "pgd(steps=50)" --threat "l2(0.5)" --limit 200'
    ),
)(work.audit)
app.command(
    "certify",
    epilog=_epilog(
        'stalwart certify runs/a --shield "smoothing(sigma=0.25)"',
        'stalwart certify runs/a --shield "smoothing(sigma=0.5, samples=10000)" --limit 500',
    ),
)(work.certify)
app.command(
    "corruptions",
    epilog=_epilog(
        "stalwart corruptions runs/a --limit 500",
        "stalwart corruptions runs/hard --baseline runs/plain --kind fog --kind snow --severity 3 --severity 5",
    ),
)(work.corruptions)
app.command(
    "transfer",
    epilog=_epilog(
        "stalwart transfer runs/plain runs/hard",
        'stalwart transfer runs/a runs/b runs/c --attack "mifgsm()" --threat "linf(8/255)" --limit 500',
    ),
)(work.transfer)
app.command(
    "detect",
    epilog=_epilog(
        'stalwart detect runs/a --detector "mahalanobis()" --fit-attack "fgsm()" --attack "pgd(steps=20)" '
        '--attack "cw()" --threat "linf(0.1)"',
        'stalwart detect runs/a --detector "density()" --ood "folder(\'other/\')"',
    ),
)(work.detect)
app.add_typer(data.app)
app.add_typer(learning.app)
loop.add(drive.app)
app.add_typer(drive.app)
app.command("report", epilog=_epilog("stalwart report runs/a", "stalwart report runs/plain runs/hard"))(work.report)


def main() -> None:
    """The entry point of the `stalwart` command. Leaves with the exit code."""
    keep_memory()
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Carry out one command line and give its exit code. Complaints go to stderr."""
    debug = _DEBUG in arguments
    # `stalwart train --debug` is as good as `stalwart --debug train`.
    arguments = [_DEBUG] * debug + [word for word in arguments if word != _DEBUG]
    try:
        code = app(arguments, standalone_mode=False, prog_name="stalwart")
    except StalwartError as error:
        return _complain(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted.", 1, debug=False)
    except BrokenPipeError:  # the reader has gone, as in `stalwart list | head -1`
        _silence_stdout()
        return 1
    except _UsageError as error:
        message: str = error.format_message().rstrip()  # type: ignore[attr-defined]
        end = "" if message.endswith((".", "?", "!")) else "."
        return _complain(f"{message}{end} See `stalwart --help`.", 2, debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}.", 1, debug)
    except Exception:  # a mistake of ours: the traceback is what a report of it needs
        traceback.print_exc()
        return 1
    if code == 130:  # newer Typers turn Ctrl-C into this code
        return _complain("interrupted.", 1, debug=False)
    return code if isinstance(code, int) else 0


def _complain(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    console = err()
    console.print("error:", style="bold red", end=" ")
    console.print(" ".join(message.split()), soft_wrap=True)
    return code


def _silence_stdout() -> None:
    """Python flushes stdout when it leaves, and would complain again of the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
