"""The README's commands exist, with the options it gives them."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click import Context, Group

from train.cli import main

README = Path(__file__).parent.parent / "README.md"
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README.read_text(), re.S)
    for line in block.splitlines()
    if line.strip() and not line.startswith(("$", "git "))
]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_make_target_runs_existing_meshmark_commands(command: str) -> None:
    done = subprocess.run(
        [*shlex.split(command), "--dry-run", "--no-print-directory", "-o", "setup"],
        cwd=README.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [x for x in done.stdout.splitlines() if ".venv/bin/meshmark " in x]
    assert lines
    for line in lines:
        known(line.split(".venv/bin/meshmark ")[1].split(" && ")[0])


@pytest.mark.parametrize("command", [c for c in COMMANDS if ".venv/bin/meshmark" in c])
def test_meshmark_command_is_known(command: str) -> None:
    known(command.split(".venv/bin/meshmark ")[1])


def known(line: str) -> None:
    """Fails when the command or one of its options does not exist."""
    words = shlex.split(line)
    command, context = main, Context(main)
    while isinstance(command, Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    options = {name for parameter in command.params for name in parameter.opts}
    assert {w for w in words if w.startswith("--")} <= options, line
