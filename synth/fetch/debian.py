"""Files out of Debian packages, without installing them."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from synth.errors import EnvironmentProblem


def unpack_debian(package: str, scratch: Path) -> Path:
    """Downloads a Debian package by its name and unpacks it below `scratch`, installing nothing."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise EnvironmentProblem(f"Debian package {package}: this system has no apt-get")
    download = scratch / "download"
    download.mkdir()
    apt = ["apt-get", "-qq", "-oAPT::Sandbox::User=root"]  # apt's own user cannot write into our folder
    problem = _run([*apt, "download", package], download)
    if problem:  # package lists absent or out of date: fetch a private copy, the system's stay as they are
        private = [f"-oDir::State::lists={scratch / 'lists'}", f"-oDir::Cache={scratch / 'cache'}"]
        (scratch / "lists/partial").mkdir(parents=True)
        (scratch / "cache/archives/partial").mkdir(parents=True)
        _run([*apt, *private, "update"], download)
        problem = _run([*apt, *private, "download", package], download)
    archives = sorted(download.glob("*.deb"))
    if problem or not archives:
        raise EnvironmentProblem(f"Debian package {package}: apt-get download failed: {problem}")
    unpacked = scratch / "unpacked"
    problem = _run(["dpkg", "-x", str(archives[0]), str(unpacked)], scratch)
    if problem:
        raise EnvironmentProblem(f"Debian package {package}: dpkg -x failed: {problem}")
    return unpacked


def _run(command: list[str], folder: Path) -> str:
    """'' when the command succeeds, else the last line it wrote."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
