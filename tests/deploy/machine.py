"""A whole machine: Debian with a kernel of its own in qemu, without hardware acceleration (6 to 18 times slower than this
machine: no figures of speed come from it). Limits of cgroups are real in it, and so is a power cut.

	with Machine(disk_of("bookworm"), ports={443: 0}) as machine:  # 0: any free port; machine.port[443] tells which
	    machine.must("apt-get", "install", …)
	    machine.cut()                         # the power
	    machine.boot()

The disk of a test is a layer over a file that is made once (disk_of) and kept beside its root tree. The layer is qcow2 with a
cache that writes back: where a block first went to it is noted in it when the guest asks for a flush, and otherwise whenever
qemu likes. Killing qemu is so what pulling the plug of a disk with a cache is: what was flushed is there, what was not may be
there or not.

Commands run through a service of the image's own that listens on a port of the machine which only this process knows
(agent.sh). The network is qemu's, with ports of 127.0.0.1 leading in and nothing leading out.

Wants root (to make the disk), qemu and mke2fs; raises Skip without them."""
import contextlib
import fcntl
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, Optional, Union

from container import ENVIRONMENT, HERE, Inside, dies_with_us, root_of
from harness import Skip, free_ports, wait_for

BOOT_S = 600.0
OFF_S = 120.0
AGENT_PORT = 1023
DISK_SIZE = "4G"
# Its network is known: nobody has to be asked for an address, or waited for.
NETWORK = """[Match]
Name=e*
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
"""
AGENT_SOCKET = f"""[Unit]
Description=Commands of a test
DefaultDependencies=no
Before=sockets.target
[Socket]
ListenStream={AGENT_PORT}
Accept=yes
MaxConnections=64
TriggerLimitIntervalSec=0
"""
AGENT_SERVICE = """[Unit]
Description=A command of a test
DefaultDependencies=no
CollectMode=inactive-or-failed
[Service]
ExecStart=/bin/bash /usr/local/lib/agent.sh
StandardInput=socket
StandardError=journal
"""
# A root tree becomes a file system: $1 is the tree, $2 what is laid over it, $3 the file, $4 its size.
MAKE_DISK = """set -eu
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
cp -a "$2/." /mnt/upper/
mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
mke2fs -q -t ext4 -L appcore -E lazy_itable_init=1,lazy_journal_init=1 -d /mnt/root "$3" "$4"
"""


def newest(folder: str, prefix: str) -> str:
    return os.path.join(folder, max(name for name in os.listdir(folder) if name.startswith(prefix)))


def disk_of(suite: str) -> str:
    """A file with the bare root tree of a suite, a kernel and the agent as a disk, made once; the kernel and its first root
    lie beside it."""
    for tool in ("qemu-system-x86_64", "qemu-img", "mke2fs", "unshare"):
        if not shutil.which(tool):
            raise Skip(f'{tool} is not installed: run "make deps-deploy"')
    root = root_of(suite, "--bare", "linux-image-cloud-amd64")
    disk = f"{root}.img"
    with open(f"{disk}.lock", "w") as lock, open(__file__) as this, open(f"{HERE}/agent.sh") as agent:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made_by = this.read() + agent.read()
        with contextlib.suppress(OSError), open(f"{disk}.made-by") as file:
            if file.read() == made_by and os.path.exists(disk):
                return disk
        with tempfile.TemporaryDirectory(prefix="appcore-disk.") as over:
            os.chmod(over, 0o755)
            for path, text in {
                "etc/systemd/network/10-test.network": NETWORK,
                "etc/systemd/system/agent.socket": AGENT_SOCKET,
                "etc/systemd/system/agent@.service": AGENT_SERVICE,
                "etc/fstab": "LABEL=appcore / ext4 errors=remount-ro 0 1\n",
                "usr/local/lib/agent.sh": open(f"{HERE}/agent.sh").read(),
            }.items():
                os.makedirs(os.path.join(over, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(over, path), "w") as file:
                    file.write(text)
            wanted = os.path.join(over, "etc/systemd/system")
            for target, unit in (("sockets.target", "/etc/systemd/system/agent.socket"),
                                 ("multi-user.target", "/lib/systemd/system/systemd-networkd.service"),
                                 ("network-online.target", "/lib/systemd/system/systemd-networkd-wait-online.service")):  # fmt: skip
                os.makedirs(f"{wanted}/{target}.wants", exist_ok=True)
                os.symlink(unit, f"{wanted}/{target}.wants/{os.path.basename(unit)}")
            subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", MAKE_DISK, "sh", root, over, f"{disk}.new", DISK_SIZE],
                           check=True, stdin=subprocess.DEVNULL, timeout=600)
        shutil.copyfile(newest(f"{root}/boot", "vmlinuz-"), f"{disk}.kernel")
        shutil.copyfile(newest(f"{root}/boot", "initrd.img-"), f"{disk}.initrd")
        os.rename(f"{disk}.new", disk)
        with open(f"{disk}.made-by", "w") as file:
            file.write(made_by)
    return disk


class Machine(Inside):
    def __init__(self, disk: str, ports: Optional[Dict[int, int]] = None, memory: str = "1G"):
        self.disk, self.memory, self.token = disk, memory, secrets.token_hex(16)
        self.folder = tempfile.mkdtemp(prefix="appcore-machine.")
        self.layer = f"{self.folder}/layer.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, self.layer], check=True, timeout=60)
        wanted = {AGENT_PORT: 0, **(ports or {})}
        first = free_ports(len(wanted))
        self.port = {inside: outside or first + i for i, (inside, outside) in enumerate(wanted.items())}
        self.qemu: Optional[subprocess.Popen] = None
        self.boots = 0

    def __enter__(self) -> "Machine":
        try:
            return self.boot()
        except BaseException:
            self.end()
            raise

    def __exit__(self, *_: object) -> None:
        self.end()

    # --- its life ---

    def boot(self) -> "Machine":
        """Until systemd has started all that it wants."""
        self.boots += 1
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{outside}-:{inside}" for inside, outside in self.port.items())
        with open(f"{self.folder}/qemu.log", "a") as log:
            self.qemu = subprocess.Popen(
                dies_with_us([
                    "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "2", "-m", self.memory,
                    "-nodefaults", "-no-user-config", "-display", "none", "-serial", f"file:{self.folder}/console.{self.boots}",
                    "-kernel", f"{self.disk}.kernel", "-initrd", f"{self.disk}.initrd",
                    "-append", f"root=LABEL=appcore rw console=ttyS0 loglevel=4 panic=-1 mitigations=off systemd.show_status=0 systemd.setenv=AGENT_TOKEN={self.token}",
                    "-drive", f"file={self.layer},format=qcow2,if=virtio,cache=writeback,discard=unmap",
                    "-netdev", f"user,id=net,restrict=on{forwards}", "-device", "virtio-net-pci,netdev=net",
                    "-device", "virtio-rng-pci"]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)  # fmt: skip
        self.wait_up()
        return self

    def wait_up(self, not_this: str = "") -> None:
        def is_up() -> bool:
            if self.qemu.poll() is not None:
                return True
            said = self("sh", "-c", "cat /proc/sys/kernel/random/boot_id; systemctl is-system-running", timeout=20, connect=5).stdout.split()
            return len(said) == 2 and said[0] != not_this and said[1] in ("running", "degraded")

        if not wait_for(is_up, BOOT_S, 0.2) or self.qemu.poll() is not None:
            with open(f"{self.folder}/qemu.log") as log:
                raise RuntimeError(f"the machine does not boot: {log.read().strip()[-300:]} {self.console()[-1500:]}")

    def boot_id(self) -> str:
        return self.read("/proc/sys/kernel/random/boot_id").strip()

    def reboot(self) -> None:
        """In good order."""
        was = self.boot_id()
        self("systemctl", "reboot", "--no-block", timeout=20)
        self.wait_up(was)

    def cut(self) -> None:
        """The power."""
        self.qemu.kill()
        self.qemu.wait()

    def off(self) -> None:
        """In good order; it can be booted again."""
        if self.qemu and self.qemu.poll() is None:
            self("systemctl", "poweroff", "--no-block", timeout=20)
            try:
                self.qemu.wait(OFF_S)
            except subprocess.TimeoutExpired:
                self.cut()

    def end(self) -> None:
        if self.qemu and self.qemu.poll() is None:
            self.cut()
        if os.environ.get("KEEP"):
            print(f"kept: {self.folder}", flush=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def console(self) -> str:
        with contextlib.suppress(OSError), open(f"{self.folder}/console.{self.boots}", errors="replace") as file:
            return file.read()
        return ""

    # --- in it ---

    def __call__(self, *command: str, timeout: float = 60.0, input: Union[str, bytes, None] = None, connect: float = 30.0,
                 **environment: str) -> subprocess.CompletedProcess:  # fmt: skip
        """Runs it as root: returncode, stdout (with what it said on standard error). 124 when it took longer than timeout, 255
        when the machine does not answer."""
        data = input.encode() if isinstance(input, str) else input or b""
        pairs = [f"{name}={value}" for name, value in {**ENVIRONMENT, **environment}.items()]
        script = shlex.join(["env", "-i", *pairs, *command]).encode()
        head = f"{self.token} {timeout:g} {len(script)} {len(data)}\n".encode()
        said = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port[AGENT_PORT]), connect) as agent:
                agent.settimeout(connect)
                agent.sendall(head)
                said = agent.recv(1)  # it is there: port forwards take what nobody will hear
                agent.settimeout(timeout + 60)
                agent.sendall(script + data)
                while said and not (ended := re.search(rb"\0exit (\d+)\n$", said[-20:])):
                    got = agent.recv(65536)
                    if not got:
                        break
                    said += got
                else:
                    if said:
                        text = said[1 : len(said) - len(ended.group(0))]
                        return subprocess.CompletedProcess(command, int(ended.group(1)), text.decode(errors="replace"))
        except OSError:
            pass
        return subprocess.CompletedProcess(command, 255, said[1:].decode(errors="replace"))


if __name__ == "__main__":
    # By hand: machine.py SUITE COMMAND…
    started = time.monotonic()
    path = disk_of(sys.argv[1])
    print(f"disk after {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    started = time.monotonic()
    with Machine(path) as machine:
        print(f"booted after {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
        done = machine(*(sys.argv[2:] or ["systemctl", "--no-pager", "--failed"]))
        sys.stdout.write(done.stdout)
    sys.exit(done.returncode)
