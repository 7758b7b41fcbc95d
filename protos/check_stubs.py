"""Fails when the committed stubs are not what the .proto files give, or are not tracked."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
STUBS = HERE.with_name("clients")


def main() -> int:
    """Make the stubs anew in a temporary folder and compare."""
    protos = sorted(str(p.relative_to(HERE)) for p in HERE.rglob("*.proto"))
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=STUBS, capture_output=True, text=True, check=True
    ).stdout.split()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        outs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python")]
        outs += [f"--{kind}_out=quiet:{folder}" for kind in ("mypy", "mypy_grpc")]
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", *outs, *protos],
            cwd=HERE,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            check=True,
        )
        for fresh in sorted(Path(folder).rglob("*.py*")):
            name = str(fresh.relative_to(folder))
            if name not in tracked:
                wrong.append(f"clients/{name} is not tracked")
            elif (STUBS / name).read_bytes() != fresh.read_bytes():
                wrong.append(f"clients/{name} is stale")
    for line in wrong:
        print(f"{line}: run `make protos` and commit it")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
