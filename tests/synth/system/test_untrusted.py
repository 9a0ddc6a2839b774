import os
from pathlib import Path

import pytest

from synth.errors import ConfigError, DataError
from synth.system.json_files import MAX_JSON_VALUES, parse_json, read_json, safe_relative_path
from synth.system.pool import open_pool
from synth.system.untrusted import open_untrusted, read_untrusted, read_untrusted_text, size_text
from synth.system.yaml_files import read_yaml
from synth.text import is_visible, visible


def test_only_regular_files_are_opened_and_none_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a pipe"), ("link", "a device or socket"), (".", "a folder")):
        with pytest.raises(DataError, match=f"is {kind}, expected a regular file"):
            open_untrusted(tmp_path / name)
        with pytest.raises(DataError, match=f"is {kind}"):
            read_json(tmp_path / name)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_names_that_no_file_can_have_are_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no file can have this name"):
        open_untrusted(tmp_path / name)


def test_links_are_followed_as_far_as_the_folder_goes(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "secret").write_text("guest:x:0:0")
    (folder / "a").write_text("a")
    (folder / "inner").symlink_to("a")
    (folder / "outer").symlink_to("../secret")
    assert read_untrusted(folder / "inner", 10, folder=folder) == b"a"
    with pytest.raises(ConfigError, match="is a link that leads out of") as error:
        read_untrusted(folder / "outer", 100, ConfigError, folder)
    assert "guest" not in str(error.value)
    assert read_untrusted(folder / "outer", 100) == b"guest:x:0:0"


def test_a_file_that_is_larger_than_it_says_is_not_read_on(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(11))
    assert len(read_untrusted(tmp_path / "a", 11)) == 11
    with pytest.raises(DataError, match="larger than 10 bytes"):
        read_untrusted(tmp_path / "a", 10)
    with pytest.raises(DataError, match="larger than 1 KiB"):
        read_untrusted(Path("/proc/kallsyms"), 1024)  # says that it has 0 bytes


def test_text_is_utf_8_with_or_without_a_mark(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa")
    assert read_untrusted_text(tmp_path / "a", 10) == "a"
    (tmp_path / "b").write_bytes(b"ab\xff")
    with pytest.raises(DataError, match="expected text in UTF-8, byte 2 is none"):
        read_untrusted_text(tmp_path / "b", 10)


def test_sizes_read_well() -> None:
    assert [size_text(n) for n in (7, 1 << 20, 4 << 30)] == ["7 bytes", "1 MiB", "4 GiB"]


def test_json_of_too_many_values_or_levels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_JSON_VALUES > 10_000_000
    monkeypatch.setattr("synth.system.json_files.MAX_JSON_VALUES", 10)
    assert parse_json("[1, 2, 3]", "x") == [1, 2, 3]
    with pytest.raises(DataError, match="x: more than 10 values"):
        parse_json("[" + "{}," * 10, "x")
    monkeypatch.undo()
    with pytest.raises(DataError, match="x: not valid JSON: nested too deeply"):
        parse_json("[" * 200_000, "x")


@pytest.mark.parametrize(
    "name", ["a\nb.jpg", "\x1b[31m.jpg", "a\u202egpj.exe", "\ud800", "a\0b", "", None, "C:a"]
)
def test_file_names_of_labels_are_paths_that_a_terminal_shows(name: object) -> None:
    with pytest.raises(DataError, match="is not a relative path") as error:
        safe_relative_path(name, "here")
    assert is_visible(str(error.value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "'a' is given twice"),
        ('"a\\nb": 1', "holds a control character"),
        ('a: "\\e[31m"', "a control character"),
        ('a: "x\\0y"', "a control character"),
        ("a: [" + "1, " * 60_000 + "1]", "more than 50000 values"),
        ("a: &x 1\nb: *x", "aliases"),
        ("a: " + "[" * 5000, "not valid YAML"),
    ],
)
def test_odd_yaml_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_yaml(tmp_path / "a.yaml", ConfigError)
    assert is_visible(str(error.value))


def test_yaml_may_have_a_mark_and_text_of_several_lines(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: |\n  one\n  two\n")
    assert read_yaml(tmp_path / "a.yaml", ConfigError) == {"a": "one\ntwo\n"}


def test_hidden_characters_are_spelled_out() -> None:
    assert visible("\x1b[31mé\n\u202e\ud800") == "\\x1b[31mé\\n\\u202e\\ud800"
    assert is_visible("café 日本 \u00a0 \u202f")


def test_files_of_macs_are_no_part_of_a_pool(tmp_path: Path) -> None:
    for name in ("a.jpg", "._a.jpg", "__MACOSX/b.jpg", ".Trashes", "inner/c.JPG", "inner/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert open_pool(tmp_path, (".jpg",), "photos").names == ("a.jpg", "inner/c.JPG")
