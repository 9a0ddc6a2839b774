"""What every test relies on: one thread, no crash of the drivers, time enough on a busy machine.

torchvision is loaded before any test opens an OpenGL context. The other way round, with Mesa's software
rasterizer, the process crashes. The program itself renders in processes of its own.
"""

import cv2
import pytest
import scipy.linalg  # noqa: F401, brings threads of its own
import torch
import torchvision  # noqa: F401
from threadpoolctl import threadpool_limits

HANG_S = 1200
"""What takes as long hangs, however busy the machine is."""

cv2.setNumThreads(1)  # as many test processes run as there are cores
torch.set_num_threads(1)
threadpool_limits(1)


@pytest.fixture(scope="session")
def opengl() -> None:
    """Fixtures that render take this one: whatever test uses them is marked `gl`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "opengl" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.gl)
