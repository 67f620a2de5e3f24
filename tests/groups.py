"""Groups of processes that run `in_group`: with no launcher, with chargen's own, with torchrun."""

import os
import socket
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("in_group.py")
LAUNCH = """
import sys
from chargen.distributed.launch import launch
sys.exit(launch(int(sys.argv[1]), sys.argv[3:], lambda line: print(line, file=sys.stderr),
                [sys.argv[2]]))
"""
SECONDS = 120  # after which a group that does not end has failed
NAMED = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def environment(**more):
    """This process's, with nothing in it of a group."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMED}
    path = str(Path(__file__).parent.parent)
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "TORCH_CPP_LOG_LEVEL": "FATAL"}
    return {**kept, **own, **more}


def started(command, **options):
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    given = {"env": environment(), "text": True, **pipes, **options}
    return subprocess.Popen([sys.executable, *map(str, command)], **given)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def ranks(size, what, *arguments):
    """That many processes that find each other with no launcher."""
    port = str(free_port())
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(size)}
    return [
        started(
            [PROGRAM, what, *arguments],
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **where),
        )
        for rank in range(size)
    ]


def launched(size, what, *arguments, **options):
    """`chargen.distributed.launch.launch` of that many."""
    return started(["-c", LAUNCH, size, PROGRAM, what, *arguments], **options)


def torchrun(flags, what, *arguments, **options):
    """PyTorch's own launcher, which says much on standard error."""
    # Sharing its store, it waits for ever for a machine that comes later.
    own = environment(TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    command = ["-m", "torch.distributed.run", *flags, PROGRAM, what, *arguments]
    return started(command, env=own, **options)


def ended(process, given=None):
    """Exit code, standard output and standard error; what does not end is killed."""
    try:
        out, err = process.communicate(given, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {SECONDS} s: {out}{err}") from None
    return process.returncode, out, err


def listening():
    """The addresses on which somebody listens, as Linux writes them."""
    addresses = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A":
                addresses.append(local)
    return addresses


def listens_on(port):
    """Whether somebody listens there, on whatever address."""
    return any(address.endswith(f":{port:04X}") for address in listening())


def descendants(pid):
    """The processes below one, by number."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


def is_alive(pid):
    """Whether it runs: one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
