"""What a server takes while it runs: memory, file descriptors, processes, disk; and its growth."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import processes

WINDOW = 30.0
"""Seconds of which the least memory counts: between two swaps."""
ROLES = {"zygote, workers": "zygote", "frontends": "frontend", "deployer": "deployer"}
"""By title: the word in the command line or in the name. Workers look like the zygote."""


@dataclass(frozen=True)
class Look:
    """What the server takes at one moment; `at` is in seconds from the start of the load."""

    at: float
    memory: int
    descriptors: int
    processes: int
    disk: dict[str, int]
    by_role: dict[str, tuple[int, int]]


def look(data: Path, pid: int, at: float) -> Look:
    pids = processes.tree(pid)
    roles = {one: role(one, pid) for one in pids}
    each = {one: processes.memory([one]) for one in pids}
    by_role = {
        name: (sum(r == name for r in roles.values()),
               sum(each[one] for one, r in roles.items() if r == name))
        for name in sorted(set(roles.values()))
    }  # fmt: skip
    kept = [path for path in sorted(data.iterdir()) if not path.name.startswith(".")]
    disk = {path.name: processes.disk(path) for path in kept if path.is_dir()}
    disk["(whole)"] = processes.disk(data)
    return Look(at, sum(each.values()), processes.descriptors(pids), len(pids), disk, by_role)


def role(pid: int, server: int) -> str:
    """Name what a process is for, by its command line and its name."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        words.append(Path(f"/proc/{pid}/comm").read_text().strip())
    except OSError:
        return "gone"
    found = (title for title, word in ROLES.items() if any(word in one for one in words))
    return next(found, "supervisor" if pid == server else Path(words[0]).name)


def show_memory(seen: list[Look], warm_up: float, versions: int) -> float | None:
    """Print the least of every window, and fit a line; give its end divided by its beginning."""
    roles = sorted({name for one in seen for name in one.by_role} & set(ROLES))
    print(f"\nmemory (PSS), the least of each {WINDOW:g} s, MiB\n"
          f"{'until':>8} {'all':>8} {'the most':>9}" + "".join(f"{name:>17}" for name in roles)
          )  # fmt: skip
    ends, least = [], []
    for window, group in windows(seen):
        found = [one.memory / 2**20 for one in group]
        each = (min(one.by_role.get(name, (0, 0))[1] for one in group) / 2**20 for name in roles)
        end = (window + 1) * WINDOW
        print(f"{end:6.0f} s {min(found):8.1f} {max(found):9.1f}"
              + "".join(f"{size:17.1f}" for size in each)
              + ("" if end - WINDOW >= warm_up else "  warm-up"))  # fmt: skip
        if end - WINDOW >= warm_up:
            ends.append(end)
            least.append(min(found))
    if len(ends) < 2:
        print("  too short to fit a line")
        return None
    slope, base = np.polyfit(ends, least, 1)
    first, last = base + slope * ends[0], base + slope * ends[-1]
    per_version = slope * seen[-1].at / versions * 1024 if versions else float("nan")
    print(f"  fitted after the warm-up: {slope * 60:+.2f} MiB a minute "
          f"({per_version:+.0f} KiB a version); "
          f"{first:.0f} MiB at first, {last:.0f} MiB in the end")  # fmt: skip
    return float(last / first)


def windows(seen: list[Look]) -> list[tuple[int, list[Look]]]:
    """Group them; a last window that was hardly looked at is left out."""
    groups = itertools.groupby(seen, key=lambda one: int((one.at - 1) // WINDOW))
    found = [(window, list(group)) for window, group in groups]
    return [(window, group) for window, group in found if 2 * len(group) >= len(found[0][1])]


def show_ends(before: Look, after: Look) -> None:
    print(f"\n{'':34} {'before':>10} {'after':>10}")
    print(f"{'open file descriptors':34} {before.descriptors:10} {after.descriptors:10}")
    print(f"{'processes':34} {before.processes:10} {after.processes:10}")
    for name in sorted(before.disk | after.disk):
        sizes = (one.disk.get(name, 0) / 2**20 for one in (before, after))
        print(f"{f'data dir, MiB: {name}':34}" + "".join(f"{size:11.1f}" for size in sizes))
    for name in sorted(before.by_role | after.by_role):
        line = f"{f'memory, MiB (processes): {name}':34}"
        for one in (before, after):
            count, size = one.by_role.get(name, (0, 0))
            line += f"{f'{size / 2**20:.1f} ({count})':>11}"
        print(line)
