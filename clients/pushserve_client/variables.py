"""Variables of the environment that the `pushserve` command reads."""

from typing import Final

CLIENT_VARIABLES: Final = (
    "PUSHSERVE_SERVER",
    "PUSHSERVE_TOKEN",
    "PUSHSERVE_PROFILE",
)
