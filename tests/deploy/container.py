"""A machine in half a second: a root tree of roots.sh, booted with systemd in a container. What is written to it stays in
memory; its network is its own and has nothing but loopback, so that ports 80 and 443 are free in it.

	with Container(root_of("bookworm")) as machine:
	    machine.put("build/appcore.deb", "/root/appcore.deb")
	    done = machine("apt-get", "install", "-y", "/root/appcore.deb", timeout=120)
	    done.returncode, done.stdout           # standard error is in it
	    with machine.beside("wrk", …) as load: # a program of this machine, in the container's network
	        machine("systemctl", "restart", "appcore@1")

Nothing is left of it, however the test ends: mounts are in a name space of its first process, which is killed with the
test. Limits of cgroups (MemoryMax=, TasksMax=) are taken and not enforced in it; machine.py has a kernel of its own.

Wants root and systemd-nspawn; raises Skip without them."""
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Dict, Iterator, List, Optional, Union

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e", "faults"))

from harness import HOME, Skip, wait_for  # noqa: E402

BOOT_S = 120.0
OFF_S = 60.0
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root", "TERM": "dumb"}
PREFIX = "appcore-test-"  # of machines, of folders in /tmp and of cgroups; a process and a number follow
# Mounts are seen by nspawn alone and end with it. It ends with 133 when the container wants to be booted again.
BOOT = """set -eu
mount -t tmpfs -o "size=$2,mode=0755" "$3" "$3"
mkdir "$3/root" "$3/upper" "$3/work"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$3/upper,workdir=$3/work" "$3/root"
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
[ -z "$4" ] || echo $$ >"$4/cgroup.procs"
folder=$3
shift 4
nspawn=
trap '[ -z "$nspawn" ] || kill "$nspawn"' TERM
code=133
while [ "$code" -eq 133 ]; do
	code=0
	setpriv --pdeathsig KILL systemd-nspawn -q -D "$folder/root" "$@" &
	nspawn=$!
	wait "$nspawn" || code=$?
	while kill -0 "$nspawn" 2>/dev/null; do wait "$nspawn" || code=$?; done # wait ends when a signal comes
done
exit "$code"
"""
numbers = itertools.count(1)


def root_of(suite: str, *arguments: str) -> str:
    """The root tree that roots.sh SUITE ARGUMENTS makes, or has made."""
    if os.geteuid() != 0:
        raise Skip("only root may make and boot a root tree")
    if not shutil.which("mmdebstrap"):
        raise Skip('mmdebstrap is not installed: run "make deps-deploy"')
    made = subprocess.run([f"{HERE}/roots.sh", suite, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=2400)
    if made.returncode != 0:
        raise RuntimeError(f"roots.sh {suite} ended with code {made.returncode}")
    return made.stdout.strip()


def dies_with_us(command: List[str]) -> List[str]:
    """The command, killed when this process ends."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


def child_of(pid: str) -> str:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()[0]


def own_cgroup(name: str) -> str:
    """A cgroup for one container, or nothing: two that share one would end each other's services."""
    with contextlib.suppress(OSError):
        with open("/proc/self/mountinfo") as mounts, open("/proc/self/cgroup") as groups:
            mount = next(line.split()[4] for line in mounts if " - cgroup2 " in line)
            own = next(line.strip().split("::")[1] for line in groups if line.startswith("0::"))
        path = os.path.join(mount, own.strip("/"), name)
        os.mkdir(path)
        return path
    return ""


def remove_cgroup(path: str) -> None:
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def sweep() -> None:
    """What tests that were killed have left: empty folders."""
    for parent in (tempfile.gettempdir(), os.path.dirname(own_cgroup_path())):
        with contextlib.suppress(OSError):
            for name in os.listdir(parent):
                pid = name[len(PREFIX) :].split("-")[0]
                if name.startswith(PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                    remove_cgroup(os.path.join(parent, name))


def own_cgroup_path() -> str:
    path = own_cgroup(f"{PREFIX}{os.getpid()}-0")
    remove_cgroup(path)
    return path


class Inside:
    """What is asked of a machine, a container or a virtual one, once there is a way to run a command in it."""

    def __call__(self, *command: str, timeout: float = 60.0, input: Union[str, bytes, None] = None, **environment: str) -> subprocess.CompletedProcess:
        raise NotImplementedError

    def must(self, *command: str, **options: object) -> str:
        """Runs it; what it said, or an exception with that."""
        done = self(*command, **options)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)[:200]}: code {done.returncode}: {done.stdout.strip()[-2000:]}")
        return done.stdout

    def shell(self, script: str, **options: object) -> subprocess.CompletedProcess:
        return self("sh", "-c", script, **options)

    def show(self, what: str, unit: str) -> str:
        """A property of a unit."""
        return self("systemctl", "show", "--value", "-p", what, unit).stdout.strip()

    # --- files ---

    def write(self, path: str, data: Union[str, bytes], mode: int = 0o644, owner: str = "root:root") -> None:
        user, _, group = owner.partition(":")
        self.must("install", "-D", "-m", f"{mode:o}", "-o", user, "-g", group or user, "/dev/stdin", path, input=data)

    def read(self, path: str) -> str:
        return self.must("cat", path)

    def put(self, source: str, target: str) -> None:
        """A file or a folder with all that is in it, as target, owned by root."""
        source = source if os.path.isabs(source) else os.path.join(HOME, source)
        folder = os.path.isdir(source)
        if not folder:
            with open(source, "rb") as file:
                self.write(target, file.read(), os.stat(source).st_mode & 0o777)
            return
        packed = subprocess.run(["tar", "-C", source, "-c", "."], stdout=subprocess.PIPE, check=True, timeout=300).stdout
        self.must("mkdir", "-p", target)
        self.must("tar", "-C", target, "-x", "--no-same-owner", input=packed, timeout=300)


class Container(Inside):
    def __init__(self, root: str, memory: str = "1g"):
        """memory: what may be written to it, as a size of tmpfs."""
        for tool in ("systemd-nspawn", "nsenter", "setpriv", "unshare"):
            if not shutil.which(tool):
                raise Skip(f'{tool} is not installed: run "make deps-deploy"')
        if os.geteuid() != 0:
            raise Skip("only root may boot a container")
        self.root, self.memory, self.init = root, memory, ""
        self.name = f"{PREFIX}{os.getpid()}-{next(numbers)}"
        self.folder = os.path.join(tempfile.gettempdir(), self.name)
        self.cgroup = ""
        self.nspawn: Optional[subprocess.Popen] = None
        self.log = tempfile.TemporaryFile("w+", errors="replace")

    def __enter__(self) -> "Container":
        try:
            return self.boot()
        except BaseException:
            self.off()
            raise

    def __exit__(self, *_: object) -> None:
        self.off()

    # --- its life ---

    def boot(self) -> "Container":
        sweep()
        os.mkdir(self.folder, 0o700)
        self.cgroup = own_cgroup(self.name)
        self.nspawn = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave",
             *dies_with_us(["sh", "-c", BOOT, "sh", self.root, self.memory, self.folder, self.cgroup]),
             f"--machine={self.name}", "--boot", "--register=no", "--keep-unit", "--link-journal=no", "--private-network",
             "--resolv-conf=off", "--timezone=off", "--console=pipe", "--", "systemd.mask=systemd-networkd-wait-online.service"],
            env={**ENVIRONMENT, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)  # fmt: skip
        self.wait_up()
        return self

    def wait_up(self, not_this: str = "") -> None:
        """Until systemd has started all that it wants, and the first process is another one than not_this."""

        def is_up() -> bool:
            if self.nspawn.poll() is not None:
                return True
            with contextlib.suppress(OSError, IndexError):
                self.init = child_of(child_of(str(self.nspawn.pid)))
                if self.init != not_this:
                    return self("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")
            return False

        if not wait_for(is_up, BOOT_S, 0.1) or self.nspawn.poll() is not None:
            raise Skip(f"systemd does not boot here: {' '.join(self.console().split())[-300:]}")

    def reboot(self) -> None:
        """In good order; what was written is still there."""
        was = self.init
        self("systemctl", "reboot")
        self.wait_up(was)

    def off(self) -> None:
        """In good order; of what was written nothing stays."""
        if self.nspawn:
            self.nspawn.terminate()
            try:
                self.nspawn.wait(OFF_S)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()
            self.nspawn = None
            self.log.close()
        for path in (self.cgroup, self.folder):
            if path:
                wait_for(lambda p=path: remove_cgroup(p) or not os.path.exists(p), 5.0, 0.05)

    def console(self) -> str:
        self.log.seek(0)
        return self.log.read()

    # --- in it ---

    def inside(self, *command: str, **environment: str) -> List[str]:
        """The command as one to be called from here, with nothing of our environment."""
        pairs = [f"{name}={value}" for name, value in {**ENVIRONMENT, **environment}.items()]
        return ["nsenter", "-t", self.init, "-a", "env", "-i", *pairs, *command]

    def __call__(self, *command: str, timeout: float = 60.0, input: Union[str, bytes, None] = None, **environment: str) -> subprocess.CompletedProcess:
        """Runs it as root: returncode, stdout (with what it said on standard error). 124 when it took longer than timeout."""
        data = input.encode() if isinstance(input, str) else input
        feed: Dict[str, object] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
        done = subprocess.run(dies_with_us(self.inside("timeout", "-k", "5", f"{timeout:g}", *command, **environment)),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout + 30, **feed)  # fmt: skip
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(errors="replace"))

    @contextlib.contextmanager
    def beside(self, *command: str, **options: object) -> Iterator[subprocess.Popen]:
        """A program of this machine (wrk, Python) in the container's network, as a Popen with these options; it is ended
        with TERM at the end of the block, and then killed."""
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(dies_with_us(["nsenter", "-t", self.init, "-n", *command]), **options)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


if __name__ == "__main__":
    # By hand: container.py SUITE COMMAND…
    started = time.monotonic()
    with Container(root_of(sys.argv[1])) as machine:
        print(f"booted after {time.monotonic() - started:.1f} s: {machine('systemctl', 'is-system-running').stdout.strip()}", file=sys.stderr)
        done = machine(*(sys.argv[2:] or ["systemctl", "--no-pager", "--failed"]))
        sys.stdout.write(done.stdout)
    sys.exit(done.returncode)
