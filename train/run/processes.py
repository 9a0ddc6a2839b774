"""One process, or the several that torchrun starts: who am I, and a word for all."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    rank: its number, from 0. world_size: how many there are. device: the one that this process computes on.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates, writes and speaks."""
        return self.rank == 0

    def from_leader(self, value: float) -> float:
        """The leader's value, the same on every process."""
        if self.world_size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, src=0)
        return float(shared.item())

    def total(self, values: Tensor) -> Tensor:
        """The sum of the processes' tensors, which have one shape."""
        if self.world_size == 1:
            return values
        shared = values.to(self.device)
        distributed.all_reduce(shared)
        return shared

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world_size > 1:
            distributed.barrier()

    def close(self) -> None:
        if self.world_size > 1:
            distributed.destroy_process_group()


def join_processes(device: str) -> Processes:
    """Joins torchrun's group if its environment is there: nccl on CUDA (one device each), gloo on the CPU."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return Processes(0, 1, torch.device(device))
    chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Processes(distributed.get_rank(), world_size, chosen)
