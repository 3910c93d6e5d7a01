"""Random mixtures of faults and of changes at the source: whatever is called complete is what the
server held.

Reading takes many requests, so people come and go meanwhile. Right is a snapshot that holds every
fact (member, group member, grant) that was true from its beginning to its end, and none that was
true at no moment of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from sonar_access_pipeline.access.content import content_of, lists_of
from sonar_access_pipeline.access.snapshot import Scope, Snapshot, Verdict
from sonar_access_pipeline.simulator.organization import (
    PROJECT_PERMISSIONS,
    READER,
    Group,
    Organization,
    Project,
)
from sonar_access_pipeline.simulator.server import Simulator
from sonar_access_pipeline.sonarcloud.errors import SourceError
from sonar_access_pipeline_tests.sonarcloud.test_faults import THAT_MAY_PASS
from sonar_access_pipeline_tests.support.reading import QUICK, organization, read

NAMES = (*(f"Name {number}" for number in range(40)), "Bob", "Bob")
"""Few enough that some share one and the order among them is nobody's promise."""


def somebody(rng: random.Random, found: Organization) -> str:
    return rng.choice(sorted(set(found.names) - {READER}))


def join(rng: random.Random, found: Organization) -> None:
    found.join(f"new-{rng.randrange(10**9)}", rng.choice(NAMES))


def leave(rng: random.Random, found: Organization) -> None:
    found.leave(somebody(rng, found))


def swap(rng: random.Random, found: Organization) -> None:
    """One leaves and one joins at once: no total moves."""
    leave(rng, found)
    join(rng, found)


def rename(rng: random.Random, found: Organization) -> None:
    found.names[somebody(rng, found)] = rng.choice(NAMES)


def move(rng: random.Random, found: Organization) -> None:
    group = rng.choice([group for group in found.groups.values() if not group.default])
    group.members ^= {somebody(rng, found)}


def exchange(rng: random.Random, found: Organization) -> None:
    """One leaves a group and one joins it at once: its size stays."""
    group = rng.choice([group for group in found.groups.values() if not group.default])
    outside = sorted(set(found.names) - group.members)
    inside = sorted(group.members - {READER})
    if inside and outside:
        group.members ^= {rng.choice(inside), rng.choice(outside)}


def grant(rng: random.Random, found: Organization) -> None:
    found.direct.setdefault(somebody(rng, found), set()).symmetric_difference_update({"scan"})


def empower(rng: random.Random, found: Organization) -> None:
    rng.choice(
        [group for group in found.groups.values() if group is not found.owners]
    ).permissions ^= {"gateadmin"}


def found_group(rng: random.Random, found: Organization) -> None:
    # An id is never given twice.
    number = rng.randrange(10**6, 10**9)
    found.groups[number] = Group(
        number, f"group-{number}", None, members={somebody(rng, found)}, permissions={"gateadmin"}
    )


def dissolve_group(rng: random.Random, found: Organization) -> None:
    number = rng.choice(
        sorted(number for number in found.groups if number > min(found.groups) + 1) or [0]
    )
    if found.groups.pop(number, None):
        for project in found.projects.values():
            project.groups.pop(number, None)


def found_project(rng: random.Random, found: Organization) -> None:
    name = f"project-{rng.randrange(10**9)}"
    found.projects[name] = Project(name, rng.choice(NAMES), users={somebody(rng, found): {"admin"}})


def delete_project(rng: random.Random, found: Organization) -> None:
    found.projects.pop(rng.choice(sorted(found.projects) or [""]), None)


def grant_on_project(rng: random.Random, found: Organization) -> None:
    for project in sorted(found.projects.values(), key=lambda project: project.key)[:1]:
        project.users.setdefault(somebody(rng, found), set()).symmetric_difference_update(
            {rng.choice(PROJECT_PERMISSIONS)}
        )


CHANGES: tuple[Callable[[random.Random, Organization], None], ...] = (
    *(join, leave, swap, swap, swap, rename, rename, move, exchange, exchange, grant, empower),
    *(found_group, dissolve_group, found_project, delete_project, grant_on_project),
)
SLOW = {
    "a server that never answers",
    "a server that drips the body",
    "a server that drips the headers",
}
FAULTS = [
    (fault, endpoint) for name, (fault, endpoint) in THAT_MAY_PASS.items() if name not in SLOW
]


@dataclass(frozen=True)
class Scenario:
    """What happens while the organization is read: changes before requests of a number, and
    faults.
    """

    changes: list[tuple[int, Callable[[random.Random, Organization], None]]]
    faults: list[tuple[Any, int, int]]
    seed: int
    rows_per_page: int
    scopes: tuple[Scope, ...]


scenarios = st.builds(
    Scenario,
    changes=st.lists(st.tuples(st.integers(3, 90), st.sampled_from(CHANGES)), max_size=6),
    faults=st.lists(
        st.tuples(st.sampled_from(FAULTS), st.integers(1, 2), st.integers(0, 6)), max_size=3
    ),
    seed=st.integers(0, 2**32),
    rows_per_page=st.sampled_from([3, 7, 7, 50]),
    scopes=st.sampled_from([(Scope.CORE,), (Scope.CORE, Scope.PROJECT_PERMISSIONS)]),
)


def facts_of_source(found: Organization, scopes: tuple[Scope, ...]) -> set[tuple[Any, ...]]:
    """What is true, by the simulator's own reckoning: members, members of groups, grants."""
    facts: set[tuple[Any, ...]] = {("member", login) for login in found.names}
    for number, group in found.groups.items():
        facts |= {("group member", str(number), login) for login in group.members}
        facts |= {("group", str(number), None, permission) for permission in group.permissions}
    facts |= {
        ("user", login, None, permission)
        for login, permissions in found.direct.items()
        for permission in permissions
    }
    if Scope.PROJECT_PERMISSIONS in scopes:
        for project in found.projects.values():
            facts.add(("project", project.key))
            for kind, granted in (
                ("user", project.users),
                ("group", {str(n): p for n, p in project.groups.items()}),
            ):
                facts |= {
                    (kind, who, project.key, permission)
                    for who, keys in granted.items()
                    for permission in keys
                }
    return facts


def facts_of_snapshot(snapshot: Snapshot) -> set[tuple[Any, ...]]:
    """The same, parsed again from the stored bodies."""
    content = content_of(lists_of(snapshot.responses), snapshot.scopes)
    return {
        *(("member", member.login) for member in content.members),
        *(("group member", row.group_id, row.login) for row in content.group_members),
        *(
            (row.principal_type, row.principal, row.project_key, row.permission)
            for row in content.grants
        ),
        *(("project", project.key) for project in content.projects),
    }


@given(scenario=scenarios)
def test_whatever_is_called_complete_is_what_the_server_held(scenario: Scenario) -> None:
    found = organization(accounts=24, groups=5, projects=4)
    rng = random.Random(scenario.seed)
    for login in sorted(found.names):
        found.names[login] = rng.choice(NAMES)

    held = [facts_of_source(found, scenario.scopes)]

    def live(number: int) -> None:
        for at, change in scenario.changes:
            if at == number:
                change(rng, found)
                held.append(facts_of_source(found, scenario.scopes))

    with Simulator(lambda: found, rows_per_page=scenario.rows_per_page, shuffles=True) as simulator:
        simulator.on_request = live
        for (fault, endpoint), times, after in scenario.faults:
            simulator.faults.add(endpoint, fault, times=times, after=after)
        try:
            snapshot = read(simulator, scopes=scenario.scopes, patience=replace(QUICK, attempts=4))
        except SourceError:
            event("no snapshot")
            return
    event(snapshot.verdict.value)
    if snapshot.verdict is Verdict.COMPLETE:
        shown = facts_of_snapshot(snapshot)
        assert shown <= set().union(*held), "a fact that was never true"
        assert set.intersection(*held) <= shown, "a fact is missing that was true all the while"
    else:
        assert snapshot.reason
