#!/usr/bin/python3
"""A request that crashes its worker (build/faults): that client gets 500, everybody else is served, and one request
takes one worker with it, not the pool."""
import json
import os
import subprocess
import time

from harness import HOME, SECONDS, Check, Load, Service, compare, describe, headers_of, note, request, run, wait_for

CRASH = json.dumps({"features": [-1234567890.5]}).encode()


def main(check: Check) -> None:
    if not os.access(f"{HOME}/build/faults/appcore", os.X_OK):
        subprocess.run(["make", "-s", "VARIANT=faults", "all"], cwd=HOME, check=True, stdout=subprocess.DEVNULL)
    service = Service(instances=2, variant="faults").start()
    crashes = max(3, round(SECONDS / 10))
    answers = []
    with Load(service) as load:
        for n in range(crashes):
            time.sleep(1.2)
            service.all_serve()
            path = "/api/v1/predict" if n % 2 else "/predict"
            headers = {**headers_of(service.key), **({"Idempotency-Key": f"crash-{n}"} if n % 3 == 2 else {})}
            answers.append(request(service.direct, "POST", path, CRASH, headers))
        time.sleep(1)
    note(f"{crashes} crashes: {load.summary()}")
    bad = [a for a in answers if a.status != 500 or a.body != b'{"detail":"Internal Server Error"}']
    check(not bad, "whoever sends it gets 500", [(a.status, a.body) for a in bad] if bad else "")
    check(not load.failed, "everybody else is served", describe(load.failed))
    compare(check, service, load)
    check(not [row for row in service.stored().values() if row.features == "[-1234567890.5]"], "nothing is stored of it")
    wait_for(lambda: service.log().count(" ended with code ") >= crashes, 60)
    deaths = service.log().count(" ended with code ")
    check(deaths == crashes, "each took one worker with it, not two", f"{deaths} of {crashes}")
    check(wait_for(lambda: len(service.workers()) == 2, 60), "the pool is whole")
    wait_for(lambda: service.metric("appcore_worker_crashes_total") >= crashes, 60)
    check(service.metric("appcore_worker_crashes_total") == crashes, "they are counted", service.metric("appcore_worker_crashes_total"))
    check(wait_for(lambda: "crashed a worker and is not tried again" in service.log(), 60), "and logged")


if __name__ == "__main__":
    run(main)
