#!/usr/bin/python3
"""Rolling restarts of all instances, and reloads of nginx, under load: no failed request.

A kept connection may be closed by a reload just as the client sends on it: that race is HTTP's own (RFC 9112, section
9.3.1), so reloads are tried with a connection for each request, and with kept ones by clients that try again with their
Idempotency-Key, as they should."""
import time

from harness import SECONDS, Check, Load, Service, compare, describe, note, run


def main(check: Check) -> None:
    service = Service(instances=2).start()
    before = service.workers()
    rounds = max(2, round(SECONDS / 15))
    with Load(service, clients=12) as kept, Load(service, clients=4, keep=False, base=100) as fresh:
        for _ in range(rounds):
            done = service.control("restart")
            if done.returncode != 0:
                check(False, "restart", done.stdout)
            time.sleep(0.3)
    after = service.workers()
    note(f"{rounds} rolling restarts: {kept.summary()}; connections of their own: {fresh.summary()}")
    check(len(after) == 2 and not set(after.values()) & set(before.values()), "all workers are new", after)
    check(not kept.failed, "rolling restarts: no request fails", describe(kept.failed))
    check(not fresh.failed, "nor on fresh connections", describe(fresh.failed))
    compare(check, service, kept, fresh)

    rounds = max(3, round(SECONDS / 10))
    with Load(service, clients=8, keep=False, base=200) as fresh, Load(service, clients=8, keyed=True, base=300) as kept:
        for _ in range(rounds):
            done = service.control("reload")
            if done.returncode != 0:
                check(False, "reload", done.stdout)
            time.sleep(0.5)
    note(f"{rounds} reloads: {fresh.summary()}; kept connections: {kept.summary()}")
    check(not fresh.failed, "reloads of nginx: no request fails", describe(fresh.failed))
    check(not kept.failed, "nor one of clients that try again", describe(kept.failed))
    compare(check, service, fresh, kept)
    check(service.workers() == after, "reloads leave the workers alone")


if __name__ == "__main__":
    run(main)
