"""Renderers: a scene in, colour, depth and instance ids out."""

from synth.render.base import Renderer, open_renderer

__all__ = ["Renderer", "open_renderer"]
