"""What the Markdown files say is there: commands and options, links, files, modules, snippets that import."""

import ast
import csv
import importlib
import os
import re
import shlex
import subprocess
from datetime import date
from pathlib import Path

import pytest
from click import Context, Group

from train.cli import main

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("assets", "configs", "docs", "scripts", "synth", "tests", "train")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.md"))])
MOST_LINES = {"README.md": 120, "CONTRIBUTING.md": 120, "configs/train/README.md": 50}
RESULTS = ROOT / "tests" / "bench" / "results"
QUESTIONS = sorted(path for path in RESULTS.glob("*.md") if path.name != "README.md")
WITHOUT_MESHMARK = ("check", "help", "quick")
"""Targets that run no meshmark command."""
COPIED = {"runtime": "train.runtime"}
"""Modules that users copy beside their own code, by the name that they import there."""


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(path), re.S)


def commands(path: Path) -> list[str]:
    """Lines of its bash blocks, without comments and the environment variables set before them."""
    lines = [line.split(" #")[0].strip() for block in blocks(path, "bash") for line in block.splitlines()]
    chosen = [line for line in lines if line and not line.startswith(("#", "$", "git "))]
    return [re.sub(r"^([A-Z_]+=\S+ )+", "", line) for line in chosen]


def prose(path: Path) -> str:
    """The text without its blocks of code."""
    return re.sub(r"```.*?```", "", text_of(path), flags=re.S)


COMMANDS = sorted({command for path in DOCUMENTS for command in commands(path)})
MAKE = [command for command in COMMANDS if command.startswith("make ")]
MESHMARK = [c for c in COMMANDS if ".venv/bin/meshmark " in c or "-m train.cli " in c]
PYTHON = [c for c in COMMANDS if re.search(r"python3? -m (?!train\.cli )", c)]
SNIPPETS = [(path, code) for path in DOCUMENTS for code in blocks(path, "python")]


def test_every_command_of_a_document_is_checked_below() -> None:
    assert set(COMMANDS) == {*MAKE, *MESHMARK, *PYTHON}


@pytest.mark.parametrize("command", MAKE)
def test_make_target_runs_existing_meshmark_commands(command: str) -> None:
    done = subprocess.run(
        [*shlex.split(command), "--dry-run", "--no-print-directory", "-o", "setup"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},  # not the variables of a make that runs the tests
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [x for x in done.stdout.splitlines() if ".venv/bin/meshmark " in x]
    assert lines or command.split()[1] in WITHOUT_MESHMARK
    for line in lines:
        known(line.split(".venv/bin/meshmark ")[1].split(" && ")[0])


@pytest.mark.parametrize("command", MESHMARK)
def test_meshmark_command_is_known(command: str) -> None:
    for line in re.findall(r"(?:\.venv/bin/meshmark|-m train\.cli) ([^)]*)", command):
        known(line.rstrip('"'))


@pytest.mark.parametrize("command", PYTHON)
def test_python_module_is_there_and_takes_the_options(command: str) -> None:
    found = re.search(r"python3? -m (\S+)(.*)", command)
    assert found
    module, words = found[1], re.sub(r'"\$\(.*?\)"', "", found[2]).split()
    file = ROOT / (module.replace(".", "/") + ".py")
    if not file.exists():
        importlib.import_module(module)
        return
    for word in words:
        assert not word.startswith("--") or f'"{word}"' in text_of(file), word


@pytest.mark.parametrize("command", COMMANDS)
def test_files_of_this_repository_in_a_command_exist(command: str) -> None:
    for name in re.findall(r"(?<![\w/])((?:tests|synth|train|configs|assets|docs)/[\w./-]+)", command):
        assert (ROOT / name).exists(), name


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


@pytest.mark.parametrize(("path", "code"), SNIPPETS, ids=[name_of(path) for path, _ in SNIPPETS])
def test_python_snippet_compiles_and_what_it_imports_exists(path: Path, code: str) -> None:
    for node in ast.walk(ast.parse(code, name_of(path))):
        if isinstance(node, ast.ImportFrom):
            assert node.module
            module = importlib.import_module(COPIED.get(node.module, node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(COPIED.get(alias.name, alias.name))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_and_anchors_inside_the_repository_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{target}: no such file"
        assert there.is_relative_to(ROOT), f"{target}: outside the repository"
        if anchor:
            assert anchor in anchors(there), f"{target}: no such heading"


def anchors(path: Path) -> set[str]:
    """What links to the headings of a file end in, as GitHub makes it: letters, digits, hyphens."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_files_that_are_named_exist(path: Path) -> None:
    inside = rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`"
    for name in re.findall(inside, prose(path)):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_modules_that_are_named_import(path: Path) -> None:
    """`old.name` → is how the changelog tells of a module that moved."""
    text = re.sub(r"`[\w.]+` →", "", text_of(path))
    for name in re.findall(r"(?<![\w/.])((?:synth|train)(?:\.[a-zA-Z_]\w*)+)(?![\w/*])", text):
        assert is_importable(name), name


def is_importable(name: str) -> bool:
    """Whether the name is a module, or what stands behind a module's dot."""
    for parts in range(name.count(".") + 1, 0, -1):
        words = name.split(".")
        try:
            found = importlib.import_module(".".join(words[:parts]))
        except ModuleNotFoundError:
            continue
        for word in words[parts:]:
            if not hasattr(found, word):
                return False
            found = getattr(found, word)
        return True
    return False


@pytest.mark.parametrize(("name", "most"), MOST_LINES.items())
def test_document_stays_short(name: str, most: int) -> None:
    assert len(text_of(ROOT / name).splitlines()) <= most


@pytest.mark.parametrize("path", QUESTIONS, ids=name_of)
def test_result_answers_one_question_and_says_how_it_was_measured(path: Path) -> None:
    lines = text_of(path).splitlines()
    assert re.fullmatch(r"# .*\?", lines[0])
    assert sum(line.startswith("|--") for line in lines) == 1, "one table"
    assert blocks(path, "bash"), "the command"
    for entry in ("Commit, date", "Machine, load", "Seeds", "n, intervals"):
        assert any(line.startswith(f"- {entry}: ") for line in lines), entry
    assert "## Not shown" in lines
    assert f"]({path.name})" in text_of(RESULTS / "README.md"), "not in the index"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.csv")), ids=name_of)
def test_earlier_results_stand_beside_their_question(path: Path) -> None:
    page = path.with_suffix(".md")
    assert f"]({path.name})" in text_of(page)
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:2] == ["commit", "date"]
    for row in rows:
        assert len(row) == len(header)
        assert re.fullmatch(r"[0-9a-f]{7}", row[0])
        assert date.fromisoformat(row[1])


def test_documents_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= {name_of(path) for path in DOCUMENTS}
    assert QUESTIONS
