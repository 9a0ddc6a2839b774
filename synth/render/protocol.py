"""What every renderer does."""

from typing import Protocol

from synth.types import RenderResult, SceneSpec


class Renderer(Protocol):
    """Holds the graphics context; one per process, used from one thread."""

    def render(self, scene: SceneSpec) -> RenderResult:
        """The scene as arrays, through a camera without distortion (the others:
        synth.render.lens).

        Equal scenes give equal bytes.
        """

    def close(self) -> None:
        """Frees the context."""
