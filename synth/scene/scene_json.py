"""SceneSpec to JSON and back, so that an image can be rendered again from its line in scenes.jsonl."""

import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import numpy as np

from synth.types import SceneSpec


def scene_to_json(scene: SceneSpec) -> dict[str, Any]:
    """Nested dictionaries and lists; floats keep all their digits."""
    encoded: dict[str, Any] = _encode(scene)
    return encoded


def scene_from_json(raw: dict[str, Any]) -> SceneSpec:
    """The inverse of scene_to_json. Fields that a scene of an earlier version lacks take their defaults."""
    scene: SceneSpec = _decode(SceneSpec, raw)
    return scene


def _encode(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [_encode(v) for v in value]
    if isinstance(value, dict):
        return {k: _encode(v) for k, v in value.items()}
    return value


def _decode(kind: Any, raw: Any) -> Any:
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        there = [f.name for f in fields(kind) if f.name in raw or f.default is MISSING]
        return kind(**{name: _decode(hints[name], raw[name]) for name in there})  # type: ignore[operator]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if type(None) in arguments:
        return None if raw is None else _decode(arguments[0], raw)
    if origin is np.ndarray:
        return np.array(raw, dtype=np.float64)
    if origin is tuple:
        each = arguments[:1] * len(raw) if arguments[-1] is Ellipsis else arguments
        return tuple(_decode(a, r) for a, r in zip(each, raw, strict=True))
    if origin is dict:
        return {k: _decode(arguments[1], v) for k, v in raw.items()}
    return raw
