"""`meshmark doctor`: what it finds, and what it advises where something is missing."""

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from synth import doctor
from synth.doctor import Check, check_opengl, check_packages, check_pools, print_checks
from synth.render import egl
from tests.conftest import HANG_S


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBE_SECONDS", HANG_S)


def printed(checks: list[Check], terminal: bool) -> tuple[bool, str]:
    out = io.StringIO()
    sound = print_checks(checks, Console(file=out, force_terminal=terminal, width=200))
    return sound, out.getvalue()


@pytest.mark.gl
def test_the_renderer_is_named(patient: None) -> None:
    found = check_opengl(dict(os.environ))
    assert found.level == "ok"
    assert "OpenGL" in found.found


def test_no_driver_is_missing_with_what_to_do(patient: None) -> None:
    found = check_opengl({**os.environ, "__EGL_VENDOR_LIBRARY_FILENAMES": "/nowhere.json"})
    assert found.level == "missing"
    assert "no OpenGL context through EGL" in found.found
    assert found.remedy


def test_probe_that_crashes_is_missing(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBE", "import os; os.abort()")
    assert check_opengl(dict(os.environ)).found == "the driver crashed (signal 6)"


@pytest.mark.parametrize(
    ("absent", "advised"),
    [
        ("EGL", "apt-get install libegl1"),
        ("GL", "apt-get install libgl1"),
        ("EGL_mesa", "apt-get install libegl-mesa0"),
    ],
)
def test_missing_library_names_its_package(
    monkeypatch: pytest.MonkeyPatch, absent: str, advised: str
) -> None:
    there = {"EGL", "GL", "EGL_mesa"} - {absent}
    monkeypatch.setattr(egl.ctypes.util, "find_library", lambda name: name if name in there else None)
    monkeypatch.setattr(egl, "GPU", Path("/nowhere"))
    assert egl.remedy().startswith(advised)


def test_missing_mesa_driver_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egl, "DRIVERS", ("no such driver",))
    monkeypatch.setattr(egl.ctypes.util, "find_library", lambda name: None if name == "EGL_nvidia" else name)
    monkeypatch.setattr(egl, "GPU", Path("/nowhere"))
    assert egl.remedy() == "apt-get install libgl1-mesa-dri"


def test_gpu_whose_driver_has_no_egl_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(egl, "GPU", tmp_path)
    monkeypatch.setattr(egl.ctypes.util, "find_library", lambda name: None if "nvidia" in name else name)
    assert "NVIDIA driver lacks its EGL library" in egl.remedy()


def test_other_versions_are_a_note_and_absent_packages_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy==0.1", 'pytest==1 ; extra == "dev"']
    monkeypatch.setattr(doctor, "requires", lambda _: wanted)
    (other,) = check_packages()
    assert (other.level, other.remedy) == ("note", "pip install numpy==0.1")
    wanted.append("no-such-package==2")
    (absent,) = check_packages()
    assert absent.level == "missing"
    assert "no-such-package absent" in absent.found


def test_pools_not_fetched_are_notes(tmp_path: Path) -> None:
    (tmp_path / "backgrounds-v1").mkdir()
    backgrounds, _, chessboards = check_pools(tmp_path)
    assert backgrounds.level == "ok"
    assert (chessboards.level, chessboards.remedy) == ("note", "meshmark fetch chessboards")


def test_plain_lines_without_a_terminal() -> None:
    sound, text = printed([Check("ok", "a", "fine"), Check("note", "b", "old", "pip install b")], False)
    assert sound
    assert text.splitlines() == ["ok      a: fine", "note    b: old; pip install b"]


def test_table_on_a_terminal_and_missing_is_not_sound() -> None:
    sound, text = printed([Check("missing", "OpenGL", "none", "apt-get install libegl1")], True)
    assert not sound
    assert "apt-get install libegl1" in text
    assert "│" in text
