"""What looking at an object folder finds worth saying."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from synth.text import visible

KEYPOINT_TOLERANCE = 0.03
"""Two places on an object are one when this close, as a share of its diameter."""


@dataclass(frozen=True)
class Remark:
    """level: 'error' | 'warning' | 'info'. field: of object.yaml, or what was looked at."""

    level: str
    field: str
    message: str


def print_remarks(remarks: Sequence[Remark]) -> bool:
    """One line each, errors first. Returns whether there is an error."""
    console = Console(soft_wrap=True, highlight=False)
    styles = {"error": "bold red", "warning": "yellow", "info": "dim"}
    for level, style in styles.items():
        for remark in remarks:
            if remark.level == level:
                text = f"{remark.field}: {remark.message}"
                console.print(f"[{style}]{level:8}[/] {escape(visible(text))}")
    return any(remark.level == "error" for remark in remarks)
