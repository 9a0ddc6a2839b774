"""The `meshmark` command: doctor and demo, and those of cli_training, cli_use and synth.cli."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from synth.cli import example, synth_commands
from synth.errors import UserError
from synth.text import visible
from train.cli_training import training_commands
from train.cli_use import use_commands
from train.device import chosen_device, tune_cpu

INTERRUPTED = 130
USER_ERROR = 2


class Meshmark(click.Group):
    """Turns errors a user can mend into one line on stderr and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            _say(f"error: {' '.join(str(error).split())}")
            ctx.exit(USER_ERROR)
        except OSError as error:
            where = "" if error.filename is None else f"{error.filename}: "
            _say(f"error: {where}{error.strerror or error}")
            ctx.exit(USER_ERROR)
        except MemoryError:
            _say("error: there is not enough memory for this")
            ctx.exit(USER_ERROR)
        except KeyboardInterrupt:
            click.echo("interrupted; run the same command again (training: with --resume) to go on", err=True)
            ctx.exit(INTERRUPTED)


class Echo(logging.Handler):
    """What the library logs, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage())


def _say(text: str) -> None:
    """One line on stderr, whatever the names in it."""
    click.echo(visible(text), err=True)


@click.group(
    cls=Meshmark,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("meshmark demo --out runs/demo"),
)
@click.version_option(package_name="meshmark", message="%(prog)s %(version)s")
def main() -> None:
    """From a mesh with named keypoints to a keypoint detector that works on real photos."""
    for package in ("synth", "train"):
        log = logging.getLogger(package)
        if not log.handlers:
            log.setLevel(logging.INFO)
            log.addHandler(Echo())


@main.command("doctor", epilog=example("meshmark doctor"))
def doctor_command() -> None:
    """Say what works on this machine and what is missing; exit code 2 when something is."""
    from rich.console import Console

    from synth.doctor import check_system, print_checks
    from train.doctor import check_training

    sound = print_checks(check_system() + check_training(), Console(soft_wrap=True))
    raise SystemExit(0 if sound else USER_ERROR)


@main.command("demo", epilog=example("meshmark demo --out runs/demo"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True)
@click.option("--workers", type=click.IntRange(0), default=0, help="Render processes; 0 = one per core.")
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def demo_command(out: Path, workers: int, device: str | None) -> None:
    """The chessboard from its mesh to a score on real photos."""
    tune_cpu()
    from rich.console import Console

    from train.demo import run_demo

    run_demo(out, workers or os.cpu_count() or 1, chosen_device(device), Console())


for command in (*training_commands, *use_commands, *synth_commands):
    main.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
