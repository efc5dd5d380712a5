#!/usr/bin/python3
"""kill -9 of a random worker once a second, for SECONDS (60), under load.

Two instances: no request fails, every acknowledged prediction is stored with the told value, none twice. One instance:
clients that try again with the same Idempotency-Key get exactly one row each."""
import os
import signal

from harness import SECONDS, Check, Load, Service, compare, describe, every, random_worker, note, run


SAME = 10  # so often the first instance is hit before chance decides: its restarts must not become slower


def kill_for(service: Service, seconds: float) -> int:
    kills = 0
    for n in every(1.0, seconds):
        service.all_serve()
        pid = service.workers().get(1) if n < SAME else random_worker(service)
        if pid:
            os.kill(pid, signal.SIGKILL)
            kills += 1
    return kills


def main(check: Check) -> None:
    service = Service(instances=2).start()
    with Load(service) as load:
        kills = kill_for(service, SECONDS)
    note(f"two instances, {kills} kills: {load.summary()}")
    check(kills >= SECONDS * 0.8, "workers were killed", kills)
    check(not load.failed, "two instances: no request fails", describe(load.failed))
    compare(check, service, load)
    note(f"repeated writes that their key caught: {service.metric('appcore_repeated_writes_total'):.0f}")
    service.close()

    service = Service(instances=1).start()
    with Load(service, keyed=True) as load:
        kills = kill_for(service, max(5.0, SECONDS / 3))
    note(f"one instance, {kills} kills: {load.summary()}")
    check(load.retries > 0, "one instance: clients had to try again", load.retries)
    check(not load.failed, "one instance: every client succeeds in the end", describe(load.failed))
    compare(check, service, load)
    stored = service.stored()
    check(len(stored) == len(load.told), "one instance: exactly one row each", f"{len(stored)} rows, {len(load.told)} answers")


if __name__ == "__main__":
    run(main)
