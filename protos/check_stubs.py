"""Fails when what clients/ and docs/api.md hold of the .proto files is not what they give."""

import subprocess
import sys
import tempfile
from pathlib import Path

import make_api_page
from make_stubs import CLIENTS, make


def main() -> int:
    """Make everything anew in a temporary folder and compare."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=CLIENTS, capture_output=True, text=True, check=True
    ).stdout.split()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        for fresh in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            name = str(fresh.relative_to(folder))
            if name not in tracked:
                wrong.append(f"clients/{name} is not tracked")
            elif (CLIENTS / name).read_bytes() != fresh.read_bytes():
                wrong.append(f"clients/{name} is stale")
    if make_api_page.PAGE.read_text() != make_api_page.make():
        wrong.append("docs/api.md is stale")
    for line in wrong:
        print(f"{line}: run `make protos` and commit it")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
