"""`meshmark doctor`: what works on this machine, what is missing, and what to do about it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from synth.render.egl import remedy
from synth.system.cache import BACKGROUNDS, CHESSBOARDS, ENVIRONMENTS, cache_folder

LITTLE_DISK_GB = 5
PROBE_SECONDS = 60
PROBE = "import json; from synth.render.device import open_context; print(json.dumps(open_context().info))"
"""Runs in a process of its own: with Mesa's software rasterizer loaded, importing torchvision crashes."""
STYLES = {"ok": "green", "note": "yellow", "missing": "bold red"}


@dataclass(frozen=True)
class Check:
    """level: 'ok', 'note' (works, with less) or 'missing'. found: what is there. remedy: what to do."""

    level: str
    name: str
    found: str
    remedy: str = ""


def check_system() -> list[Check]:
    """Everything that needs no torch."""
    return [*check_packages(), check_opengl(dict(os.environ)), *check_pools(cache_folder()), *check_machine()]


def check_packages() -> list[Check]:
    """The project's own requirements and their versions."""
    wanted = [line.split(";")[0].strip() for line in requires("meshmark") or [] if "extra ==" not in line]
    faults = []
    for name, _, pinned in (line.partition("==") for line in wanted):
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "absent"
        if found.split("+")[0] != pinned:
            faults.append((f"{name} {found}", f"{name}=={pinned}"))
    python = f"Python {sys.version.split()[0]}, {len(wanted)} packages"
    if not faults:
        return [Check("ok", "packages", python)]
    install = f"pip install {' '.join(pin for _, pin in faults)}"
    absent = any(found.endswith(" absent") for found, _ in faults)
    return [Check("missing" if absent else "note", "packages", ", ".join(f for f, _ in faults), install)]


def check_opengl(environment: dict[str, str]) -> Check:
    """Makes an OpenGL context in a process of its own and says whose it is."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check("missing", "OpenGL", f"no context through EGL within {PROBE_SECONDS} s", remedy())
    if done.returncode < 0:
        return Check("missing", "OpenGL", f"the driver crashed (signal {-done.returncode})", remedy())
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no context"])[-1].rsplit("EnvironmentProblem: ", 1)[-1]
        return Check("missing", "OpenGL", last.removesuffix(f"; {remedy()}"), remedy())
    info = json.loads(done.stdout)
    software = any(word in info["GL_RENDERER"] for word in ("llvmpipe", "softpipe", "swrast"))
    how = "in software" if software else "on a GPU"
    return Check("ok", "OpenGL", f"{how}: {info['GL_RENDERER']}, OpenGL {info['GL_VERSION']}")


def check_pools(cache: Path) -> list[Check]:
    """What `meshmark fetch` has brought."""
    found = []
    pools = {"backgrounds": BACKGROUNDS, "environments": ENVIRONMENTS, "chessboards": CHESSBOARDS}
    for what, name in pools.items():
        folder = cache / name
        if folder.is_dir():
            found.append(Check("ok", what, str(folder)))
        else:
            found.append(Check("note", what, "not fetched yet", f"meshmark fetch {what}"))
    return found


def check_machine() -> list[Check]:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    disk = f"{free:.0f} GB free in {Path.cwd()}"
    little = Check("note", "disk", disk, "10,000 rendered images take about 1 GB: free some space")
    return [
        Check("ok", "processor", f"{os.cpu_count()} cores"),
        little if free < LITTLE_DISK_GB else Check("ok", "disk", disk),
    ]


def print_checks(checks: list[Check], console: Console) -> bool:
    """A table on a terminal, else one line each. Returns whether nothing is missing."""
    if console.is_terminal:
        table = Table("", "", "found", "to do")
        for c in checks:
            table.add_row(f"[{STYLES[c.level]}]{c.level}[/]", c.name, c.found, c.remedy)
        console.print(table)
    else:
        for c in checks:
            remedy_ = f"; {c.remedy}" if c.remedy else ""
            console.print(f"{c.level:8}{c.name}: {c.found}{remedy_}", markup=False, highlight=False)
    return all(c.level != "missing" for c in checks)
