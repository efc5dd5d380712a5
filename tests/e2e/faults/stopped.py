#!/usr/bin/python3
"""SIGSTOP of a worker, at random moments and while it holds the turn to write: the service goes on within 3 s, no
request fails, and the stopped worker is replaced. Then a command: Ctrl-Z does not stop it before it has given the
turn back, SIGSTOP does, and is answered with 503 and a line in the log that names it."""
import contextlib
import itertools
import os
import random
import signal
import subprocess
import time

from harness import SECONDS, Check, Load, Service, compare, describe, is_alive, note, run, wait_for

GOES_ON_S = 3.0
TRIES = 20
numbers = itertools.count()
SLACK_S = 12.0  # of a busy machine; nginx gives a worker up only after 30 s


def turn_holder(service: Service) -> int:
    """The process that holds the lock of the write turn; 0: none."""
    inode = os.stat(f"{service.data}/predictions.db-turn").st_ino
    with open("/proc/locks") as file:
        for line in file:
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                return int(words[4])
    return 0


def stop_holder(service: Service, pid: int) -> bool:
    """Stops the worker, and again until it holds the turn while it is stopped."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        os.kill(pid, signal.SIGSTOP)
        if wait_for(lambda: open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "T", 0.1, 0.0005):
            if turn_holder(service) == pid:
                return True
        os.kill(pid, signal.SIGCONT)
        time.sleep(random.uniform(0.001, 0.01))
    return False


def stop_once(check: Check, service: Service, load: Load, holding: bool) -> None:
    what = "while it holds the turn" if holding else "at some moment"
    service.all_serve()
    time.sleep(random.uniform(0.5, 1.0))
    instance, pid = random.choice(list(service.workers().items()))
    failed = len(load.failed)
    if holding:
        if not check(stop_holder(service, pid), f"a worker was stopped {what}"):
            return
    else:
        os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    replaced = wait_for(lambda: not is_alive(pid) and service.workers().get(instance, pid) != pid, 60)
    seconds = time.monotonic() - stopped
    check(replaced, f"stopped {what}: it is replaced", f"after {seconds:.1f} s")
    time.sleep(0.5)
    silence = load.longest_silence(stopped - 0.2, time.monotonic())
    check(silence <= GOES_ON_S + SLACK_S, f"stopped {what}: the service goes on", f"after {silence:.1f} s at the longest")
    check(len(load.failed) == failed, f"stopped {what}: no request fails", describe(load.failed[failed:]))
    if is_alive(pid):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


@contextlib.contextmanager
def command_with_turn(service: Service):
    """A command that has the turn for 50 ms at the least: another program has the database locked."""
    other = subprocess.Popen(["sqlite3", f"{service.data}/predictions.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    other.stdin.write(".timeout 60000\nPRAGMA wal_autocheckpoint=0;\nBEGIN EXCLUSIVE;\n.print locked\n")
    other.stdin.flush()
    while other.stdout.readline().strip() != "locked":
        pass
    # A process group of its own in this session, as a shell makes it: only so does SIGTSTP stop it.
    command = subprocess.Popen([service.binary, "key", "create", "--name", f"stopped-{next(numbers)}"], cwd=service.folder, env=service.settings,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)  # fmt: skip
    try:
        wait_for(lambda: turn_holder(service) == command.pid or not is_alive(command.pid), 30, 0.0005)
        yield command.pid, other
    finally:
        os.kill(command.pid, signal.SIGCONT)
        command.wait(90)
        other.communicate(timeout=60)


def free(other: subprocess.Popen) -> None:
    other.stdin.write("ROLLBACK;\n.quit\n")
    other.stdin.flush()
    other.wait(60)


def stop_command(check: Check, service: Service, stop: signal.Signals, what: str, look) -> None:
    """A command has the turn for moments: one that had given it back when the signal came is not what is looked for."""
    for _ in range(TRIES):
        with command_with_turn(service) as (pid, other):
            os.kill(pid, stop)
            if stop == signal.SIGSTOP:
                wait_for(lambda: state_of(pid) == "T", 30, 0.0005)
            if turn_holder(service) == pid:
                check(True, f"{what}: it has it then")
                look(check, service, what, pid, other)
                return
            free(other)
    check(False, f"{what}: it has it then")


def ctrl_z(check: Check, service: Service, what: str, pid: int, other: subprocess.Popen) -> None:
    stopped = wait_for(lambda: state_of(pid) == "T", 60, 0.0005)
    check(stopped and turn_holder(service) != pid, f"{what}: stops it when it has given the turn back")
    free(other)
    answer = service.predict(2e9)
    check(answer.status == 201, f"{what}: writes go on", f"{answer.status} after {answer.seconds:.1f} s")


def sigstop(check: Check, service: Service, what: str, pid: int, other: subprocess.Popen) -> None:
    free(other)
    answer = service.predict(3e9)
    check(answer.status == 503 and "retry-after" in answer.headers, f"{what}: writes are refused", f"{answer.status} after {answer.seconds:.1f} s")
    read = service.get("/predictions?limit=1")
    check(read.status == 200, f"{what}: reading goes on", read.status)
    named = wait_for(lambda: f"because process {pid} keeps the turn" in service.log(), 60)
    check(named, f"{what}: the log names it", pid)
    os.kill(pid, signal.SIGCONT)
    answer = service.predict(4e9)
    check(answer.status == 201, f"{what}: continued, all is well", f"{answer.status} after {answer.seconds:.1f} s")


def main(check: Check) -> None:
    service = Service(instances=2).start()
    rounds = max(1, round(SECONDS / 20))
    with Load(service) as load:
        for _ in range(rounds):
            stop_once(check, service, load, holding=False)
            stop_once(check, service, load, holding=True)
    note(f"{2 * rounds} stops: {load.summary()}")
    compare(check, service, load)
    stop_command(check, service, signal.SIGTSTP, "Ctrl-Z of a command that has the turn", ctrl_z)
    stop_command(check, service, signal.SIGSTOP, "SIGSTOP of a command that has the turn", sigstop)
    wait_for(lambda: service.metric("appcore_workers_killed_total") >= 2 * rounds, 60)
    check(service.metric("appcore_workers_killed_total") >= 2 * rounds, "they are counted", service.metric("appcore_workers_killed_total"))


if __name__ == "__main__":
    run(main)
