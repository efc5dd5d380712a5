"""The CSV reader against csv-spectrum's cases, and against Python's csv on tables made of the characters that matter.

cases.py DRIVER FOLDER: each case is a line "ok NAME" or "FAIL NAME: WHY"; the exit code says whether all are ok.
"""
import csv
import io
import json
import pathlib
import random
import subprocess
import sys
import tempfile

driver, folder = sys.argv[1], pathlib.Path(sys.argv[2])
passed = failed = 0


def tell(name, wrong):
    global passed, failed
    if wrong:
        failed += 1
        print(f"FAIL {name}: {wrong}")
    else:
        passed += 1
        print(f"ok {name}")


def read(*arguments):
    done = subprocess.run([driver, *map(str, arguments)], capture_output=True, timeout=60)
    if done.returncode != 0:
        raise SystemExit(f"{driver}: {done.stderr.decode()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def spectrum():
    cases = sorted((folder / "csvs").glob("*.csv"))
    for case in cases:
        name = f"csv-spectrum: {case.stem}"
        wanted = json.loads((folder / "json" / f"{case.stem}.json").read_text("utf-8"))
        got = read("auto", case)[0]
        if case.stem == "location_coordinates":  # its JSON is one object, with another telephone number
            wanted = [wanted | {"Contact Phone Number": "2095257564"}]
        tell(name, "" if got == wanted else f"{got} for {wanted}")
    tell("csv-spectrum has its cases", "" if len(cases) >= 12 else f"there are {len(cases)}")


def python(files=300, pieces=120):
    """Rows as csv.reader has them, up to a quote that never closes, which it takes for the rest of the file."""
    words = ['"', '"', '""', ",", ",", "\n", "\r\n", "a", "b c", "\u00e4", "\r\n\n", '"x\r\n"', '","', '"\n"']
    chance = random.Random(20261121)
    with tempfile.TemporaryDirectory() as temp:
        texts = []
        for i in range(files):
            text = "x\n" + "".join(chance.choices(words, k=pieces))
            pathlib.Path(temp, f"{i:04}.csv").write_text(text, "utf-8", newline="")
            texts.append(text)
        answers = read("-", "utf-8", *sorted(pathlib.Path(temp).iterdir()))
    wrong, rows_n = "", 0
    for text, got in zip(texts, answers, strict=True):
        rows = [row[:64] for row in csv.reader(io.StringIO(text, newline="")) if row]
        if "syntax" in got:
            cut = got.index("syntax")
            got, rows = got[:cut], rows[:cut]
        rows_n += len(rows)
        if got != rows and not wrong:
            wrong = f"{got} for {rows} of {text!r}"
    if not wrong and rows_n < files:
        wrong = f"only {rows_n} rows were compared"
    tell(f"{rows_n} rows as Python's csv reads them", wrong)


spectrum()
python()
print(f"csv: {passed} passed, {failed} failed")
sys.exit(failed > 0 or passed == 0)
