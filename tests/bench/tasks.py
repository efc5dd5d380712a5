#!/usr/bin/python3
"""Background tasks: appcore on SQLite and Celery on Redis, from the first task added to the last result stored.

Usage: tasks.py DRIVER APPCORE [--gate] [--postgres]     (build/release/tests/bench/tasks, build/release/appcore)

Both get the same task (hand a small object back), keep every result, and have one worker with as many threads or
processes as there are processors. Appcore's tasks are on the disk before they are acknowledged; Celery's are in the
memory of a Redis that does not write (its best case). --gate: less than ten times Celery is an error. --postgres: appcore
on PostgreSQL as well, a server of its own.
"""
import gc
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

APPCORE_TASKS, CELERY_TASKS, GOAL = 100000, 3000, 10
CPUS = os.cpu_count() or 1
SERVER = Path(__file__).resolve().parents[1] / "servers/postgres.sh"

CELERY_APP = """
import celery
app = celery.Celery("bench", broker="redis://127.0.0.1:{port}/0", backend="redis://127.0.0.1:{port}/1")
app.conf.worker_prefetch_multiplier = 64

@app.task
def echo(payload):
    return payload
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit("redis-server does not start")


def stop(process):
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_appcore(driver, appcore, folder, url):
    for name in ("db", "run", "data"):
        (folder / name).mkdir(parents=True)
    env = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": url,
        "RUN_DIR": f"{folder}/run",
        "DATA_DIR": f"{folder}/data",
        "API_KEY": "ak_" + secrets.token_urlsafe(32),
        "SECRET_KEY": secrets.token_urlsafe(32),
        "INSTANCE_ID": "WORKER-1",
        "TASK_THREADS": str(CPUS),
        "LOG_FILE": f"{folder}/log",
    }
    subprocess.run([appcore, "migrate", "up"], env=env, check=True, capture_output=True)
    worker = subprocess.Popen([appcore, "work"], env=env, cwd=folder)
    try:
        time.sleep(1)
        out = subprocess.run([driver, str(APPCORE_TASKS)], env=env, check=True, capture_output=True, text=True).stdout
    finally:
        stop(worker)
    return {name: float(value) for name, value in (line.split() for line in out.splitlines())}


def run_postgres(driver, appcore, folder):
    home = str(folder / "postgres")

    def server(*command):
        return subprocess.run([SERVER, command[0], home, *command[1:]], check=True, capture_output=True, text=True).stdout.strip()

    server("start", "--until", str(os.getpid()))
    try:
        server("createdb", "tasks")
        return run_appcore(driver, appcore, folder / "on-postgres", server("url", "tasks"))
    finally:
        server("remove")


def run_celery(folder):
    port = free_port()
    (folder / "celery_bench.py").write_text(CELERY_APP.format(port=port))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    redis = subprocess.Popen(["redis-server", "--port", str(port), "--save", "", "--dir", str(folder)], **quiet)
    worker = None
    try:
        wait_for_port(port)
        command = [sys.executable, "-m", "celery", "-A", "celery_bench", "worker", "-c", str(CPUS), "--loglevel=ERROR"]
        worker = subprocess.Popen(command, cwd=folder, **quiet)
        sys.path.insert(0, str(folder))
        import celery_bench  # noqa: E402

        celery_bench.echo.delay({"n": 0}).get(timeout=60)
        start = time.perf_counter()
        results = [celery_bench.echo.delay({"n": 12345}) for _ in range(CELERY_TASKS)]
        added = time.perf_counter() - start
        for result in results:
            result.get(timeout=300)
        taken = time.perf_counter() - start
        results = result = None
        singles = []
        for _ in range(50):
            begun = time.perf_counter()
            celery_bench.echo.delay({"n": 12345}).get(timeout=60)
            singles.append(time.perf_counter() - begun)
    finally:
        gc.collect()  # results say goodbye to Redis, which must still be there
        if worker:
            stop(worker)
        stop(redis)
    singles.sort()
    return {
        "added_per_s": CELERY_TASKS / added,
        "completed_per_s": CELERY_TASKS / taken,
        "single_ms_median": singles[25] * 1000,
        "single_ms_p99": singles[-1] * 1000,
    }


def main():
    driver, appcore = (os.path.abspath(path) for path in sys.argv[1:3])
    folder = Path(tempfile.mkdtemp(prefix="appcore-bench-", dir=os.environ.get("BENCH_DIR")))
    try:
        here = folder / "on-sqlite"
        ours, theirs = run_appcore(driver, appcore, here, f"sqlite:///{here}/db/tasks.db"), run_celery(folder)
        shared = run_postgres(driver, appcore, folder) if "--postgres" in sys.argv else {}
    finally:
        shutil.rmtree(folder)
    print(f"{'':24}{'appcore':>12}{'Celery':>12}{'ratio':>9}" + (f"{'PostgreSQL':>14}{'ratio':>9}" if shared else ""))
    for name in ours:

        def ratio_of(mine):
            return theirs[name] / mine[name] if name.startswith("single") else mine[name] / theirs[name]

        line = f"{name:24}{ours[name]:12.2f}{theirs[name]:12.2f}{ratio_of(ours):9.1f}"
        print(line + (f"{shared[name]:14.2f}{ratio_of(shared):9.1f}" if shared else ""))
    ratio = ours["completed_per_s"] / theirs["completed_per_s"]
    if "--gate" in sys.argv and ratio < GOAL:
        print(f"completed: {ratio:.1f} times Celery, the goal is {GOAL}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
