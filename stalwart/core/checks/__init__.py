"""Public contract checks: does a component of one's own keep its contract? Each raises ContractError if not."""

from stalwart.core.checks.attacks import attack
from stalwart.core.checks.sources import source
from stalwart.core.checks.tasks import objective, task
from stalwart.core.checks.threats import threat
from stalwart.core.checks.wrappers import detector, shield

__all__ = ["attack", "detector", "objective", "shield", "source", "task", "threat"]
