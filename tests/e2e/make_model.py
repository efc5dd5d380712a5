"""make_model.py DIRECTORY FACTOR: a linear model of one input, with its manifest and an example."""
import hashlib
import json
import pathlib
import sys


def main() -> int:
    directory, factor = pathlib.Path(sys.argv[1]), float(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": "appcore linear 1", "coefficients": [[factor]], "intercepts": [0.0]})
    manifest = {
        "appcore": 1,
        "kind": "linear",
        "file": "model.json",
        "hash": hashlib.blake2b(text.encode(), digest_size=32).hexdigest(),
        "inputs": [{"name": "x", "type": "number"}],
        "output": {"type": "regression"},
        "examples": [{"input": [2], "result": 2 * factor}],
    }
    (directory / "model.json").write_text(text)
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
