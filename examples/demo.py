"""What `make run` does: a server, a webhook, and a model that goes live by `git push`.

Everything it makes is below `.run/`: bare repositories (the "GitHub" of the demo) whose
post-receive hook posts a signed push event to the webhook, work clones of them, and the
server's data. Ctrl-C stops all of it; the next start goes on where this one stopped.
"""

from __future__ import annotations

import argparse
import http.client
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
from rich.console import Console

from pushserve_client import Client

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
EXAMPLE = "iris"
console = Console(highlight=False)


def main() -> int:
    options = read_options()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also where a shell has put it into the background, which ignores Ctrl-C's signal.
        signal.signal(number, signal.default_int_handler)
    root = options.root.absolute()
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    settings = settings_of(root, options)
    if options.repository:
        print(make_repository(root, options.repository, options.webhook_listen))
        return 0
    environment = {**os.environ, **settings}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        console.print("[bold]1[/] starting the server and the webhook")
        check_free(options.listen, "PUSHSERVE_LISTEN")
        check_free(options.webhook_listen, "PUSHSERVE_WEBHOOK_LISTEN")
        log = (root / "server.log").open("ab")
        for command in ("serve", "webhook"):
            processes.append(
                subprocess.Popen(
                    [BIN / "pushserve", command],
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
            if command == "serve":
                wait_until_ready(processes[-1], options.listen, root / "server.log")
        wait_for_webhook(processes[-1], options.webhook_listen, root / "server.log")
        console.print("[bold]2[/] training an example and committing it")
        work = prepare_repository(root, EXAMPLE, options.webhook_listen)
        console.print(f"[bold]3[/] [cyan]git push[/] from {shown(work)}")
        push(work)
        follow(root, options.listen)
        show_what_to_try(root, work, options)
        if not options.once:
            wait_for_end(processes)
    except KeyboardInterrupt:
        pass
    except DemoFailed as error:
        console.print(f"[red]{error}[/]")
        return 1
    finally:
        stop(processes)
    return 0


class DemoFailed(Exception):
    """The text says why."""


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=HERE.parent / ".run")
    parser.add_argument("--listen", default=os.environ.get("PUSHSERVE_LISTEN", "127.0.0.1:50051"))
    parser.add_argument(
        "--webhook-listen",
        default=os.environ.get("PUSHSERVE_WEBHOOK_LISTEN", "127.0.0.1:8080"),
    )
    parser.add_argument("--repository", metavar="NAME", help="make another one, and end")
    parser.add_argument("--once", action="store_true", help="stop after the first prediction")
    return parser.parse_args()


def settings_of(root: Path, options: argparse.Namespace) -> dict[str, str]:
    secret_file = root / "webhook-secret"
    if not secret_file.exists():
        secret_file.touch(mode=0o600)
        secret_file.write_text(secrets.token_hex(16))
    config = root / "pushserve-server.toml"
    config.write_text(f'[[sources]]\nurl = "file://{root}/git/*"\ntrust = "code"\n')
    return {
        "PUSHSERVE_CONFIG": str(config),
        "PUSHSERVE_LISTEN": options.listen,
        "PUSHSERVE_DATA_DIR": str(root / "data"),
        "PUSHSERVE_WEBHOOK_LISTEN": options.webhook_listen,
        "PUSHSERVE_WEBHOOK_SECRET": secret_file.read_text(),
        "PUSHSERVE_WEBHOOK_SERVER": options.listen,
    }


def check_free(address: str, variable: str) -> None:
    """Insist that nobody answers there: another server would be taken for this one."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return
    raise DemoFailed(
        f"something listens on {address} already; stop it, or choose another address: "
        f"{variable}={host}:{int(port) + 1} make run"
    )


def wait_until_ready(process: subprocess.Popen[bytes], listen: str, log: Path) -> None:
    with grpc.insecure_channel(listen) as channel:
        ready = grpc.channel_ready_future(channel)
        for _ in range(600):
            try:
                ready.result(timeout=0.1)
            except grpc.FutureTimeoutError:
                check_runs(process, log)
            else:
                return
    raise DemoFailed(f"the server did not start within a minute; see {shown(log)}")


def wait_for_webhook(process: subprocess.Popen[bytes], listen: str, log: Path) -> None:
    for _ in range(200):
        check_runs(process, log)
        connection = http.client.HTTPConnection(listen, timeout=1)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise DemoFailed(f"the webhook did not start; see {shown(log)}")


def check_runs(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is not None:
        last = log.read_text().strip().splitlines()[-3:]
        raise DemoFailed("a process ended at its start:\n" + "\n".join(last))


def prepare_repository(root: Path, name: str, webhook: str) -> Path:
    """Make the bare repository and a work clone whose first commit holds the trained model."""
    bare, work = make_repository(root, name, webhook), root / "repos" / name
    if not work.exists():
        work.mkdir(parents=True)
        shutil.copytree(HERE / name, work, dirs_exist_ok=True)
        git("init", "--quiet", "--initial-branch=main", cwd=work)
        git("config", "user.name", "pushserve demo", cwd=work)
        git("config", "user.email", "demo@example.com", cwd=work)
        git("remote", "add", "origin", str(bare), cwd=work)
    if not (work / "examples.json").exists():
        subprocess.run(
            [sys.executable, "train.py"], cwd=work, check=True, stdout=subprocess.DEVNULL
        )
        git("add", ".", cwd=work)
        git("commit", "--quiet", "--message", f"Train {name}", cwd=work)
    return work


def make_repository(root: Path, name: str, webhook: str) -> Path:
    """Make a bare repository, unless it is there, whose pushes are told to the webhook."""
    bare = root / "git" / f"{name}.git"
    if not bare.exists():
        git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    git("config", "uploadpack.allowFilter", "true", cwd=bare)
    write_hook(bare, webhook, root)
    return bare


def write_hook(bare: Path, webhook: str, root: Path) -> None:
    """Post to the webhook on every push, as GitHub would."""
    hook = bare / "hooks" / "post-receive"
    command = [
        sys.executable,
        str(HERE / "post_receive.py"),
        f"http://{webhook}/webhook/github",
        str(root / "webhook-secret"),
        f"file://{bare}",
    ]
    hook.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
    hook.chmod(0o755)


def push(work: Path) -> None:
    """Push; a second `make run` has nothing new, and the server goes on serving what it has."""
    done = subprocess.run(
        ["git", "push", "--porcelain", "--set-upstream", "origin", "main"],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoFailed(f"git push failed: {done.stderr.strip()}")


def follow(root: Path, listen: str) -> None:
    """Show the deployment of the example going live (Register gives the one that exists)."""
    source = f"file://{root}/git/{EXAMPLE}.git"
    command = [BIN / "pushserve", "--server", listen, "register", source, "--ref", "main"]
    console.print("[bold]4[/] the deployment")
    if subprocess.run(command, check=False).returncode:
        raise DemoFailed("the example did not go live")


def show_what_to_try(root: Path, work: Path, options: argparse.Namespace) -> None:
    grpcurl = shown(BIN / "grpcurl")
    row = (
        '{"sepal length (cm)": 5.1, "sepal width (cm)": 3.5, '
        '"petal length (cm)": 1.4, "petal width (cm)": 0.2}'
    )
    request = f'{{"model": "{EXAMPLE}", "rows": [{row}]}}'
    call = ["-plaintext", "-d", request, options.listen, "pushserve.v1.ModelService/Predict"]
    answer = subprocess.run([BIN / "grpcurl", *call], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise DemoFailed(answer.stderr)
    with Client(options.listen) as client:
        models = ", ".join(model.name for model in client.list())
    pushserve = shown(BIN / "pushserve") + (
        "" if options.listen == "127.0.0.1:50051" else f" --server {options.listen}"
    )
    python = os.path.relpath(sys.executable, work) if sys.prefix != sys.base_prefix else "python"
    commit = "git commit -qam 'Shallow trees'"
    console.rule("[bold]pushserve")
    lines = [
        f"{models} is served on {options.listen}. This call",
        "",
        f"  {grpcurl} {shlex.join(call)}",
        "",
        "answers",
        "",
        *(f"  {line}" for line in answer.stdout.rstrip().splitlines()),
        "",
        "Try next, in another terminal:",
        "",
        f"  {pushserve} list",
        f"  {pushserve} predict {EXAMPLE} --data '[{row}]'",
        "",
        "Push a second version, and see it go live:",
        "",
        f"  (cd {shown(work)} && {python} train.py --max-depth 1 && {commit} && git push)",
        f"  {pushserve} deployments --model {EXAMPLE}",
        "",
        "Push a model of your own: docs/getting-started.md.",
        "",
        f"The log is {shown(root / 'server.log')}. Ctrl-C stops everything.",
    ]
    # Whole lines, so that they can be copied whatever the terminal's width.
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def wait_for_end(processes: list[subprocess.Popen[bytes]]) -> None:
    while all(process.poll() is None for process in processes):
        time.sleep(0.2)
    raise DemoFailed("a process ended")


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        process.wait(timeout=60)


def git(*arguments: str, cwd: Path | None = None) -> None:
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoFailed(f"git {arguments[0]} failed: {done.stderr.strip()}")


def shown(path: Path) -> str:
    """Give a path as one would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
