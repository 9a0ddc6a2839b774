"""What an OpenGL context through EGL needs from the system, and which Debian package brings it."""

import ctypes.util
from pathlib import Path

LIBRARIES = {"EGL": "libegl1", "GL": "libgl1"}
"""Loaders of OpenGL -> Debian package."""
DRIVERS = ("dri/swrast_dri.so", "dri/libdril_dri.so", "libgallium*.so")
GPU = Path("/proc/driver/nvidia/version")


def remedy() -> str:
    """What to install so that a context can be made, as far as missing files tell."""
    missing = [package for name, package in LIBRARIES.items() if not ctypes.util.find_library(name)]
    vendors = [name for name in ("EGL_nvidia", "EGL_mesa") if ctypes.util.find_library(name)]
    if GPU.exists() and "EGL_nvidia" not in vendors:
        return (
            f"{_install(missing)}the NVIDIA driver lacks its EGL library: install libnvidia-egl-gbm1 and "
            "libegl-nvidia0 of the driver's version; in a container set NVIDIA_DRIVER_CAPABILITIES=all"
        )
    if not vendors:
        missing.append("libegl-mesa0")
    if "EGL_nvidia" not in vendors and not _has_mesa_driver():
        missing.append("libgl1-mesa-dri")
    return _install(missing).rstrip("; ") or (
        "the libraries are there; a driver that does not fit them, or a display variable "
        "(EGL_PLATFORM, LIBGL_ALWAYS_SOFTWARE, __EGL_VENDOR_LIBRARY_FILENAMES) may be at fault"
    )


def _install(packages: list[str]) -> str:
    return f"apt-get install {' '.join(packages)}; " if packages else ""


def _has_mesa_driver() -> bool:
    roots = [Path("/usr/lib"), Path("/usr/lib64"), *Path("/usr/lib").glob("*-linux-gnu*")]
    return any(any(root.glob(pattern)) for root in roots for pattern in DRIVERS)
