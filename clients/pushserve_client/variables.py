"""Variables of the environment that the `pushserve` command reads."""

from typing import Final

TOKEN_VARIABLE: Final = "PUSHSERVE_TOKEN"  # noqa: S105 (its name)

CLIENT_VARIABLES: Final = ("PUSHSERVE_SERVER", TOKEN_VARIABLE, "PUSHSERVE_PROFILE")
