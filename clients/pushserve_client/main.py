"""Command `pushserve`: where it starts."""

from __future__ import annotations

from pushserve_client.cli.app import app


def main() -> None:
    """Run the command that the arguments name; ends the process with its exit code."""
    app(prog_name="pushserve")


if __name__ == "__main__":
    main()
