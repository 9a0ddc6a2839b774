"""A real camera's file, whoever wrote it. What is not known is refused by name, never left out."""

import json
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import yaml
from pydantic import ValidationError

from synth.cameras import colmap, kalibr, opencv, plain
from synth.cameras.calibration import Calibration
from synth.errors import ConfigError
from synth.system.untrusted import read_untrusted_text
from synth.system.yaml_files import MAX_YAML_BYTES, OPENCV_DIRECTIVE, Loader, validation_text

EXAMPLE = "{K: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], image_width: 640, image_height: 480}"
UNREAD = (".npz", ".npy", ".bin", ".mat", ".pkl")
FAMILIES = (kalibr, opencv, plain)
"""Of mappings, in the order in which they are looked for."""


class _Loader(Loader):
    """Knows OpenCV's matrices as plain mappings."""


_Loader.add_multi_constructor(
    "tag:yaml.org,2002:opencv-",
    lambda loader, _, node: loader.construct_mapping(cast(yaml.MappingNode, node), deep=True),
)


def read_calibration(path: Path) -> Calibration:
    """The camera in a file of OpenCV, ROS, Kalibr, COLMAP, Open3D or BOP, or one as EXAMPLE shows.

    Raises ConfigError naming file and field.
    """
    try:
        if path.suffix.lower() in UNREAD:
            raise ValueError(f"{path.suffix} files are not read: write a YAML or JSON file {EXAMPLE}")
        text = read_untrusted_text(path, MAX_YAML_BYTES, ConfigError)
        if colmap.finds(text):
            return colmap.read(text)
        return _of_mapping(_parsed(text))
    except ConfigError:
        raise
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {validation_text(error)}") from error
    except (yaml.YAMLError, ElementTree.ParseError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML, JSON or XML: {' '.join(str(error).split())}") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _of_mapping(raw: Any) -> Calibration:
    if not isinstance(raw, dict):
        raise ValueError(f"no camera's fields, expected those of OpenCV, ROS, Kalibr or {EXAMPLE}")
    family = next((family for family in FAMILIES if family.finds(raw)), None)
    if family is not None:
        found: Calibration = family.read(raw)
        return found
    inner = [value for value in raw.values() if isinstance(value, dict) and _is_camera(value)]
    if len(inner) == 1:
        return _of_mapping(inner[0])
    if inner:
        raise ValueError(f"{len(inner)} cameras, expected one: keep the one that is meant")
    fields = ", ".join(map(str, list(raw)[:8]))
    raise ValueError(
        f"no camera in it: its fields are {fields}; expected those of OpenCV, ROS, Kalibr, COLMAP, Open3D, "
        f"BOP, or {EXAMPLE}"
    )


def _is_camera(raw: dict[str, Any]) -> bool:
    return any(family.finds(raw) for family in FAMILIES)


def _parsed(text: str) -> Any:
    start = text.lstrip()[:1]
    if start == "<":
        return _of_xml(ElementTree.fromstring(text))
    if start in ("{", "["):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            pass  # YAML may begin so too
    messages = yaml.load_all(text.removeprefix(OPENCV_DIRECTIVE), _Loader)  # of a topic, one after another
    return next(messages, None)


def _of_xml(element: ElementTree.Element) -> Any:
    """Elements by their names; words as numbers, several as a list."""
    if len(element):
        return {child.tag: _of_xml(child) for child in element}
    words = [_number(word) for word in (element.text or "").split()]
    return words[0] if len(words) == 1 and element.tag != "data" else words


def _number(word: str) -> Any:
    try:
        return int(word)
    except ValueError:
        try:
            return float(word)
        except ValueError:
            return word.strip('"')
