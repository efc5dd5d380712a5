#!/usr/bin/python3
"""The network between the workers and PostgreSQL is cut and comes back: the server is in a network namespace of its own, at
the other end of a link whose end there goes down. Nothing is refused, packets vanish. Wants root."""
import os
import random
import subprocess

from harness import Check, Skip, at_end, run

from postgres import Postgres, outage, service_on


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise Skip(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def main(check: Check) -> None:
    if os.geteuid() != 0:
        raise Skip("only root may make network namespaces")
    name, subnet = f"appcore{os.getpid()}", f"10.{random.randrange(100, 255)}.{random.randrange(255)}"
    near, far = f"ac{os.getpid()}a"[-15:], f"ac{os.getpid()}b"[-15:]
    at_end.append(lambda: subprocess.run(["ip", "netns", "del", name], capture_output=True))
    ip("netns", "add", name)
    ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
    ip("addr", "add", f"{subnet}.1/30", "dev", near)
    ip("link", "set", near, "up")
    ip("-n", name, "addr", "add", f"{subnet}.2/30", "dev", far)
    ip("-n", name, "link", "set", far, "up")
    ip("-n", name, "link", "set", "lo", "up")
    server = Postgres("--listen", f"{subnet}.2", "--host", f"{subnet}.2", prefix=["ip", "netns", "exec", name])
    service = service_on(server)
    outage(check, "cut", service, lambda: ip("-n", name, "link", "set", far, "down"),
           lambda: ip("-n", name, "link", "set", far, "up"), seconds=15, recovery_s=15)  # fmt: skip
    outage(check, "cut for a moment", service, lambda: ip("-n", name, "link", "set", far, "down"),
           lambda: ip("-n", name, "link", "set", far, "up"), seconds=1, refuses=False, recovery_s=15)  # fmt: skip


if __name__ == "__main__":
    run(main)
