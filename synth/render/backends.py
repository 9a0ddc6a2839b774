"""The renderers by name."""

from pathlib import Path

from synth.config import RENDERERS
from synth.objects.library import Library
from synth.render.protocol import Renderer


def open_renderer(
    library: Library,
    photos: Path | None = None,
    backend: str = RENDERERS[0],
    environments: Path | None = None,
) -> Renderer:
    """A renderer for scenes of `library`; `photos`, `environments`: folders of the pools of backgrounds and
    environment maps; `backend`: see RENDERERS.

    Raises EnvironmentProblem when no OpenGL context can be made.
    """
    if backend == "fast":
        from synth.render.fast import FastRenderer

        return FastRenderer(library, photos, environments)
    if backend != "pyrender":
        raise ValueError(f"backend: {backend!r}, expected one of {RENDERERS}")
    from synth.render.pyrender import PyrenderRenderer

    return PyrenderRenderer(library, photos, environments)
