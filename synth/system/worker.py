"""How a process that works beside others uses the machine."""

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
from threadpoolctl import threadpool_limits

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
INT_MAX = 2**31 - 1


def tune_worker(_worker: int = 0) -> None:
    """Makes this process use one thread for OpenCV and for linear algebra, and keep freed memory.

    For worker processes, one per core: threads of their own would wait for each other, which costs a fifth of
    the images a second, and nine tenths of them beside other work. _worker: a number that PyTorch's loader
    passes and nobody needs.
    """
    cv2.setNumThreads(1)
    threadpool_limits(1, user_api="blas")
    keep_memory()


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes started in the block never see Ctrl-C, from their first moment on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def keep_memory() -> None:
    """Makes the C library (glibc; others are left alone) keep freed memory for the next array.

    It would give large blocks back, and the kernel would map and zero new ones for every image: up to a fifth
    of the time of a rendered image, and a sixth of a training step's.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, INT_MAX)
