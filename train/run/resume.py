"""Snapshots of a run, and going on from the last."""

import logging
from dataclasses import asdict, replace
from pathlib import Path

from synth.errors import ConfigError, DataError
from synth.system.json_files import read_json
from train.config import ScheduleConfig, TrainConfig, with_changes
from train.model.snapshot import (
    MODEL,
    OPTIM,
    STATE,
    Meta,
    check_objects,
    load_weights,
    read_meta,
    write_snapshot,
)
from train.model.tensor_files import optimizer_tensors, read_tensors, restore_optimizer
from train.run.curves import write_curves
from train.run.state import Run, RunState
from train.run.validation import Validation, merit_of

log = logging.getLogger(__name__)
AVERAGED = "trained/"
"""What the names of tensors begin with that runs with averaged weights wrote."""
MAY_CHANGE = (("model", "weights_file"), ("data", "workers"), ("data", "max_validation_images"))
"""Settings that may be others when a run goes on; so may the whole schedule."""


def continues(out: Path, resume: bool) -> bool:
    """Whether the run in `out` goes on; False: a new one starts there.

    Raises ConfigError for a run that was not asked to go on, DataError for one that lacks its state.
    """
    last = out / "last"
    if not last.exists():
        return False
    if not resume:
        raise ConfigError(f"{out}: holds a run already; add --resume to continue it or choose another folder")
    if not (last / STATE).is_file():
        raise DataError(f"{last / STATE}: absent, so the run cannot be continued")
    return True


def with_its_size(meta: Meta, folder: Path) -> Meta:
    """The run's meta with the size of pictures that it began with, where that follows from the objects':
    the images may have become more. Raises DataError for a damaged snapshot."""
    if not meta.config.model.smallest_px:
        return meta
    side = read_meta(folder).config.model.long_side_px
    return replace(meta, config=with_changes(meta.config, {"model": {"long_side_px": side}}, str(folder)))


def restore(run: Run, folder: Path) -> None:
    """Puts the run where the snapshot left it.

    Raises UserError for a snapshot of other objects, of another config, or one that is damaged.
    """
    saved = read_meta(folder)
    check_objects(saved.categories, run.meta.categories, str(folder))
    check_same_recipe(saved.config, run.config, str(folder))
    if saved.data != run.meta.data:
        log.warning("%s: the training labels changed since this snapshot", folder)
    load_weights(run.model, read_tensors(folder / MODEL), str(folder / MODEL))
    tensors = read_tensors(folder / OPTIM)
    if any(name.startswith(AVERAGED) for name in tensors):
        raise DataError(
            f"{folder}: the run averaged its weights, which is no longer done; start another one from it "
            "with --init"
        )
    restore_optimizer(run.optimizer, tensors, str(folder / OPTIM))
    try:
        state = read_json(folder / STATE)
        run.scaler.load_state_dict(state.pop("scaler"))
        run.state = RunState(**state)
        if not run.config.schedule.until_learned:  # what was known of its end is no longer so
            run.state.decay_from = run.state.decay_to = 0
        if "decay_to" not in state:
            # of a version that chose by keypoint AP alone
            run.state.best_score = max(map(merit_of, run.state.epochs_log), default=-1.0)
    except DataError:
        raise
    except (OSError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{folder / STATE}: not a run's state: {error}") from error


def save(run: Run, validation: Validation) -> None:
    """Writes `last`, `best` if no snapshot before had more merit, and the curves."""
    state = run.state
    best = validation.merit >= state.best_score
    state.best_score = max(state.best_score, validation.merit)
    score = validation.scores["keypoint AP"]
    meta = replace(run.meta, step=state.step, score=score, calibration=validation.calibration)
    weights = run.model.state_dict()
    if best:
        write_snapshot(run.out / "best", meta, weights)
    saved = {**asdict(state), "scaler": run.scaler.state_dict()}
    write_snapshot(run.out / "last", meta, weights, optimizer_tensors(run.optimizer), saved)
    write_curves(run.out / "curves.png", state.steps_log, state.epochs_log)


def is_finished(out: Path, schedule: ScheduleConfig) -> bool:
    """Whether the run in `out` has come to its end. Raises DataError for a damaged one."""
    path = out / "last" / STATE
    if not path.exists():
        return False
    state = read_json(path)
    try:
        last_step = state.get("decay_to") if schedule.until_learned else 0
        return bool(state["step"] >= min(last_step or schedule.max_steps, schedule.max_steps))
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a run's state: {error!r}") from error


def check_same_recipe(saved: TrainConfig, asked: TrainConfig, where: str) -> None:
    """Raises ConfigError if a run was started with another config: only the schedule and what MAY_CHANGE may
    be others."""
    before, now = (c.model_dump(mode="json", exclude={"schedule": True}) for c in (saved, asked))
    for section, name in MAY_CHANGE:
        before[section].pop(name)
        now[section].pop(name)
    for key, old in before.items():
        new = now[key]
        if old == new:
            continue
        if isinstance(old, dict):
            inner = next(name for name in old if old[name] != new[name])
            key, old, new = f"{key}.{inner}", old[inner], new[inner]
        raise ConfigError(f"{where}: the run was started with {key} = {old}, now {new}; it cannot go on so")
