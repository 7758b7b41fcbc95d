"""ERROR frames: what a caller is told when the model, or its answer, is at fault."""

from __future__ import annotations

from pushserve_runtime.build_error import printable
from pushserve_runtime.frames import Kind, encode_json
from pushserve_runtime.output_arrays import NotAnOutput
from pushserve_sandbox.prediction.json_values import NotJson, TooLarge


def error_frame(request: int, error: BaseException) -> bytes:
    """Give the frame for what a model raised, or for an answer that cannot be sent.

    What a model raised is its author's to know, not its callers': only its kind is told.
    """
    if isinstance(error, TooLarge):
        reason, message = "ANSWER_TOO_LARGE", str(error)
    elif isinstance(error, NotJson | NotAnOutput):
        reason, message = "ANSWER_INVALID", str(error)
    elif isinstance(error, ValueError | TypeError | LookupError):
        reason, message = "MODEL_REJECTED", "the model does not accept these values"
    else:
        reason, message = "MODEL_FAILED", "the model failed on these values"
    said = {"reason": reason, "message": printable(message)}
    return b"".join(encode_json(request, Kind.ERROR, said))
