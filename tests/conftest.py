"""torchvision is loaded before any test opens an OpenGL context.

The other way round, with Mesa's software rasterizer, the process crashes. The program itself renders in
processes of its own.
"""

import torchvision  # noqa: F401
