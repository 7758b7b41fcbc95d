"""Any order of what people, deployers and the clock do to a registry, against a model of it.

The model is lists and dicts that follow the documented rules; after each step the registry holds
what it holds. MACHINES=2000 tries so many orders on each database; the suite tries a few.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pushserve_server.domain.records import EngineName, Failure
from pushserve_server.domain.states import DeploymentState as S
from pushserve_server.errors import NotFound
from pushserve_server.registry import LeaseLost, LeaseToken, Registry, Superseded
from tests.fixtures.registry import SIGNATURE, HandClock, sha

REFS = ("refs/heads/main", "refs/heads/next")
SOURCES = {"https://h/iris": "iris", "https://h/rose": "rose"}
COMMITS = ("", sha("a"), sha("b"), sha("c"))
BEFORE_LOADING = (S.QUEUED, S.FETCHING, S.CHECKING, S.BUILDING)
STEPS = {S.QUEUED: S.FETCHING, S.FETCHING: S.CHECKING, S.CHECKING: S.BUILDING}
LEASE = 15
LOOK_EACH = 4
MACHINES = int(os.environ.get("MACHINES", "0"))
PAUSE, LONGEST = 60, 900
SILENT = Failure("REMOTE_UNREACHABLE", S.FETCHING, "silent", "wait")


@dataclass
class Deployment:
    """What the model knows of a deployment; times are in seconds after noon."""

    id: int
    source: str
    ref: str
    commit: str
    failures: int
    state: S = S.QUEUED
    holder: tuple[str, int] = ("", 0)
    leased_at: float = -1e9
    lease_until: float = -1e9
    retry_at: float = -1e9
    version: int = 0
    forgotten: bool = False


@dataclass
class Model:
    """A model's versions by commit, and its refs: version and pinned version."""

    versions: dict[str, int] = field(default_factory=dict)
    refs: dict[str, tuple[int, int | None]] = field(default_factory=dict)


class Machine(RuleBasedStateMachine):
    """One registry, emptied for each order of steps."""

    registry: Registry
    clock: HandClock

    def __init__(self) -> None:
        super().__init__()
        with self.registry._store.writing() as tables:
            for table in (
                *(tables.keep_alives, tables.loads, tables.events, tables.refs),
                *(tables.deployments, tables.versions, tables.models, tables.sources),
            ):
                table.delete().execute()
        self.turn = 0
        self.now = 0.0
        self.clock.set(0)
        self.deployments: list[Deployment] = []
        self.models: dict[str, Model] = {}
        self.tokens: list[LeaseToken] = []
        self.generation = self.registry.generation()

    # What people and the reconciler do.

    @rule(
        source=st.sampled_from([*SOURCES]),
        ref=st.sampled_from(REFS),
        commit=st.sampled_from(COMMITS),
        retry=st.booleans(),
        automatic=st.booleans(),
    )
    def register(self, source: str, ref: str, commit: str, retry: bool, automatic: bool) -> None:
        made, new = self.registry.register(
            source=source, path="", ref=ref, commit=commit, model="", retry=retry,
            default_branch="main", automatic=automatic,
        )  # fmt: skip
        older = [d for d in self.deployments if (d.source, d.ref) == (source, ref)]
        newest = next((d for d in reversed(older) if not d.forgotten), None)
        same = newest is not None and self._is_same(newest, commit, retry)
        alone = newest is not None and automatic and 0 < newest.retry_at - self.now <= LONGEST
        assert (not (same or alone)) == new
        if not new:
            assert newest is not None
            assert newest.id == made.id
            return
        failures = 0 if newest is None or newest.state is S.READY else newest.failures
        for other in older:
            if other.state in (*BEFORE_LOADING, S.LOADING):
                other.state = S.SUPERSEDED
        self.deployments.append(Deployment(made.id, source, ref, commit, failures))

    def _is_same(self, newest: Deployment, commit: str, retry: bool) -> bool:
        if newest.commit != commit:
            return False
        if newest.state is S.READY:
            model = self.models.get(SOURCES[newest.source], Model())
            unpinned = newest.ref in model.refs and model.refs[newest.ref][1] is None
            return bool(commit) or not unpinned
        if newest.state is S.FAILED:
            return bool(commit) and not retry
        return not newest.state.is_final

    @rule(
        name=st.sampled_from([*SOURCES.values()]),
        ref=st.sampled_from(REFS),
        number=st.sampled_from([None, 1, 2]),
    )
    def pin(self, name: str, ref: str, number: int | None) -> None:
        model = self.models.get(name, Model())
        known = ref in model.refs and number in (None, *model.versions.values())
        if not known:
            with pytest.raises(NotFound):
                self.registry.pin(name, ref, number=number, commit=None)
            return
        version, pinned = model.refs[ref]
        model.refs[ref] = (version, number or pinned or version)
        assert model.refs[ref][1] == self.registry.pin(name, ref, number=number, commit=None).pinned

    @rule(name=st.sampled_from([*SOURCES.values()]), ref=st.sampled_from(REFS))
    def unpin(self, name: str, ref: str) -> None:
        model = self.models.get(name, Model())
        if ref not in model.refs:
            with pytest.raises(NotFound):
                self.registry.unpin(name, ref)
            return
        model.refs[ref] = (model.refs[ref][0], None)
        assert None is self.registry.unpin(name, ref).pinned

    @rule(name=st.sampled_from([*SOURCES.values()]), ref=st.sampled_from(["", *REFS]))
    def delete(self, name: str, ref: str) -> None:
        model = self.models.get(name)
        if model is None or (ref and ref not in model.refs):
            with pytest.raises(NotFound):
                self.registry.delete(name, ref)
            return
        assert ([ref] if ref else sorted(model.refs)) == sorted(self.registry.delete(name, ref))
        for d in self.deployments:
            if SOURCES[d.source] == name and ref in ("", d.ref):
                d.forgotten = True
                d.state = d.state if d.state.is_final else S.FAILED
        if ref:
            del model.refs[ref]
        else:
            del self.models[name]

    # What deployers do, with any token that was ever given.

    @rule(owner=st.sampled_from(["me", "you"]), fresh=st.booleans())
    def lease(self, owner: str, fresh: bool) -> None:
        taken = self.registry.lease(owner, LEASE, failed_before=not fresh)
        open_ones = [d for d in self.deployments if not d.state.is_final]
        for d in open_ones:
            if d.leased_at > self.now + 1:  # before the clock was put back
                d.leased_at, d.lease_until = self.now, self.now + d.lease_until - d.leased_at
        busy = {d.source for d in open_ones if self._is_at_work(d)}
        free = [
            d
            for d in open_ones
            if d.lease_until <= self.now
            and (d.state is S.ACTIVATING or (d.source not in busy and not (fresh and d.failures)))
        ]
        expected = min(free, key=lambda d: (d.failures > 0, d.id), default=None)
        assert (expected and expected.id) == (taken and taken[1].id)
        if taken is None or expected is None:
            return
        expected.holder = (owner, expected.holder[1] + 1)
        expected.leased_at, expected.lease_until = self.now, self.now + LEASE
        if expected.state is not S.ACTIVATING:
            expected.state = S.QUEUED
        token = LeaseToken(expected.id, *expected.holder)
        assert token == taken[0]
        self.tokens.append(token)

    def _is_at_work(self, d: Deployment) -> bool:
        return d.state in BEFORE_LOADING and d.lease_until > self.now

    def _held(self, data: st.DataObject) -> tuple[LeaseToken, Deployment | None]:
        """Choose a token, newer ones more often; give the deployment where it still counts."""
        last = len(self.tokens) - 1
        token = self.tokens[last - data.draw(st.integers(0, min(last, 3)))]
        found = next(d for d in self.deployments if d.id == token.deployment_id)
        counts = found.holder == (token.owner, token.attempt) and not found.state.is_final
        return token, found if counts else None

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """Do what comes next of a deployment."""
        token, held = self._held(data)
        if held is None:
            with pytest.raises((LeaseLost, Superseded)):
                self.registry.note(token, "late")
            with pytest.raises((LeaseLost, Superseded)):
                self.registry.activate(token)
        elif held.state is S.FETCHING and not held.commit:
            self._retire(token, held)
        elif held.state in STEPS:
            held.state = STEPS[held.state]
            assert held.state is self.registry.advance(token, held.state, "on").state
        elif held.state is S.BUILDING:
            self._build(token, held)
        elif held.state is S.LOADING:
            self._activate(token, held)
        else:
            held.state = S.READY
            assert S.READY is self.registry.finish(token).state

    def _build(self, token: LeaseToken, held: Deployment) -> None:
        name = SOURCES[held.source]
        version = self.registry.add_version(
            token, model=name, default_ref=held.ref, commit=held.commit, engine=EngineName.ONNX,
            digest=held.commit[:32] * 2, signature=SIGNATURE, report={}, build_key=held.commit,
        )  # fmt: skip
        versions = self.models.setdefault(name, Model()).versions
        number = versions.setdefault(held.commit, len(versions) + 1)
        held.state, held.version = S.LOADING, number
        assert (number, held.commit) == (version.number, version.commit)

    def _activate(self, token: LeaseToken, held: Deployment) -> None:
        self.registry.activate(token)
        held.state = S.ACTIVATING
        self._supersede_older(held)
        model = self.models[SOURCES[held.source]]
        pinned = model.refs.get(held.ref, (0, None))[1]
        model.refs[held.ref] = (held.version, pinned)

    def _retire(self, token: LeaseToken, held: Deployment) -> None:
        model = self.models.get(SOURCES[held.source], Model())
        self.registry.retire(token)
        if held.ref not in model.refs:
            held.state = S.FAILED
        elif model.refs[held.ref][1] is not None:
            held.state = S.READY
        else:
            held.state = S.ACTIVATING
            del model.refs[held.ref]
            self._supersede_older(held)

    def _supersede_older(self, held: Deployment) -> None:
        for d in self.deployments:
            same = (d.source, d.ref) == (held.source, held.ref)
            if same and d.id < held.id and not d.state.is_final:
                d.state = S.SUPERSEDED

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), remote=st.booleans())
    def fail(self, data: st.DataObject, remote: bool) -> None:
        token, held = self._held(data)
        pause = PAUSE if remote else None
        if held is None:
            with pytest.raises((LeaseLost, Superseded)):
                self.registry.fail(token, SILENT, retry_pause=pause)
        elif held.state is S.ACTIVATING:
            with pytest.raises(ValueError, match="has moved"):
                self.registry.fail(token, SILENT, retry_pause=pause)
        else:
            self.registry.fail(token, SILENT, retry_pause=pause)
            held.state = S.FAILED
            held.failures = held.failures + 1 if remote else 0
            if remote:
                held.commit = ""
                held.retry_at = self.now + min(PAUSE * 2 ** (held.failures - 1), LONGEST)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), seconds=st.sampled_from([0, LEASE]))
    def renew(self, data: st.DataObject, seconds: int) -> None:
        token, held = self._held(data)
        assert (held is not None) == self.registry.renew(token, seconds)
        if held is not None:
            held.leased_at, held.lease_until = self.now, self.now + seconds

    @rule(seconds=st.sampled_from([1, LEASE, LEASE, 100, 1000, -3, -3600]))
    def time_passes(self, seconds: int) -> None:
        """Or the clock is put back."""
        self.now += seconds
        self.clock.set(self.now)

    # What is true after each step.

    @invariant()
    def deployments_are_where_the_model_has_them(self) -> None:
        found = {d.id: (d.state, d.commit, d.failures) for d in
                 self.registry.list_deployments(limit=1000)}  # fmt: skip
        assert {d.id: (d.state, d.commit, d.failures) for d in self.deployments} == found
        self.turn += 1
        if self.turn % LOOK_EACH == 0:
            self.look()

    def look(self) -> None:
        """Look at everything else, which takes longer."""
        self.models_are_where_the_model_has_them()
        self.tokens_count_that_the_model_counts()
        self.what_is_served_can_be_served()

    def teardown(self) -> None:
        self.look()

    def models_are_where_the_model_has_them(self) -> None:
        models = {m.name: m for m in self.registry.list_models(limit=10)}
        assert {*self.models} == {*models}
        for name, model in self.models.items():
            refs = {r.name: (r.version, r.pinned) for r in models[name].refs}
            assert model.refs == refs
            versions = {v.commit: v.number for v in self.registry.versions(name)}
            assert model.versions == versions

    def tokens_count_that_the_model_counts(self) -> None:
        held = self.registry.held(self.tokens)
        counting = {
            LeaseToken(d.id, *d.holder)
            for d in self.deployments
            if d.holder[1] and not d.state.is_final
        }
        assert counting == held

    def what_is_served_can_be_served(self) -> None:
        """Every route leads to a version that there is; the counter never goes back."""
        snapshot = self.registry.snapshot(1e9)
        assert snapshot.generation >= self.generation
        self.generation = snapshot.generation
        versions = self.registry.versions_by_id(snapshot.in_use)
        assert snapshot.in_use == versions.keys()
        expected = {
            (name, ref): pinned or version
            for name, model in self.models.items()
            for ref, (version, pinned) in model.refs.items()
        }
        routes = {
            (model.name, route.ref): versions[route.version_id].number
            for model in snapshot.models
            for route in model.routes
        }
        assert expected == routes


@pytest.fixture
def machine(registry: Registry, clock: HandClock) -> type[Machine]:
    """Give the machine on an empty registry of each database."""
    return type("BoundMachine", (Machine,), {"registry": registry, "clock": clock})


@pytest.mark.timeout(max(120, 5 * MACHINES))
def test_any_order_of_steps(machine, registry_url):
    few = 10 if registry_url.startswith("sqlite") else 4
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=MACHINES or few,
            stateful_step_count=40,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
