"""A whole SLURM of one node on this machine for as long as the tests run, with a folder and ports of its own."""

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo", "scancel", "scontrol")
"""What Debian's slurm-wlm and munge bring."""
_PREFIX = "milbench-slurm-"
_SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_PATIENCE = 180.0  # s, of a slow and busy machine

_SLURM = """\
ClusterName=milbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=15
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
GresTypes=gpu
ReturnToService=2
JobRequeue=1
MessageTimeout=60
SlurmctldTimeout=300
SlurmdTimeout=300
KillWait=15
MinJobAge=900
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=100000
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=node1 Default=YES MaxTime=60 State=UP
PartitionName=other Nodes=node1 MaxTime=10 State=UP
"""


@dataclass(frozen=True)
class SlurmNode:
    """A running cluster of one node: 8 CPUs whatever the machine has, 2 GPUs in name only, partitions `main` and `other`."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes SLURM's commands talk to this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _SBIN}

    def ask(self, *command: str, **options: object) -> str:
        """What a SLURM command answers; one that fails is an error that holds what it said."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
            **options,
        )  # type: ignore[call-overload]
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{self.logs()}")
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """A job's state as SLURM calls it, also after its end."""
        return self.ask("scontrol", "show", "job", job).partition("JobState=")[2].split()[0]

    def await_state(self, job: str, *states: str) -> str:
        """Wait until the job is in one of these states."""
        wait_until(lambda: self.state(job) in states, f"job {job} to be {' or '.join(states)}", self.logs)
        return self.state(job)

    def logs(self) -> str:
        """The last lines of the daemons' logs."""
        tails = [(path.name, path.read_text(errors="replace").splitlines()[-15:]) for path in sorted(self.folder.glob("*.log"))]
        return "\n".join(f"== {name}\n" + "\n".join(lines) for name, lines in tails)


def wait_until(true: Callable[[], object], what: str, more: Callable[[], str] = str, patience: float = _PATIENCE) -> None:
    """Wait for something; a TimeoutError says what did not happen."""
    end = time.monotonic() + patience
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:g} s for {what}\n{more()}")
        time.sleep(0.3)


def missing_programs() -> list[str]:
    """Which of SLURM's programs this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=_SBIN) is None]


@contextlib.contextmanager
def slurm_node() -> Iterator[SlurmNode]:
    """Start a cluster, give it, and leave nothing of it behind; what killed test runs left is cleared away first."""
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with (folder / "lock").open("w") as lock, contextlib.ExitStack() as stack:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stack.callback(_clear, folder)
        _start(folder, stack)
        node = SlurmNode(folder)
        stack.callback(_cancel_all, node)
        wait_until(lambda: _idle(node), "the node to be idle", node.logs)
        yield node


def _start(folder: Path, stack: contextlib.ExitStack) -> None:
    """Write the configuration and start the daemons; the kernel ends them should this process be killed."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    host, user = socket.gethostname().partition(".")[0], pwd.getpwuid(os.getuid()).pw_name
    controller, node = _free_ports()
    (folder / "slurm.conf").write_text(_SLURM.format(host=host, user=user, folder=folder, controller=controller, node=node))
    devices = ("/dev/null", "/dev/zero")  # there must be as many as GPUs, and nobody opens them
    (folder / "gres.conf").write_text("".join(f"NodeName=node1 Name=gpu File={device}\n" for device in devices))
    files = {
        "socket": "munge.socket",
        "key-file": "munge.key",
        "pid-file": "munged.pid",
        "log-file": "munge.log",
        "seed-file": "seed",
    }
    _daemon(folder, stack, "munged", "--force", "--foreground", *(f"--{name}={folder / file}" for name, file in files.items()))
    wait_until(lambda: (folder / "munge.socket").is_socket(), "munged")
    _daemon(folder, stack, "slurmctld", "-D", "-i", "-f", str(folder / "slurm.conf"))
    _daemon(folder, stack, "slurmd", "-D", "-N", "node1", "-f", str(folder / "slurm.conf"))


def _daemon(folder: Path, stack: contextlib.ExitStack, name: str, *arguments: str) -> None:
    environment = {**os.environ, "PATH": _SBIN, "SLURM_CONF": str(folder / "slurm.conf")}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", name, *arguments],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    stack.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _idle(node: SlurmNode) -> bool:
    try:
        return node.ask("sinfo", "--noheader", "--partition=main", "--format=%T") == "idle"
    except RuntimeError:  # the controller is not up yet; if it never is, the wait ends with its log
        return False


def _cancel_all(node: SlurmNode) -> None:
    jobs = node.ask("squeue", "--noheader", "--format=%A").split()
    if jobs:
        node.ask("scancel", *jobs)
        wait_until(lambda: not node.ask("squeue", "--noheader", "--format=%A"), "the jobs to end", node.logs)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _sweep() -> None:
    """Clear what test runs left that were killed: folders whose lock nobody holds, and their processes."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            with (folder / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _clear(folder)
        except (BlockingIOError, FileNotFoundError):
            continue


def _clear(folder: Path) -> None:
    """End every process that belongs to the cluster in `folder` (its environment says so), and remove the folder."""
    mark = f"SLURM_CONF={folder / 'slurm.conf'}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        pid = int(environment.parent.name)
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is not ours to look at
            if pid != os.getpid() and mark in environment.read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
