#!/usr/bin/env python3
"""Runs the examples of a document: what stands behind "$ " in blocks ```console, in one shell, in their order.

    examples.py DOCUMENT.md

What an example prints has to be what stands below it; "…" in it stands for anything within a line. One line for each:
"ok COMMAND" or "FAIL COMMAND: WHY". The shell ends with the first that fails to run in time.
"""
import re
import subprocess
import sys

MARK = "\x1eexample\x1e"
SECONDS = 300


def examples(text):
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        command, wanted = None, []
        for line in block.splitlines():
            if line.startswith("$ "):
                if command is not None:
                    yield command, wanted
                command, wanted = line[2:], []
            else:
                wanted.append(line)
        if command is not None:
            yield command, wanted


def fits(wanted, got):
    pattern = "\n".join(".*".join(re.escape(part) for part in line.split("…")) for line in wanted)
    return re.fullmatch(pattern, got) is not None


def main(path):
    with open(path, encoding="utf-8") as file:
        found = list(examples(file.read()))
    assert fits(["a…c"], "abc") and not fits(["a…c"], "abd") and not fits(["a"], "a\nb")
    if not found:
        print("FAIL there are no examples")
        return 1
    script = "".join(f"{command}\nprintf '{MARK}'\n" for command, _ in found)
    try:
        done = subprocess.run(["bash", "-s"], input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=SECONDS, check=False).stdout
    except subprocess.TimeoutExpired as expired:
        done = (expired.stdout or b"").decode("utf-8", "replace")
    outputs = done.split(MARK)
    bad = 0
    for i, (command, wanted) in enumerate(found):
        got = outputs[i].replace("\r\n", "\n").rstrip("\n") if i < len(outputs) - 1 else None
        name = command if len(command) < 100 else command[:97] + "..."
        if got is not None and fits(wanted, got):
            print(f"ok {name}")
        else:
            bad += 1
            print(f"FAIL {name}: " + ("it did not end" if got is None else f"it printed {got[:400]!r}"))
    return bad > 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
