"""Gymnasium's small textbook problems by the thousand."""

from __future__ import annotations

from stalwart.core.component import component
from stalwart.mdp.open import open_single
from stalwart.mdp.table import Table, TableWorlds


@component
class table:
    """The table of probabilities of a toy-text environment (FrozenLake, Taxi, CliffWalking), stepped in arrays.

    The same problem as the environment itself at a hundred times its speed, and its optimum is known exactly.
    """

    name: str
    """A Gymnasium id, such as 'FrozenLake8x8-v1'."""

    def build(self, count: int) -> TableWorlds:
        return TableWorlds(self.table(), count)

    def table(self) -> Table:
        """The problem's probabilities.

        Raises:
            InputError: no such environment, or it has no table.
        """
        env = open_single(self.name)
        try:
            return Table.of(env)
        finally:
            env.close()
