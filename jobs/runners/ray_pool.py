"""Which workers a cluster should have now: from the nodes that are there and the work that waits.

A pure function over values, so that every decision can be tested without Ray. It is asked again and again:
nodes join and leave, and what waits changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Resources = Mapping[str, float]
"""By Ray's names: `CPU`, `GPU`, bytes of `memory`."""

RELEASE_S = 60.0
"""Seconds after which an idle worker that nothing waits for leaves a cluster that can shrink."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A class of workers as the pool sees it."""

    resources: Resources
    """Of one worker."""
    num_tasks: int
    """Tasks that wait for a worker of this class or run on one."""
    most_workers: int | None = None

    @property
    def num_workers(self) -> int:
        """How many there is work for."""
        return (
            self.num_tasks if self.most_workers is None else min(self.num_tasks, self.most_workers)
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A worker, or one that is to be."""

    class_name: str
    node: str | None
    """Where it runs; None: it has not answered yet."""
    pinned: str | None = None
    """The node that it was asked for; None: any."""
    is_busy: bool = False
    is_leaving: bool = False
    """It gets no task again."""
    idle_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Changes:
    """What to do."""

    start: tuple[tuple[str, str | None], ...] = ()
    """Workers to start: class, and the node it must be on or None."""
    stop: frozenset[int] = frozenset()
    """Members to stop now, by their position; none of them is busy."""
    leave: frozenset[int] = frozenset()
    """Busy members that are to be stopped after their task."""


@dataclass(slots=True)
class _Rooms:
    """What is free on each node, as far as this program fills it."""

    free: dict[str, dict[str, float]]

    def take(self, node: str, resources: Resources) -> None:
        for name, amount in resources.items():
            self.free[node][name] = self.free[node].get(name, 0.0) - amount

    def find(self, resources: Resources) -> str | None:
        return next((node for node, has in self.free.items() if fits(has, resources)), None)

    def put(self, resources: Resources) -> bool:
        """Take room on some node; False: there is none."""
        node = self.find(resources)
        if node is not None:
            self.take(node, resources)
        return node is not None


@dataclass(slots=True)
class _Census:
    """How many workers of a class there are or will be."""

    placed: int = 0
    homeless: int = 0
    """Asked for, and no node has room: an autoscaler sees them."""
    indexes: list[int] = field(default_factory=list)


def fits(has: Resources, wanted: Resources) -> bool:
    """True when a node with `has` free holds a worker that wants so much."""
    return all(has.get(name, 0.0) >= amount for name, amount in wanted.items())


def reconcile(
    classes: Mapping[str, Wanted],
    members: Sequence[Member],
    nodes: Mapping[str, Resources],
    *,
    is_elastic: bool,
    most_workers: int | None = None,
) -> Changes:
    """What brings the pool nearer to what is wanted.

    `classes`: in ascending order of memory. `nodes`: what each living node has altogether. `is_elastic`: the
    cluster may get more nodes, so workers are asked for beyond its room, for an autoscaler to see.
    `most_workers`: of all classes that have no limit of their own together.

    A larger class without any worker goes before smaller ones: one node is emptied for it, that on which the
    fewest tasks run, and only there.
    """
    limit = _Limit(classes, members, most_workers)
    leftover, _ = _count(classes, [m for m in members if not m.is_leaving], nodes)
    rooms, censuses = _count(classes, members, nodes)
    starved = _starved(classes, members, nodes, leftover, censuses, limit)
    if starved is not None:
        return _make_room(starved, classes, members, nodes, limit)
    stop = _surplus(classes, members, rooms, censuses, is_elastic=is_elastic)
    start: list[tuple[str, str | None]] = []
    for name in reversed(list(classes)):
        wanted, census = classes[name], censuses[name]
        num = census.placed + census.homeless
        while num < wanted.num_workers and limit.allows(name) and rooms.put(wanted.resources):
            start.append((name, None))
            limit.add(name)
            num += 1
        if is_elastic and not stop:
            for _ in range(_beyond(wanted, num, census.homeless, most_workers)):
                if limit.allows(name):
                    start.append((name, None))
                    limit.add(name)
    return Changes(tuple(start), frozenset(stop))


class _Limit:
    """How many workers there may be of all classes without a limit of their own."""

    def __init__(
        self, classes: Mapping[str, Wanted], members: Sequence[Member], most: int | None
    ) -> None:
        self._bounded = {name for name, wanted in classes.items() if wanted.most_workers is None}
        self._left = math.inf if most is None else most
        for member in members:
            self.add(member.class_name)

    def add(self, class_name: str) -> None:
        """One worker more."""
        if class_name in self._bounded:
            self._left -= 1

    def allows(self, class_name: str) -> bool:
        """True when one worker more may be."""
        return class_name not in self._bounded or self._left > 0


def _count(
    classes: Mapping[str, Wanted], members: Sequence[Member], nodes: Mapping[str, Resources]
) -> tuple[_Rooms, dict[str, _Census]]:
    """What is free beside the members, and the members by class."""
    rooms = _Rooms({node: dict(has) for node, has in sorted(nodes.items())})
    censuses = {name: _Census() for name in classes}
    known = [member.node or member.pinned for member in members]
    for member, node in zip(members, known, strict=True):
        if node is not None and node in rooms.free:
            rooms.take(node, classes[member.class_name].resources)
    for index, (member, node) in enumerate(zip(members, known, strict=True)):
        if member.is_leaving:
            continue
        census = censuses[member.class_name]
        census.indexes.append(index)
        if node in rooms.free or rooms.put(classes[member.class_name].resources):
            census.placed += 1
        else:
            census.homeless += 1
    return rooms, censuses


def _starved(
    classes: Mapping[str, Wanted],
    members: Sequence[Member],
    nodes: Mapping[str, Resources],
    rooms: _Rooms,
    censuses: Mapping[str, _Census],
    limit: _Limit,
) -> str | None:
    """The largest class that has work and no worker, and would fit a node that smaller ones fill.

    `rooms`: what will be free once those that leave are gone.
    """
    names = list(classes)
    for rank in range(len(names) - 1, 0, -1):
        name = names[rank]
        wanted = classes[name]
        if not wanted.num_workers or censuses[name].placed:
            continue
        if limit.allows(name) and rooms.find(wanted.resources):
            continue
        has_smaller = any(
            names.index(member.class_name) < rank and not member.is_leaving for member in members
        )
        if has_smaller and any(fits(has, wanted.resources) for has in nodes.values()):
            return name
    return None


def _make_room(
    starved: str,
    classes: Mapping[str, Wanted],
    members: Sequence[Member],
    nodes: Mapping[str, Resources],
    limit: _Limit,
) -> Changes:
    """Empty one node for a worker of a class that has none, and ask for it there."""
    wanted, names = classes[starved], list(classes)
    smaller = {
        index
        for index, member in enumerate(members)
        if names.index(member.class_name) < names.index(starved)
    }

    def cost(node: str) -> tuple[int, int, str]:
        there = [index for index, member in enumerate(members) if member.node == node]
        return (
            sum(index not in smaller for index in there),
            sum(members[index].is_busy for index in there),
            node,
        )

    node = min((n for n, has in nodes.items() if fits(has, wanted.resources)), key=cost)
    going = {
        i for i in smaller if members[i].node in (node, None)
    }  # the waiting would take what is freed
    if not going and not limit.allows(starved):
        going = {min(smaller, key=lambda i: (members[i].is_busy, i))}
    leave = frozenset(i for i in going if members[i].is_busy)
    start = ((starved, node),) if limit.allows(starved) else ()
    return Changes(start, frozenset(going - leave), leave)


def _surplus(
    classes: Mapping[str, Wanted],
    members: Sequence[Member],
    rooms: _Rooms,
    censuses: Mapping[str, _Census],
    *,
    is_elastic: bool,
) -> set[int]:
    """Idle members of classes with too many: at once where another class lacks room, else when they have
    long been idle on a cluster that can shrink."""
    is_short = any(
        census.placed < wanted.num_workers and rooms.find(wanted.resources) is None
        for wanted, census in zip(classes.values(), censuses.values(), strict=True)
    )
    if not is_short and not is_elastic:
        return set()
    stop = set[int]()
    for name, wanted in classes.items():
        idle = [
            index
            for index in censuses[name].indexes
            if not members[index].is_busy and (is_short or members[index].idle_s > RELEASE_S)
        ]
        num_too_many = len(censuses[name].indexes) - wanted.num_workers
        stop.update(sorted(idle, key=lambda i: members[i].node is not None)[: max(num_too_many, 0)])
    return stop


def _beyond(wanted: Wanted, num: int, num_homeless: int, most_workers: int | None) -> int:
    """Workers to ask for although no node has room: all that may be, where their number is bounded, else as
    many as there are now, so that a cluster doubles."""
    missing = max(wanted.num_workers - num, 0)
    if most_workers is not None or wanted.most_workers is not None:
        return missing
    return max(min(missing, max(num - num_homeless, 1) - num_homeless), 0)
