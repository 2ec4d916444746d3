"""Which workers a cluster should have, over values alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.runners.classes import WorkerClass
from jobs.runners.ray_classes import classes_on, wanted_of
from jobs.runners.ray_pool import Changes, Member, Resources, Wanted, fits, reconcile

GIB = 2.0**30
NODE: Resources = {"CPU": 4.0, "memory": 16 * GIB}
SMALL: Resources = {"CPU": 1.0, "memory": 4 * GIB}
WHOLE: Resources = {"CPU": 1.0, "memory": 16 * GIB}


def pool(
    small: int,
    whole: int = 0,
    *,
    members: tuple[Member, ...] = (),
    nodes: int = 1,
    is_elastic: bool = False,
    most: int | None = None,
) -> Changes:
    return reconcile(
        {"small": Wanted(SMALL, small), "whole": Wanted(WHOLE, whole)},
        members,
        {f"n{i}": NODE for i in range(nodes)},
        is_elastic=is_elastic,
        most_workers=most,
    )


def small(node: str | None, *, is_busy: bool = True) -> Member:
    return Member("small", node, is_busy=is_busy)


def test_as_many_workers_as_there_is_work_and_room_for() -> None:
    assert len(pool(3).start) == 3
    assert len(pool(99).start) == 4
    assert len(pool(99, nodes=3).start) == 12
    assert len(pool(99, nodes=3, most=5).start) == 5


def test_a_node_that_joins_gets_workers() -> None:
    four = tuple(small("n0") for _ in range(4))
    assert pool(99, members=four).start == ()
    assert len(pool(99, members=four, nodes=2).start) == 4


def test_a_cluster_scaled_to_zero_is_asked_for_workers() -> None:
    assert pool(99, nodes=0).start == ()
    assert pool(99, nodes=0, is_elastic=True).start == (("small", None),)
    assert len(pool(99, nodes=0, is_elastic=True, most=6).start) == 6
    waiting = (small(None, is_busy=False),)
    assert pool(99, nodes=0, is_elastic=True, members=waiting).start == ()


def test_a_larger_class_gets_one_node_emptied_and_the_others_work_on() -> None:
    members = (
        *(small("n0") for _ in range(4)),
        *(small("n1", is_busy=i < 2) for i in range(4)),
        small(None, is_busy=False),
    )
    changes = pool(99, 1, members=members, nodes=2)
    assert changes.start == (("whole", "n1"),)
    assert changes.leave == {4, 5}
    assert changes.stop == {
        6,
        7,
        8,
    }  # the idle ones there, and the one that would take what is freed


def test_what_was_emptied_is_not_filled_again_while_the_larger_one_waits() -> None:
    members = (
        *(small("n0") for _ in range(4)),
        Member("small", "n1", is_busy=True, is_leaving=True),
        Member("whole", None, pinned="n1"),
    )
    assert pool(99, 1, members=members, nodes=2) == Changes()


def test_workers_of_a_class_without_work_make_room() -> None:
    members = (Member("whole", "n0", idle_s=1.0),)
    assert pool(3, members=members).stop == {0}
    assert pool(3, 1, members=members).stop == frozenset()


def test_the_limit_of_workers_holds_for_all_classes_together() -> None:
    members = (small("n0"), small("n1", is_busy=False))
    changes = pool(9, 1, members=members, nodes=3, most=2)
    assert (changes.start, changes.stop, changes.leave) == ((), frozenset({1}), frozenset())
    assert pool(9, 1, members=members[:1], nodes=3, most=2).start == (("whole", None),)


@pytest.mark.parametrize("is_elastic", [True, False])
def test_long_idle_workers_leave_only_a_cluster_that_can_shrink(is_elastic: bool) -> None:
    members = (Member("small", "n0", idle_s=999.0), small("n0"))
    assert pool(1, members=members, is_elastic=is_elastic).stop == ({0} if is_elastic else set())


@settings(max_examples=60, deadline=None)
@given(
    demand=st.tuples(st.integers(0, 12), st.integers(0, 4)),
    nodes=st.integers(1, 4),
    ends=st.lists(st.integers(0, 99), min_size=30, max_size=30),
)
def test_every_task_gets_its_worker_in_the_end(
    demand: tuple[int, int], nodes: int, ends: list[int]
) -> None:
    """A cluster in small: what is started gets room if there is some, and busy workers end in any order."""
    have = {f"n{i}": dict(NODE) for i in range(nodes)}
    wants = {"small": SMALL, "whole": WHOLE}
    waiting = {"small": demand[0], "whole": demand[1]}
    running = {"small": 0, "whole": 0}
    members: list[Member] = []
    for end in [*ends, *range(400)]:
        classes = {n: Wanted(wants[n], waiting[n] + running[n]) for n in wants}
        changes = reconcile(classes, members, have, is_elastic=False)
        assert not any(members[i].is_busy for i in changes.stop)
        members = [
            Member(m.class_name, m.node, m.pinned, m.is_busy, m.is_leaving or i in changes.leave)
            for i, m in enumerate(members)
            if i not in changes.stop
        ] + [Member(name, None, node) for name, node in changes.start]
        placed: list[Member] = []
        for m in members:  # Ray gives room in the order of asking
            node = m.node
            if node is None:
                free = {n: dict(h) for n, h in have.items()}
                for other in placed + [o for o in members if o.node]:
                    if other.node:
                        for key, amount in wants[other.class_name].items():
                            free[other.node][key] -= amount
                node = next(
                    (
                        n
                        for n in ([m.pinned] if m.pinned else free)
                        if fits(free[n], wants[m.class_name])
                    ),
                    None,
                )
            is_new = (
                node is not None
                and not m.is_busy
                and not m.is_leaving
                and waiting[m.class_name] > 0
            )
            if is_new:
                waiting[m.class_name] -= 1
                running[m.class_name] += 1
            placed.append(Member(m.class_name, node, m.pinned, m.is_busy or is_new, m.is_leaving))
        members = placed
        busy = [i for i, m in enumerate(members) if m.is_busy]
        if busy:
            i = busy[end % len(busy)]
            m = members[i]
            running[m.class_name] -= 1
            members[i] = Member(m.class_name, m.node, m.pinned)
            if m.is_leaving:
                del members[i]
        if not any(waiting.values()) and not any(running.values()):
            return
    raise AssertionError((waiting, running, members))


def test_a_worker_gets_its_share_of_the_smallest_node() -> None:
    nodes: dict[str, Resources] = {
        "head": {"memory": 4 * GIB},
        "a": {"CPU": 4.0, "memory": 16 * GIB},
        "b": {"CPU": 4.0, "memory": 64 * GIB},
    }
    classes = classes_on(nodes, WorkerClass("default"), (), is_last_resort=False)
    sizes = [(one.name, one.most_bytes / GIB) for one in classes]
    assert sizes == [
        ("default", 4),
        ("default-x2", 8),
        ("default-x4", 16),
        ("default-x8", 32),
        ("default-node", 64),
    ]
    assert wanted_of(classes[0]) == {"CPU": 1.0, "memory": 4 * GIB}
    assert classes_on({}, WorkerClass("default"), (), is_last_resort=False) == (
        WorkerClass("default"),
    )
