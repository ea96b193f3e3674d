"""A PostgreSQL server of Debian's for a test: in a folder of its own, on 127.0.0.1, with a password, gone afterwards."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "se/cr@et"


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The server's URL without the password, which is `PASSWORD`; skips where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql (Debian's package postgresql)")
    tools, home = found[-1].parent, Path(tempfile.mkdtemp(prefix="milbench-postgres-"))
    who = "postgres" if os.getuid() == 0 else None
    (home / "password").write_text(PASSWORD)
    if who:
        for path in (home / "password", home):
            shutil.chown(path, who, who)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={home} -c max_connections=50"

    def run(tool: str, *args: str) -> None:
        command = [str(tools / tool), "-D", str(home / "data"), *args]
        subprocess.run(command, user=who, cwd=home, check=True, stdout=subprocess.DEVNULL)

    try:
        run("initdb", "-U", "me", "-A", "scram-sha-256", f"--pwfile={home / 'password'}")
        run("pg_ctl", "-w", "-l", str(home / "log"), "-o", settings, "start")
        try:
            yield f"postgresql://me@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
            time.sleep(0.1)
    finally:
        shutil.rmtree(home)
