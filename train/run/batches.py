"""What a run learns from, as the batches of its steps."""

import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import DataLoader

from synth.errors import UserError
from synth.system.worker import tune_worker
from train.data.mix import ENDLESS, MixedBatchSampler, real_share
from train.data.online import OnlineImages
from train.data.transforms import TrainingImages
from train.model.snapshot import Meta
from train.run.processes import Processes
from train.types import Sample

Batch = tuple[list[Tensor], list[dict[str, Tensor]], list[str]]
"""Images (3, H, W) uint8, targets as transforms.TrainingImages gives them, and the images' file names."""


@dataclass(frozen=True)
class TrainData:
    """What a run learns from and chooses its best snapshot on.

    sets: (size, weight) of the parts `synthetic` is made of; () if all its images come equally often.
    """

    synthetic: tuple[Sample, ...] | OnlineImages
    real: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    sets: tuple[tuple[int, float], ...] = ()

    @property
    def n_synthetic(self) -> int:
        return ENDLESS if isinstance(self.synthetic, OnlineImages) else len(self.synthetic)


def training_batches(meta: Meta, data: TrainData, processes: Processes, start_step: int) -> Iterator[Batch]:
    """This process's batches from a step up to the run's end; the workers that load them live as long.

    meta: of the run, for its config and categories.
    """
    config = meta.config
    counts = data.n_synthetic, len(data.real)
    share = config.data.real_fraction
    sampler = MixedBatchSampler(
        *counts,
        batch_size=config.data.batch_size,
        real_fraction=real_share(*counts) if share is None else share,
        seed=config.seed,
        start_step=start_step,
        end_step=config.schedule.max_steps,
        rank=processes.rank,
        world_size=processes.world_size,
        sets=data.sets,
    )
    images = TrainingImages(
        data.synthetic,
        data.real,
        meta.categories,
        config.data,
        config.model.long_side_px,
        config.model.crop_px,
    )
    workers = config.data.workers
    return without_traceback(
        DataLoader(
            images,
            batch_sampler=sampler,
            num_workers=workers,
            worker_init_fn=tune_worker,
            collate_fn=collate,
            multiprocessing_context=loader_processes() if workers else None,
            prefetch_factor=4 if workers else None,
            pin_memory=processes.device.type == "cuda",
        )
    )


def collate(items: list[tuple[Tensor, dict[str, Tensor], str]]) -> Batch:
    """Images stay a list: they may differ in size."""
    images, targets, names = zip(*items, strict=True)
    return list(images), list(targets), list(names)


def loader_processes() -> multiprocessing.context.ForkServerContext:
    """Loader processes are forked from one that has imported this module and so all they need; otherwise each
    would import it again, one after another."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def without_traceback(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches; a UserError of a loader process comes as it was raised there, without the traceback that
    torch puts before its message."""
    try:
        yield from batches
    except UserError as error:
        name = f"{type(error).__module__}.{type(error).__qualname__}: "
        raise type(error)(str(error).rsplit(name, 1)[-1].strip()) from None
