"""YAML files in, with errors that name file, line and field."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, ValidationError

from synth.errors import UserError
from synth.system.untrusted import read_untrusted_text
from synth.text import is_visible

MAX_YAML_BYTES = 1 << 20
MAX_YAML_NODES = 50_000
OPENCV_DIRECTIVE = "%YAML:1.0"
"""The first line of OpenCV's files, which no YAML parser knows."""
_Pair = TypeVar("_Pair", tuple[int, int], tuple[float, float])


def _ascending(pair: _Pair) -> _Pair:
    if pair[0] > pair[1]:
        raise ValueError(f"expected low <= high, got {list(pair)}")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
"""low, high."""
WholeRange = Annotated[tuple[int, int], AfterValidator(_ascending)]


def between(low: float, high: float) -> AfterValidator:
    """For Annotated[Range, between(low, high)]: both ends of the range lie there."""

    def check(pair: _Pair) -> _Pair:
        if pair[0] < low or pair[1] > high:
            raise ValueError(f"expected values from {low:g} to {high:g}, got {list(pair)}")
        return pair

    return AfterValidator(check)


class Loader(yaml.SafeLoader):
    """A key written twice (a keypoint, say) is an error, not a silent overwrite; so are aliases, with which a
    small file can stand for a huge one, and text that a terminal would not show as it is."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not supported", self.get_mark()
            )
        self._nodes += 1
        if self._nodes > MAX_YAML_NODES:
            raise yaml.composer.ComposerError(None, None, f"more than {MAX_YAML_NODES} values")
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        text = super().construct_scalar(node)
        if isinstance(text, str) and not is_visible(text.replace("\n", " ").replace("\t", " ")):
            raise yaml.constructor.ConstructorError(
                None, None, f"{text!a:.80}: a control character", node.start_mark
            )
        return text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            fault = "is given twice" if key in seen else None
            if isinstance(key, str) and not is_visible(key):
                fault = "holds a control character"
            if fault is not None:
                mark = key_node.start_mark
                raise yaml.constructor.ConstructorError(None, None, f"{key!r:.80} {fault}", mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, error_type: type[UserError], loader: type[Loader] = Loader) -> dict[str, Any]:
    """The file's mapping. Raises error_type when it is absent, too large, malformed or no mapping."""
    try:
        text = read_untrusted_text(path, MAX_YAML_BYTES, error_type)
        raw = yaml.load(text.removeprefix(OPENCV_DIRECTIVE), loader)
    except FileNotFoundError as error:
        raise error_type(f"{path}: no such file") from error
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise error_type(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise error_type(f"{path}: expected a mapping of fields, got {type(raw).__name__}")
    return raw


def validation_text(error: ValidationError) -> str:
    """What a pydantic error says, as one line: field, what came and what was expected of the first three
    faults, and how many more there are."""
    faults = []
    for fault in error.errors()[:3]:
        field = ".".join(str(part) for part in fault["loc"]) or "file"
        came = "" if fault["type"] in ("missing", "value_error") else f" (got {fault['input']!r:.80})"
        unquoted = fault["type"] == "string_type" and isinstance(fault["input"], bool | int | float)
        quoted = "; write it in quotes" if unquoted else ""
        faults.append(f"{field}: {fault['msg'].removeprefix('Value error, ')}{came}{quoted}")
    more = error.error_count() - len(faults)
    return "; ".join(faults) + (f"; and {more} more" if more > 0 else "")
