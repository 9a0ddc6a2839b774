"""Memory and open files of `meshmark render`, per process, while it renders a large set.

    python -m tests.bench.bench_memory --object glue_tube --images 10000 --workers 2 --out FOLDER

Prints a line every --every images and, at the end, how much each process grew since image 500. Linux only.
"""

import argparse
import multiprocessing
import os
import threading
import time
from pathlib import Path

from synth.cli import background_folder
from synth.config import EXECUTORS, LAYOUTS, load_synth_config
from synth.dataset.store import find_store
from synth.generate.job import RenderJob
from synth.generate.run import generate

WARM = 500


def resident_mb(pid: int) -> float:
    """Memory that is the process's own: pages of files (libraries) left out."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def name(position: int) -> str:
    return f"worker {position}" if position else "driver"


def images_in(out: Path, layout: str) -> int:
    if layout == "folder":
        return sum(1 for _ in os.scandir(out / "images")) if (out / "images").is_dir() else 0
    return sum(1 for _ in find_store(out).rows()) if (out / "shard-00000.tar").exists() else 0


def watch(out: Path, layout: str, every: int, first: dict[int, float], last: dict[int, float]) -> None:
    """Runs beside generate; the driver is the process that writes."""
    printed = -every
    while True:
        time.sleep(1)
        count = images_in(out, layout)
        if count < printed + every:
            continue
        printed = count // every * every
        pids = [os.getpid(), *sorted(p.pid for p in multiprocessing.active_children() if p.pid)]
        try:
            rows = [(pid, resident_mb(pid), open_files(pid)) for pid in pids]
        except FileNotFoundError:  # a process has just ended
            return
        text = "  ".join(
            f"{'driver' if i == 0 else f'worker {i}'} {mb:.0f} MB {n} files"
            for i, (_, mb, n) in enumerate(rows)
        )
        print(f"{count:7} images  {text}", flush=True)
        if count >= WARM:
            for pid, mb, _ in rows:
                first.setdefault(pid, mb)
                last[pid] = mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--object", default="glue_tube")
    parser.add_argument("--config", default="default")
    parser.add_argument("--backgrounds", default="default")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--executor", default=EXECUTORS[0], choices=EXECUTORS)
    parser.add_argument("--layout", default=LAYOUTS[0], choices=LAYOUTS)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    job = RenderJob(chosen.object, load_synth_config(chosen.config), background_folder(chosen.backgrounds), 0)
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    arguments = (chosen.out, chosen.layout, chosen.every, first, last)
    threading.Thread(target=watch, args=arguments, daemon=True).start()
    start = time.perf_counter()
    generate(job, chosen.out, chosen.images, chosen.workers, chosen.executor, chosen.layout)
    print(f"{chosen.images / (time.perf_counter() - start):.1f} images/s")
    for i, pid in enumerate(sorted(last)):
        print(f"{name(i)}: {last[pid] - first[pid]:+.1f} MB since image {WARM}")


if __name__ == "__main__":
    main()
