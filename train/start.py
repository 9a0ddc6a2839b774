"""Where the `meshmark` command starts: Ctrl-C is one line from the first moment, also while modules load."""

import os
import signal
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as in the background
        signal.signal(signal.SIGINT, _leave)
    from train.cli import main as command

    command()


def _leave(_signal: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
