"""A run in a process of its own, to be killed or doubled.

`python -m tests.train.run.one_run ROOT WHAT [STEP]`

ROOT holds config.json and the data set `train`.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from synth.dataset.coco import Category
from synth.types import KeypointSchema
from train.config import ScheduleConfig, TrainConfig, with_changes
from train.data.samples import read_samples
from train.model.snapshot import Meta, describe
from train.run import engine
from train.run.engine import Run, TrainData
from train.run.processes import Processes, join_processes

BUG = Category(1, "bug", KeypointSchema(("nose", "tail"), ((0, 1),), (), (0.08, 0.08)))


def job(root: Path) -> tuple[TrainConfig, TrainData, Meta]:
    config = TrainConfig.model_validate_json((root / "config.json").read_text())
    samples = read_samples(root / "train", BUG)
    return config, TrainData(samples[4:], samples[4:8], samples[:4]), describe(config, [BUG], [None], {})


def gradients(root: Path, processes: Processes, config: TrainConfig | None = None) -> dict[str, Tensor]:
    """Of the first steps of a run: the second step's, clipped, and the losses of both."""
    asked, data, meta = job(root)
    run = Run(config or asked, data, meta, root / "nowhere", processes, False)
    batches = run._batches()
    losses = [run._step(step, next(batches), 0.5)[0] for step in range(2)]
    named = {n: p.grad for n, p in run.model.named_parameters() if p.grad is not None}
    return {**named, "losses": torch.tensor([list(values.values()) for values in losses])}


def main() -> None:
    torch.set_num_threads(1)
    root, what = Path(sys.argv[1]), sys.argv[2]
    if what == "kill":
        at, step = int(sys.argv[3]), engine.Run._step

        def fatal(run: Run, number: int, batch: engine.Batch, share: float) -> tuple[dict[str, float], float]:
            if number == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(run, number, batch, share)

        engine.Run._step = fatal  # type: ignore[method-assign]
        Run(*job(root), root / "cut", join_processes("cpu"), True).go()
        return
    processes = join_processes("cpu")
    parts = with_changes(job(root)[0], {"optim": {"accumulate": 2}}, "two parts a process")
    found = gradients(root, processes, parts)
    if processes.leads:
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, root / "two.safetensors")
    Run(*job(root), root / "two", processes, False).go()
    progress = engine.run_progress

    def half(schedule: ScheduleConfig, step: int, seconds: float) -> float:
        return 1.0 if step >= 2 else progress(schedule, step, seconds)

    engine.run_progress = half
    Run(*job(root), root / "two cut", processes, False).go()
    engine.run_progress = progress
    Run(*job(root), root / "two cut", processes, True).go()
    processes.close()


if __name__ == "__main__":
    main()
