"""A run in a process of its own, to be killed or doubled.

`python -m tests.train.run.one_run ROOT WHAT [STEP]`

ROOT holds config.json and the data set `train`.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from synth.dataset.coco import Category
from synth.types import KeypointSchema
from train.config import ScheduleConfig, TrainConfig, with_changes
from train.data.samples import read_samples
from train.model.snapshot import Meta, make_meta
from train.run import engine
from train.run.batches import Batch, TrainData, training_batches
from train.run.engine import run_to_end, train_step
from train.run.prepare import prepare
from train.run.processes import Processes, join_processes
from train.run.state import Run

BUG = Category(1, "bug", KeypointSchema(("nose", "tail"), ((0, 1),), (), (0.08, 0.08)))


def job(root: Path) -> tuple[Meta, TrainData]:
    config = TrainConfig.model_validate_json((root / "config.json").read_text())
    samples = read_samples(root / "train", BUG)
    return make_meta(config, [BUG], [None], {}), TrainData(samples[4:], samples[4:8], samples[:4])


def gradients(root: Path, processes: Processes, config: TrainConfig | None = None) -> dict[str, Tensor]:
    """Of the first steps of a run: the second step's, clipped, and the losses of both."""
    meta, data = job(root)
    run = prepare(replace(meta, config=config or meta.config), data, root / "nowhere", processes)
    batches = training_batches(run.meta, data, processes, 0)
    losses = [train_step(run, step, next(batches), 0.5)[0] for step in range(2)]
    named = {n: p.grad for n, p in run.model.named_parameters() if p.grad is not None}
    return {**named, "losses": torch.tensor([list(values.values()) for values in losses])}


def main() -> None:
    torch.set_num_threads(1)
    root, what = Path(sys.argv[1]), sys.argv[2]
    if what == "kill":
        at, step = int(sys.argv[3]), engine.train_step

        def fatal(run: Run, number: int, batch: Batch, share: float) -> tuple[dict[str, float], float]:
            if number == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(run, number, batch, share)

        engine.train_step = fatal
        run_to_end(prepare(*job(root), root / "cut", join_processes("cpu"), True))
        return
    processes = join_processes("cpu")
    parts = with_changes(job(root)[0].config, {"optim": {"accumulate": 2}}, "two parts a process")
    found = gradients(root, processes, parts)
    if processes.leads:
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, root / "two.safetensors")
    run_to_end(prepare(*job(root), root / "two", processes, False))
    whole = engine.share_done

    def half(schedule: ScheduleConfig, step: int, seconds: float, last_step: int) -> float:
        return 1.0 if step >= 2 else whole(schedule, step, seconds, last_step)

    engine.share_done = half
    run_to_end(prepare(*job(root), root / "two cut", processes, False))
    engine.share_done = whole
    run_to_end(prepare(*job(root), root / "two cut", processes, True))
    processes.close()


if __name__ == "__main__":
    main()
