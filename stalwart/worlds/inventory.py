"""Ordering stock that arrives later, while demand is uncertain."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from stalwart.core.component import at_least, between, component
from stalwart.mdp.table import Table, TableWorlds


@component
class inventory:
    """One product: each day an order is placed, the oldest order arrives, and a Poisson demand is served from stock.

    An order costs `price` a piece and `fixed` each time; a piece that lies over night costs `holding`, a sale that is
    missed `missed`. The reward is minus the cost. Unmet demand is lost, so with a lead time the best policy has no
    closed form (Karlin and Scarf 1958; Zipkin 2008), but the problem is finite: dynamic programming solves it.
    A state is stock and the orders under way, as one number.
    """

    capacity: Annotated[int, at_least(1)] = 8
    """Stock at most; what arrives beyond it is lost."""
    largest: Annotated[int, at_least(1)] = 4
    """Pieces of an order at most."""
    lead: Annotated[int, between(0, 3)] = 1
    """Days until an order arrives; 0: before the demand of the same day."""
    demand: Annotated[float, between(0.01, 20.0)] = 2.0
    """Mean of a day's demand."""
    price: float = 0.0
    """Of a piece."""
    fixed: float = 1.0
    """Of an order."""
    holding: float = 1.0
    """Of a piece a night."""
    missed: float = 5.0
    """Of a sale that is missed."""
    days: Annotated[int, at_least(1)] = 100
    """Of an episode, which is cut off and does not end."""

    def build(self, count: int) -> TableWorlds:
        return TableWorlds(self.table(), count)

    def table(self) -> Table:
        """The problem's probabilities; (capacity + 1) (largest + 1)^lead states."""
        stocks, sizes = self.capacity + 1, self.largest + 1
        states = stocks * sizes**self.lead
        chance = np.zeros((states, sizes, stocks + 1))
        after = np.zeros(chance.shape, np.int64)
        reward = np.zeros(chance.shape)
        poisson = [math.exp(-self.demand) * self.demand**d / math.factorial(d) for d in range(stocks)]
        for state in range(states):
            stock, under_way = state % stocks, state // stocks
            for order in range(sizes):
                queue = under_way + order * sizes**self.lead  # the oldest order is the lowest digit
                have = min(stock + queue % sizes, self.capacity)
                cost = self.price * order + self.fixed * (order > 0)
                # Demands below `have` leave stock; all from `have` on empty it, and miss E[(D − have)+] together.
                for sold in range(have + 1):
                    left = have - sold
                    p = poisson[sold] if left else 1.0 - sum(poisson[:have])
                    lost = 0.0
                    if not left and p > 0:
                        below = sum((have - d) * poisson[d] for d in range(have))
                        lost = max(self.demand - have + below, 0.0) / p
                    chance[state, order, sold] = p
                    after[state, order, sold] = left + stocks * (queue // sizes)
                    reward[state, order, sold] = -(cost + self.holding * left + self.missed * lost)
        start = np.zeros(states)
        start[0] = 1.0
        return Table(chance, after, reward, np.zeros(chance.shape, np.bool_), start, self.days)

    def optimum(self) -> float:
        """The greatest expected return of an episode, by dynamic programming."""
        return self.table().within(self.days)
