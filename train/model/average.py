"""A moving average of a network's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of the trained parameters; young averages forget faster.

    values: parameter name -> averaged tensor.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.values = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        self._decay = decay
        self._updates = 0

    def update(self, model: nn.Module) -> None:
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        for name, parameter in model.named_parameters():
            if name in self.values:
                self.values[name].lerp_(parameter.detach(), 1 - decay)

    def restore(self, values: dict[str, Tensor], updates: int, device: torch.device) -> None:
        self.values = {name: value.to(device) for name, value in values.items()}
        self._updates = updates

    def whole(self, model: nn.Module) -> dict[str, Tensor]:
        """The network's state with averaged parameters in place of its own."""
        return {**model.state_dict(), **self.values}

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Puts the averaged parameters into the network for the duration."""
        own = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.whole(model))
        try:
            yield
        finally:
            model.load_state_dict(own)
