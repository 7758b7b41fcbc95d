"""Command `pushserve`: where it starts."""

from __future__ import annotations

import io
import sys

from pushserve_client.cli.app import app


def main() -> None:
    """Run the command that the arguments name; ends the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Where it takes ASCII alone, names and messages are not a reason to end.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="pushserve")


if __name__ == "__main__":
    main()
