"""ERROR frames: what a caller is told when the model, or its answer, is at fault."""

from __future__ import annotations

from pushserve_runtime.build_error import printable
from pushserve_runtime.frames import Kind, encode_json
from pushserve_runtime.output_arrays import NotAnOutput
from pushserve_sandbox.loading.raised_errors import forbidden
from pushserve_sandbox.prediction.json_values import NotJson, TooLarge


def error_frame(request: int, error: BaseException, raised: str = "") -> bytes:
    """Give the frame for what a model raised, or for an answer that cannot be sent.

    `raised` says what its code raised, and where. It goes apart from the reason: whether callers
    may know it is the operator's to say.
    """
    kept_from = forbidden(error)
    if isinstance(error, TooLarge):
        reason, message = "ANSWER_TOO_LARGE", str(error)
    elif isinstance(error, NotJson | NotAnOutput):
        reason, message = "ANSWER_INVALID", str(error)
    elif isinstance(error, ValueError | TypeError | LookupError) and not kept_from:
        reason, message = "MODEL_REJECTED", "the model does not accept these values"
    else:
        reason, message = "MODEL_FAILED", "the model failed on these values"
    said = {
        "reason": reason,
        "message": printable(message),
        "raised": raised,
        "kept_from": kept_from,
    }
    return b"".join(encode_json(request, Kind.ERROR, said))
