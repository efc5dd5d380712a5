#!/usr/bin/python3
"""SIGSTOP of a worker, at random moments and while it holds the turn to write: the service goes on within 3 s, no
request fails, and the stopped worker is replaced."""
import contextlib
import os
import random
import signal
import time

from harness import SECONDS, Check, Load, Service, compare, describe, is_alive, note, run, wait_for

GOES_ON_S = 3.0
SLACK_S = 1.0  # of a busy machine


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
    deadline = time.monotonic() + 10
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
    wait_for(lambda: len(service.workers()) == service.instances, 10)
    time.sleep(random.uniform(0.5, 1.0))
    instance, pid = random.choice(list(service.workers().items()))
    failed = len(load.failed)
    if holding:
        if not check(stop_holder(service, pid), f"a worker was stopped {what}"):
            return
    else:
        os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    replaced = wait_for(lambda: not is_alive(pid) and service.workers().get(instance, pid) != pid, 6)
    seconds = time.monotonic() - stopped
    check(replaced, f"stopped {what}: it is replaced", f"after {seconds:.1f} s")
    time.sleep(0.5)
    silence = load.longest_silence(stopped - 0.2, time.monotonic())
    check(silence <= GOES_ON_S + SLACK_S, f"stopped {what}: the service goes on", f"after {silence:.1f} s at the longest")
    check(len(load.failed) == failed, f"stopped {what}: no request fails", describe(load.failed[failed:]))
    if is_alive(pid):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)


def main(check: Check) -> None:
    service = Service(instances=2).start()
    rounds = max(1, round(SECONDS / 20))
    with Load(service) as load:
        for _ in range(rounds):
            stop_once(check, service, load, holding=False)
            stop_once(check, service, load, holding=True)
    note(f"{2 * rounds} stops: {load.summary()}")
    compare(check, service, load)
    check(service.metric("appcore_workers_killed_total") >= 2 * rounds, "they are counted", service.metric("appcore_workers_killed_total"))


if __name__ == "__main__":
    run(main)
