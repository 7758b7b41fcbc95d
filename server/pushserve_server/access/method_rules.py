"""Method rules: the one table of what each method of the port needs of whoever calls it.

A method that is in no row is not served (`api.call_pipeline`), so none can be forgotten.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from pushserve_server.domain.access_token import Scope


class ModelOf(enum.Enum):
    """How a call tells which model it is about: for tokens that are good for some models only."""

    NONE = enum.auto()
    """It is about none."""
    REQUEST = enum.auto()
    """The request's `model` names it."""
    DEPLOYMENT = enum.auto()
    """The reply's `deployment` does."""
    LISTED = enum.auto()
    """The reply lists models or deployments: the others are left out."""


class Opening(enum.StrEnum):
    """Services that an operator may open to callers without a token."""

    HEALTH = "health"
    REFLECTION = "reflection"


@dataclass(frozen=True, slots=True)
class MethodRule:
    """What a method needs: one of `scopes`, unless it is of a service that is `opened`."""

    scopes: frozenset[Scope]
    model: ModelOf = ModelOf.NONE
    opening: Opening | None = None


def _rule(
    *scopes: Scope, model: ModelOf = ModelOf.NONE, opening: Opening | None = None
) -> MethodRule:
    return MethodRule(frozenset((*scopes, Scope.ADMIN)), model, opening)


_MODELS: Final = "/pushserve.v1.ModelService/"
_HEALTH: Final = "/grpc.health.v1.Health/"
_PREDICT, _READ, _DEPLOY = Scope.PREDICT, Scope.READ, Scope.DEPLOY
_ANY: Final = (_PREDICT, _READ, _DEPLOY)

METHOD_RULES: Final[dict[str, MethodRule]] = {
    f"{_MODELS}Predict": _rule(_PREDICT, model=ModelOf.REQUEST),
    f"{_MODELS}PredictStream": _rule(_PREDICT),
    # Each request of a stream, like a Predict.
    f"{_MODELS}PredictStream (request)": _rule(_PREDICT, model=ModelOf.REQUEST),
    # The client asks for the signature before it sends what has no names.
    f"{_MODELS}Get": _rule(*_ANY, model=ModelOf.REQUEST),
    f"{_MODELS}List": _rule(_READ, _DEPLOY, model=ModelOf.LISTED),
    f"{_MODELS}Info": _rule(*_ANY),
    f"{_MODELS}GetDeployment": _rule(_READ, _DEPLOY, model=ModelOf.DEPLOYMENT),
    f"{_MODELS}ListDeployments": _rule(_READ, _DEPLOY, model=ModelOf.LISTED),
    f"{_MODELS}WatchDeployment": _rule(_READ, _DEPLOY, model=ModelOf.DEPLOYMENT),
    f"{_MODELS}Register": _rule(_DEPLOY, model=ModelOf.REQUEST),
    f"{_MODELS}Pin": _rule(_DEPLOY, model=ModelOf.REQUEST),
    f"{_MODELS}Unpin": _rule(_DEPLOY, model=ModelOf.REQUEST),
    f"{_MODELS}Delete": _rule(model=ModelOf.REQUEST),
    f"{_HEALTH}Check": _rule(*_ANY, opening=Opening.HEALTH),
    f"{_HEALTH}Watch": _rule(*_ANY, opening=Opening.HEALTH),
    # Names every model: what a probe needs not.
    f"{_HEALTH}List": _rule(_READ, _DEPLOY),
    **{
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": _rule(
            *_ANY, opening=Opening.REFLECTION
        )
        for version in ("v1", "v1alpha")
    },
}
