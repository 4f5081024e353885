"""Small OpenDRIVE files written from known geometry."""

from __future__ import annotations

import math
from pathlib import Path

LANES = """<lanes>{offset}<laneSection s="0">
<left><lane id="1" type="driving"><link><predecessor id="1"/><successor id="1"/></link><width sOffset="0" a="3.5" b="0" c="0" d="0"/>
<roadMark sOffset="0" type="solid" color="white"/></lane></left>
<center><lane id="0" type="none"><roadMark sOffset="0" type="solid solid" color="yellow"/></lane></center>
<right><lane id="-1" type="driving"><link><predecessor id="-1"/><successor id="-1"/></link><width sOffset="0" a="3.5" b="0" c="0" d="0"/>
<roadMark sOffset="0" type="solid" color="white"/></lane></right></laneSection></lanes>"""  # noqa: E501
ONE_LANE = """<lanes><laneSection s="0"><center><lane id="0" type="none"/></center><right><lane id="-1" type="driving">
<link><predecessor id="{before}"/><successor id="{after}"/></link><width sOffset="0" a="3.5" b="0" c="0" d="0"/></lane></right>
</laneSection></lanes>"""  # noqa: E501


def geometry(start: tuple[float, float, float], length: float, shape: str, s: float = 0.0) -> str:
    x, y, yaw = start
    return f'<geometry s="{s}" x="{x!r}" y="{y!r}" hdg="{yaw!r}" length="{length!r}">{shape}</geometry>'


def road(
    name: object, plan: str, length: float, lanes: str = LANES.format(offset=""), link: str = "", junction: object = -1,
    more: str = "", speed: str = '<type s="0" type="town"><speed max="40" unit="km/h"/></type>',
) -> str:  # fmt: skip
    return (
        f'<road name="" length="{length!r}" id="{name}" junction="{junction}"><link>{link}</link>{speed}'
        f"<planView>{plan}</planView>{lanes}{more}</road>"
    )


def document(*parts: str) -> str:
    return f'<?xml version="1.0"?>\n<OpenDRIVE><header revMajor="1" revMinor="4"/>{"".join(parts)}</OpenDRIVE>'


def written(folder: Path, *parts: str) -> str:
    path = folder / "map.xodr"
    path.write_text(document(*parts), encoding="utf-8")
    return str(path)


def crossing(arm_m: float = 90.0, reach_m: float = 12.0, lights: bool = True) -> list[str]:
    """Four arms of one lane each way that end in a junction; road k leaves the middle at k · 90°.

    A driver comes in on an arm's lane 1 and leaves on an arm's lane -1. Connecting roads are lines, and quarter circles
    of `reach_m`, drawn along the way that is driven, whose reference line lies on their lane's left border.
    """
    parts, connections = [], []
    for k in range(4):
        yaw = k * math.pi / 2
        out = (reach_m * math.cos(yaw), reach_m * math.sin(yaw), yaw)
        signal = (
            f'<signals><signal id="{100 + k}" type="1000001" s="2" t="4.5" orientation="-" dynamic="yes"/></signals>'
            if lights
            else ""
        )
        link = '<predecessor elementType="junction" elementId="9"/>'
        parts.append(road(k, geometry(out, arm_m, "<line/>"), arm_m, link=link, more=signal))
        inward = (out[0], out[1], yaw + math.pi)
        for turn, name in ((0, "straight"), (1, "left"), (-1, "right")):
            to = (k + 2 + turn) % 4
            number = 10 + 3 * k + turn + 1
            if turn == 0:
                plan, length = geometry(inward, 2 * reach_m, "<line/>"), 2 * reach_m
            else:
                length = reach_m * math.pi / 2
                plan = geometry(inward, length, f'<arc curvature="{turn / reach_m!r}"/>')
            link = (
                f'<predecessor elementType="road" elementId="{k}" contactPoint="start"/>'
                f'<successor elementType="road" elementId="{to}" contactPoint="start"/>'
            )
            lanes = ONE_LANE.format(before=1, after=-1)
            parts.append(road(number, plan, length, lanes, link, 9))
            connections.append(
                f'<connection id="{number}" incomingRoad="{k}" connectingRoad="{number}" contactPoint="start">'
                f'<laneLink from="1" to="-1"/></connection><!-- {name} -->'
            )
    controllers = "".join(
        f'<controller id="{c}"><control signalId="{100 + c}"/><control signalId="{102 + c}"/></controller>'
        for c in range(2)
    )
    rule = '<controller id="0"/><controller id="1"/>' if lights else ""
    return [*parts, controllers if lights else "", f'<junction id="9" name="">{"".join(connections)}{rule}</junction>']
