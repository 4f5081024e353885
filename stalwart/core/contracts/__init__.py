"""Every contract of the house, and the frozen records that pass between its rooms.

Images are float tensors (B, C, H, W) in [0, 1] everywhere but on disk and in a source, where they are uint8.
Normalisation is a layer of the model.

Each file of this folder holds those of one matter; everyone imports them from here.
"""

from __future__ import annotations

from stalwart.core.contracts.attacks import Attack, AttackResult, Ball, Rendered, Stage, Threat
from stalwart.core.contracts.batches import Augment, Batch, Composing, Moving
from stalwart.core.contracts.control import Learner, Student, Worlds
from stalwart.core.contracts.data import Examples, Info, Inspected, Objects, Sample, Source, Trouble
from stalwart.core.contracts.defences import Certificate, Certifying, Detector, Shield
from stalwart.core.contracts.driving import Roads, Scenario, Tamper
from stalwart.core.contracts.events import Event, Events
from stalwart.core.contracts.models import Architecture, Signature
from stalwart.core.contracts.tasks import Directed, Drawing, Drawn, Goal, Metric, Placed, Task, Verdict
from stalwart.core.contracts.training import Hardening, Joint, Objective, OptimizerMaker, Schedule

__all__ = [
    "Architecture",
    "Attack",
    "AttackResult",
    "Augment",
    "Ball",
    "Batch",
    "Certificate",
    "Certifying",
    "Composing",
    "Detector",
    "Directed",
    "Drawing",
    "Drawn",
    "Event",
    "Events",
    "Examples",
    "Goal",
    "Hardening",
    "Info",
    "Inspected",
    "Joint",
    "Learner",
    "Metric",
    "Moving",
    "Objective",
    "Objects",
    "OptimizerMaker",
    "Placed",
    "Rendered",
    "Roads",
    "Sample",
    "Scenario",
    "Schedule",
    "Shield",
    "Signature",
    "Source",
    "Stage",
    "Student",
    "Tamper",
    "Task",
    "Threat",
    "Trouble",
    "Verdict",
    "Worlds",
]
