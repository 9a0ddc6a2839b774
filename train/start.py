"""Where the `meshmark` command starts: Ctrl-C is one line from the first moment, also while modules load."""

import os
import signal
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as in the background
        signal.signal(signal.SIGINT, _interrupt)
    from train.cli import main as command

    command()


def _interrupt(_signal: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, but leaves at once where a module loads: some would swallow it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"interrupted\n")
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
