"""Model limits: callers whose token is for some models only see and change no others.

Which part of a call says which model it is about stands in `access.method_rules`. Predict's own
is looked at where its door has read it (`predict_dispatch`).
"""

from __future__ import annotations

from typing import Any

from pushserve_server.access.guard import Principal
from pushserve_server.access.method_rules import METHOD_RULES, ModelOf
from pushserve_server.api.transport.call import Call


def check_request(call: Call, request: Any) -> None:
    """Insist that the request is about a model that its caller may ask about.

    Raises:
        NotAllowed: it is not.
    """
    if call.principal.models is not None and _model_of(call) is ModelOf.REQUEST:
        call.principal.check_model(request.model)


def check_reply(call: Call, reply: Any) -> None:
    """Leave out of a list what its caller may not see; insist that the rest is theirs.

    Raises:
        NotAllowed: it is about another model.
    """
    if call.principal.models is None:
        return
    where = _model_of(call)
    if where is ModelOf.DEPLOYMENT:
        call.principal.check_model(reply.deployment.model)
    elif where is ModelOf.LISTED:
        for field, name in (("models", "name"), ("deployments", "model")):
            if field in reply.DESCRIPTOR.fields_by_name:
                _keep(call.principal, getattr(reply, field), name)


def _model_of(call: Call) -> ModelOf:
    return METHOD_RULES[call.method.name].model


def _keep(principal: Principal, listed: Any, name: str) -> None:
    kept = [one for one in listed if principal.may_see(getattr(one, name))]
    del listed[:]
    listed.extend(kept)
