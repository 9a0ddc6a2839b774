"""How many threads a process computes with."""

import cv2
from threadpoolctl import threadpool_limits


def single_thread(_worker: int = 0) -> None:
    """OpenCV's and the linear algebra's threads of this process: one. Where processes already use all cores,
    threads that wait for each other cost a fifth of the rate, and beside other work nine tenths."""
    cv2.setNumThreads(1)
    threadpool_limits(1, user_api="blas")
