"""One optimizer step, and the average of the weights that follows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from stalwart.core.contracts import Batch, Joint, Objective, OptimizerMaker, Schedule, Task
from stalwart.core.errors import ContractError
from stalwart.core.parameters import trainable
from stalwart.core.rng import seed_of
from stalwart.run._parallel import World
from stalwart.run._radius import at_radius
from stalwart.run.probe import Choice


class Stepper:
    """Turns batches into steps.

    Args:
        model: on the device; it is brought into the choice's layout, in place.
        radius: the course of the share of the threat's ε.
        parts: that a batch is computed in, at most.
        total: steps of the whole training, which the schedules span.
        clip: largest norm of the gradient of all parameters together; 0 for no limit.
        ema: decay of the average of the weights; 0 for none.
        seed: of what the model itself draws, such as dropout. Each step has its own, so a resumed run draws the same.
        choice: layout, precision and compilation.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        objective: Objective,
        optimizer: OptimizerMaker,
        schedule: Schedule,
        radius: Schedule,
        *,
        parts: int,
        total: int,
        clip: float,
        ema: float,
        seed: int,
        world: World,
        device: torch.device,
        choice: Choice,
    ) -> None:
        self.model, self.task, self.objective, self.schedule = model, task, objective, schedule
        self.radius = radius
        self.memories: list[dict[str, Tensor]] = [{} for _ in range(parts)]
        """What the objective carries from step to step: for each part of a batch its rows, of all processes."""
        self.total, self.clip, self.decay, self.world, self.device = total, clip, ema, world, device
        self._first_seed = seed_of(seed, "steps")
        self.choice = choice
        self.seeing = choice.apply(model)
        """What the objective is given: the model, or a compiled form of it."""
        self.autocast = choice.autocast(device)
        self.optimizer = optimizer.build(model)
        self.rates: list[float] = [group["lr"] for group in self.optimizer.param_groups]
        """Peak learning rate of each group."""
        self.parameters = trainable(model)
        state = model.state_dict()
        floats = {name: value for name, value in state.items() if value.is_floating_point()}
        average = {name: value.detach().clone() for name, value in state.items()} if ema else {}
        self.ema = average or None
        """The averaged weights and buffers."""
        self._floats, self._averages = list(floats.values()), [average[name] for name in floats] if ema else []
        self._counters = {name: value for name, value in state.items() if name not in floats} if ema else {}

    def step(self, group: Sequence[Batch], images: int, number: int) -> Tensor:
        """Step `number` (from 0) on the parts of a batch of so many images over all processes.

        The gradient is that of the mean loss of the whole batch, however many parts and processes it is divided into.

        Returns:
            (): sum of the losses over all processes, on the device. Where it is not finite, a CPU has left the weights
            alone; an accelerator has not, as nobody waited for the number.
        """
        factor, objective = self.schedule(number / self.total), self.objective_at(number)
        for settings, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            settings["lr"] = rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        group = [self._placed(batch, memory) for batch, memory in zip(group, self.memories, strict=False)]
        live = [batch for batch in group if len(batch.images)]
        with _seeded((self._first_seed + number * self.world.size + self.world.rank) % 2**63, self.device):
            found = self._losses(objective, live)
            for batch in live:
                with self.autocast:
                    losses = next(found)
                    if losses.shape != (len(batch.images),):
                        raise ContractError(
                            f"{self.objective!r} must give one loss for each of {len(batch.images)} images. "
                            f"Got shape {tuple(losses.shape)}."
                        )
                losses.backward(torch.full_like(losses, 1 / images))  # type: ignore[no-untyped-call]
                total += losses.detach().sum()
            next(found, None)  # one without images must still take part where processes wait for each other
        self.world.sum_(total)
        self.world.sum_gradients(self.parameters)
        if self.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if self.device.type == "cpu" and not bool(total.isfinite()):
            return total
        if self._carries:
            for batch, memory in zip(group, self.memories, strict=False):
                memory |= self.world.joined(batch.memory)
        self.optimizer.step()
        if self.ema is not None:
            self._average(number)
        return total

    def objective_at(self, number: int) -> Objective:
        """The objective at the radius of step `number`."""
        return at_radius(self.objective, self.radius(number / self.total))

    @property
    def _carries(self) -> bool:
        return bool(getattr(self.objective, "carries", False))

    def _placed(self, batch: Batch, memory: dict[str, Tensor]) -> Batch:
        """The batch in the choice's layout, with its rows of what is carried, which the objective may replace."""
        mine: dict[str, Tensor] = {}
        if self._carries:
            first, everything = self.world.place(len(batch.images))
            for name, rows in memory.items():
                if len(rows) == everything:
                    own = rows[first : first + len(batch.images)].to(self.device)
                    mine[name] = self.choice.place(own)
        return replace(batch, images=self.choice.place(batch.images), memory=mine)

    def _losses(self, objective: Objective, live: Sequence[Batch]) -> Iterator[Tensor]:
        """Each part's losses; where the objective must see the whole batch first, it is shown that."""
        if isinstance(objective, Joint):
            yield from objective.parts(self.seeing, self.task, live, self.world.sum_)
        else:
            for batch in live:
                yield objective(self.seeing, self.task, batch)

    @torch.no_grad()
    def _average(self, number: int) -> None:
        """average ← d · average + (1 − d) · weights. Early on a long memory would be of the initial weights alone, so
        d = min(decay, (1 + t) / (10 + t)) at step t, counted from 0."""
        assert self.ema is not None
        decay = min(self.decay, (1 + number) / (10 + number))
        torch._foreach_lerp_(self._averages, self._floats, 1 - decay)
        for name, value in self._counters.items():
            self.ema[name].copy_(value)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with the averaged weights, where there are any, for as long as the block lasts."""
        if self.ema is None:
            yield
            return
        own = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        _put(self.model, self.ema)
        try:
            yield
        finally:
            _put(self.model, own)

    def sound(self) -> bool:
        """Whether every weight is a finite number."""
        return all(bool(parameter.detach().isfinite().all()) for parameter in self.parameters)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """torch's own generators at `seed`, and afterwards as they were.

    `torch.manual_seed` would do, but where CUDA has not been touched it keeps a stack trace of each call for later:
    0.3 ms a step, and memory that grows.
    """
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index or 0])
    states = [generator.get_state() for generator in generators]
    for generator in generators:
        generator.manual_seed(seed)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


@torch.no_grad()
def _put(model: nn.Module, weights: dict[str, Tensor]) -> None:
    for name, value in model.state_dict().items():
        value.copy_(weights[name])
