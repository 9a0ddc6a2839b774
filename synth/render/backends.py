"""The renderers by name."""

from synth.config import RENDERERS
from synth.objects.library import Library
from synth.render.protocol import Renderer


def open_renderer(library: Library, backend: str = RENDERERS[0]) -> Renderer:
    """A renderer for scenes of the library, one of RENDERERS.

    Raises EnvironmentProblem when no OpenGL context can be made.
    """
    if backend == "fast":
        from synth.render.fast import FastRenderer

        return FastRenderer(library)
    if backend != "pyrender":
        raise ValueError(f"backend: {backend!r}, expected one of {RENDERERS}")
    from synth.render.pyrender import PyrenderRenderer

    return PyrenderRenderer(library)
