#!/usr/bin/python3
"""Terraform without a network: formatting, modules and their tests, the files that each environment writes, the service
started with them, user data as cloud-init reads it, the first boot with stand-ins for a machine's programs, two applies at
once against a store with locks.

hashicorp/local comes from a registry. With TERRAFORM_PROVIDERS=registry (or a folder that mirrors it) it writes the files,
without it a stand-in does (tests/deploy/terraform/files)."""
import contextlib
import hashlib
import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from object_store import object_store

HOME = Path(__file__).resolve().parents[2]
HERE = HOME / "tests" / "deploy"
API_KEY = "terraform-test-key-0123456789"
SECRET_KEY = "terraform-test-secret-0123456789-abcdefghijklm"
LIMIT_S = 300.0
passed = failed = 0


class Skip(Exception):
    """This machine can't do it."""


def check(what: str, good: bool, detail: object = "") -> None:
    global passed, failed
    if good:
        passed += 1
        print(f"ok   {what}")
    else:
        failed += 1
        print(f"FAIL {what}: {str(detail).strip()[-1500:]}")


def section(function: Callable[[], None]) -> None:
    try:
        function()
    except Skip as why:
        print(f"skipped: {function.__name__}: {why}")
    except Exception as error:  # noqa: BLE001  one part that breaks is a failure, not the end of the others
        check(function.__name__, False, f"{type(error).__name__}: {error}")
    sys.stdout.flush()


def call(command: List[str], folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S)  # fmt: skip


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody has."""
    for first in range(21000 + os.getpid() % 5000, 32000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                return first
            except OSError:
                continue
    raise RuntimeError("no free ports")


class Copy:
    """terraform/ in a folder of its own: nothing is left in the sources."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder) / "terraform"
        shutil.copytree(HOME / "terraform", self.folder, ignore=shutil.ignore_patterns(".terraform", "generated", "*.tfstate*"))
        self.providers = os.environ.get("TERRAFORM_PROVIDERS", "")
        if not self.providers:
            for name in ("main.tf", "outputs.tf"):
                shutil.copy(HERE / "terraform" / "files" / name, self.folder / "modules" / "files" / name)
            (self.folder / "versions.tf").unlink()
        # The state of the roots stays here, too.
        for root in (self.folder / "environments").iterdir():
            (root / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        self.environment = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0",
                            "TF_PLUGIN_CACHE_DIR": ""}  # fmt: skip
        if self.providers != "registry":
            self.environment["TF_CLI_CONFIG_FILE"] = "/dev/null"

    def run(self, *arguments: str, root: str = ".", **variables: Any) -> "subprocess.CompletedProcess[str]":
        given = {f"TF_VAR_{name}": value if isinstance(value, str) else json.dumps(value) for name, value in variables.items()}
        return call(["terraform", *arguments], self.folder / root, **self.environment, **given)

    def init(self, root: str = ".") -> None:
        mirror = [f"-plugin-dir={self.providers}"] if self.providers not in ("", "registry") else []
        done = self.run("init", "-no-color", *mirror, root=root)
        if done.returncode != 0:
            raise RuntimeError(done.stdout)

    def apply(self, root: str = ".", **variables: Any) -> Dict[str, Any]:
        done = self.run("apply", "-no-color", "-auto-approve", root=root, **variables)
        if done.returncode != 0:
            raise RuntimeError(done.stdout)
        if API_KEY in done.stdout or SECRET_KEY in done.stdout:
            raise RuntimeError("apply shows a credential")
        outputs = json.loads(self.run("output", "-json", root=root).stdout)
        return {name: output["value"] for name, output in outputs.items()}


def mode_of(path: str) -> str:
    return oct(stat.S_IMODE(os.stat(path).st_mode))


def read(path: str) -> str:
    return Path(path).read_text()


def formatting() -> None:
    done = call(["terraform", "fmt", "-check", "-recursive", "-diff", "terraform"], HOME, CHECKPOINT_DISABLE="1", TF_CLI_CONFIG_FILE="/dev/null")
    check("terraform fmt has nothing to change", done.returncode == 0, done.stdout)


def modules() -> None:
    with tempfile.TemporaryDirectory(prefix="appcore-terraform.") as folder:
        copy = Copy(folder)
        for name in ("environment", "vm"):
            root = f"modules/{name}"
            copy.init(root)
            done = copy.run("validate", "-no-color", root=root)
            check(f"module {name} is valid", done.returncode == 0, done.stdout)
            done = copy.run("test", "-no-color", root=root)
            check(f"module {name} passes its tests: {done.stdout.strip().splitlines()[-1] if done.stdout.strip() else 'silent'}",
                  done.returncode == 0 and " 0 failed" in done.stdout, done.stdout)  # fmt: skip


def files() -> None:
    """(A-137 to A-141)"""
    with tempfile.TemporaryDirectory(prefix="appcore-terraform.") as folder:
        copy = Copy(folder)
        copy.init()
        for environment, level in (("staging", "INFO"), ("production", "WARNING")):
            target = f"{folder}/out-{environment}"
            given = {"environment": environment, "app_port": 8000, "output_directory": target,
                     "credentials": {"api_key": API_KEY, "secret_key": SECRET_KEY}}  # fmt: skip
            outputs = copy.apply(**given)
            env = f"{target}/.env.{environment}"
            check(f".env.{environment} is what env_file names, mode 0600", outputs["env_file"] == env and mode_of(env) == "0o600", outputs)
            want = ["APP_NAME=practical-production-service", f"ENVIRONMENT={environment}", "APP_PORT=8000", f"LOG_LEVEL={level}"]
            check(f".env.{environment} has the four lines", read(env).splitlines()[1:5] == want, read(env))
            check(f"{environment}: no secret stands in the settings", API_KEY not in read(env) and SECRET_KEY not in read(env))
            names = outputs["credential_files"]
            check(f"{environment}: credentials have mode 0600 in a folder of 0700",
                  sorted(names) == ["api_key", "secret_key"] and all(mode_of(path) == "0o600" for path in names.values())
                  and mode_of(os.path.dirname(names["api_key"])) == "0o700" and read(names["api_key"]) == API_KEY, names)  # fmt: skip
            compose = outputs["compose_file"]
            check(f"{environment}: docker-compose.generated.yml is there", os.path.basename(compose) == "docker-compose.generated.yml" and API_KEY not in read(compose), compose)
            done = copy.run("plan", "-no-color", "-detailed-exitcode", **given)
            check(f"{environment}: a second apply would change nothing", done.returncode == 0, done.stdout)
            if shutil.which("python3"):
                compose_is_one(environment, compose, names)


def compose_is_one(environment: str, path: str, names: Dict[str, str]) -> None:
    try:
        import yaml
    except ImportError:
        return
    document = yaml.safe_load(read(path))
    services, secrets = document["services"], document["secrets"]
    instance = services["sentiment_api2"]
    check(f"{environment}: the compose file gives instances and worker the image, the settings and the secrets",
          {"sentiment_api1", "sentiment_celery_worker", "sentiment_nginx"} <= set(services) and {name: secret["file"] for name, secret in secrets.items()} == names
          and instance["environment"]["ENVIRONMENT"] == environment and "HTTPS_PORT" not in instance["environment"] and instance["image"] == "appcore:unreleased", document)  # fmt: skip
    base = HOME / "docker-compose.yml"
    if base.exists() and shutil.which("docker-compose"):
        env = os.path.join(os.path.dirname(path), f".env.{environment}")
        done = call(["docker-compose", "--env-file", env, "-f", str(base), "-f", path, "config"], HOME, REVISION="0" * 40)
        check(f"{environment}: compose takes it over the repository's own", done.returncode == 0 and names["api_key"] in done.stdout and "appcore:unreleased" in done.stdout, done.stdout)


def refusals() -> None:
    with tempfile.TemporaryDirectory(prefix="appcore-terraform.") as folder:
        copy = Copy(folder)
        copy.init()
        for what, given, words in (
            ("an environment that is none", {"environment": "prod"}, "environment is development, staging or production"),
            ("a port that is none", {"app_port": 70000}, "from 1 to 65535"),
            ("a secret that is too short", {"credentials": {"secret_key": "short"}}, "openssl rand -base64 48"),
            ("an image called latest", {"image": "appcore:latest"}, "latest says neither"),
            ("a checksum that is none", {"package_sha256": "12", "package_path": "/a.deb"}, "64 hexadecimal"),
            ("a package from nowhere", {"package_sha256": "0" * 64}, "Give package_url or package_path"),
        ):
            done = copy.run("plan", "-no-color", **given)
            check(f"{what} is refused in one sentence", done.returncode == 1 and words in " ".join(done.stdout.replace("│", " ").split()), done.stdout)


def environments() -> None:
    """Each root; the settings of staging start the service."""
    with tempfile.TemporaryDirectory(prefix="appcore-terraform.") as folder:
        copy = Copy(folder)
        for name, environment in (("dev", "development"), ("staging", "staging"), ("production", "production")):
            root = f"environments/{name}"
            copy.init(root)
            done = copy.run("validate", "-no-color", root=root)
            check(f"{root} is valid", done.returncode == 0, done.stdout)
            outputs = copy.apply(root, package_url="https://packages.example/appcore.deb", package_sha256="0" * 64,
                                 credentials={"api_key": API_KEY, "secret_key": SECRET_KEY}, secret_command="store read appcore/$NAME",
                                 data_device="/dev/disk/by-id/data")  # fmt: skip
            check(f"{root} writes .env.{environment}", outputs["env_file"].endswith(f"/{root}/generated/.env.{environment}") and os.path.exists(outputs["env_file"]), outputs)
            tags = outputs["tags"]
            check(f"{root} has the tags of all",
                  tags["environment"] == environment and tags["managed-by"] == "terraform" and sorted(tags) == ["application", "cost-centre", "data-class", "environment", "managed-by"], tags)  # fmt: skip
            data = outputs["user_data"]
            check(f"{root}: no secret stands in the user data", API_KEY not in data and SECRET_KEY not in data and "_FILE=" not in data)
            cloud_init(root, data, Path(folder))


def cloud_init_program() -> Optional[List[str]]:
    """The one of this machine, else Debian's, unpacked: installed, it would set this machine up at its next boot."""
    if shutil.which("cloud-init"):
        return ["cloud-init"]
    place = HOME / "build" / "cloud-init"
    program = place / "usr" / "bin" / "cloud-init"
    if not program.exists() and shutil.which("apt-get"):
        with tempfile.TemporaryDirectory(prefix="appcore-terraform.") as folder:
            os.chmod(folder, 0o755)
            if call(["apt-get", "-q", "download", "cloud-init"], Path(folder)).returncode == 0:
                for package in Path(folder).glob("cloud-init_*.deb"):
                    call(["dpkg-deb", "-x", str(package), f"{place}.new"], Path(folder))
                    shutil.rmtree(place, ignore_errors=True)
                    os.replace(f"{place}.new", place)
    if not program.exists():
        return None
    return ["env", f"PYTHONPATH={place}/usr/lib/python3/dist-packages", "/usr/bin/python3", "-B", "-m", "cloudinit.cmd.main"]


def cloud_init(root: str, data: str, folder: Path) -> None:
    path = folder / "user-data"
    path.write_text(data)
    program = cloud_init_program()
    if not program:
        print("skipped: Debian's cloud-init can't be had: the user data is not checked against its schema")
        return
    done = call([*program, "schema", "--config-file", str(path)], folder)
    check(f"{root}: cloud-init takes the user data", done.returncode == 0 and "Valid" in done.stdout, done.stdout)
    path.write_text(data.replace("runcmd", "runcmds", 1).replace("disable_root\": true", "disable_root\": 5", 1))
    done = call([*program, "schema", "--config-file", str(path)], folder)
    check(f"{root}: and refuses it when it is broken", done.returncode != 0, done.stdout)


def service() -> None:
    binary = HOME / "build" / "release" / "appcore"
    if not binary.exists():
        raise Skip("the program is not built: make")
    if not shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"):
        raise Skip("nginx is not installed: make deps")
    with tempfile.TemporaryDirectory(prefix="appcore-terraform.") as folder:
        copy = Copy(folder)
        copy.init()
        first = free_ports(6)
        outputs = copy.apply(environment="production", app_port=first, https_port=first + 3, http_port=first + 4, workers=0, output_directory=f"{folder}/out",
                             credentials={"api_key": API_KEY, "secret_key": SECRET_KEY})  # fmt: skip
        home = Path(folder) / "service"
        home.mkdir()
        shutil.copy(outputs["env_file"], home / ".env")
        environment = {name: value for name, value in os.environ.items() if name not in ("API_KEY", "SECRET_KEY", "ENVIRONMENT")}
        os.environ.clear()
        os.environ.update(environment)
        done = call([str(HOME / "scripts" / "service.sh"), "start"], home, PIPELINES_DIR=str(HOME / "pipelines"))
        try:
            check("the service starts with the settings that Terraform wrote", done.returncode == 0, done.stdout)
            if done.returncode == 0:
                ask(first + 3)
        finally:
            done = call([str(HOME / "scripts" / "service.sh"), "stop"], home)
            check("and stops", done.returncode == 0, done.stdout)


def ask(port: int) -> None:
    context = ssl._create_unverified_context()
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/health", context=context, timeout=60) as answer:
        check("it is healthy", answer.status == 200)
    request = urllib.request.Request(f"https://127.0.0.1:{port}/predict", b'{"features":[1.0,2.0]}', {"Content-Type": "application/json", "X-API-Key": API_KEY})
    with urllib.request.urlopen(request, context=context, timeout=60) as answer:
        check("it predicts for the key of the credentials", answer.status == 201)
    request.add_header("X-API-Key", "another-key-0123456789")
    try:
        status = urllib.request.urlopen(request, context=context, timeout=60).status
    except urllib.error.HTTPError as error:
        status = error.code
    check("and for no other", status in (401, 403), status)


def locks() -> None:
    """The state in a store: backend.hcl as it is, and two at once."""
    with tempfile.TemporaryDirectory(prefix="appcore-terraform.") as folder, object_store() as store:
        copy = Copy(folder)
        root = copy.folder / "environments" / "staging"
        (root / "backend_override.tf").unlink()
        copy.environment.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_EC2_METADATA_DISABLED="true",
                                AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{store.server_port}", AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null")  # fmt: skip
        mirror = [f"-plugin-dir={copy.providers}"] if copy.providers not in ("", "registry") else []
        done = copy.run("init", "-no-color", "-backend-config=backend.hcl", "-backend-config=bucket=state", "-backend-config=use_path_style=true",
                        "-backend-config=skip_credentials_validation=true", "-backend-config=skip_requesting_account_id=true",
                        "-backend-config=skip_s3_checksum=true", *mirror, root="environments/staging")  # fmt: skip
        check("the backend takes backend.hcl and a bucket", done.returncode == 0, done.stdout)
        state, lock = "/state/appcore/staging/terraform.tfstate", "/state/appcore/staging/terraform.tfstate.tflock"
        copy.apply("environments/staging")
        check("the state lies in the store, and nowhere else", state in store.objects and not list(root.glob("*.tfstate")), list(store.objects))
        check("the lock is gone after it", lock not in store.objects, list(store.objects))
        store.objects[lock] = json.dumps({"ID": "1", "Operation": "OperationTypeApply", "Who": "somebody@else"}).encode()
        done = copy.run("apply", "-no-color", "-auto-approve", root="environments/staging")
        check("a second apply is refused and told who is at it", done.returncode == 1 and "somebody@else" in done.stdout, done.stdout)


class Machine:
    """A folder that looks like a machine, and stand-ins for what changes one; they note how they were called."""

    def __init__(self, folder: str) -> None:
        self.root = Path(folder)
        self.package = self.root / "appcore.deb"
        self.package.write_bytes(b"a package")
        for path in ("etc/appcore", "run", "var/log", "bin", "usr/share/appcore/scripts"):
            (self.root / path).mkdir(parents=True, exist_ok=True)
        (self.root / "etc/appcore/appcore.env").write_text("ENVIRONMENT=staging\n")
        for name in ("apt-get", "systemctl", "chgrp"):
            self.program(f"bin/{name}", f'echo "{name} $*" >>"{self.root}/calls"')
        self.program("usr/share/appcore/scripts/health_check.sh", "exit 0")
        self.program("bin/store", '[ "$1" != missing ] || exit 1\nprintf "secret of %s" "$1"')

    def program(self, path: str, text: str) -> None:
        file = self.root / path
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def boot(self, **parameters: str) -> "subprocess.CompletedProcess[str]":
        (self.root / "calls").write_text("")
        given = {"PACKAGE_URL": "", "PACKAGE_PATH": str(self.package), "PACKAGE_SHA256": hashlib.sha256(b"a package").hexdigest(), "DATA_DEVICE": "",
                 "DATA_DIRECTORY": "/var/lib/appcore", "DATA_FILESYSTEM": "ext4", "SECRET_NAMES": "api_key secret_key", "SECRET_COMMAND": 'store "$NAME"',
                 "HEALTH_URL": "https://localhost", **parameters}  # fmt: skip
        (self.root / "etc/appcore/bootstrap.conf").write_text("".join(f"{name}='{value}'\n" for name, value in given.items()))
        return call(["bash", str(HOME / "terraform/modules/vm/files/bootstrap.sh")], self.root, BOOTSTRAP_ROOT=str(self.root), RETRY_SECONDS="0",
                    DEVICE_SECONDS="0", PATH=f"{self.root}/bin:{os.environ['PATH']}")  # fmt: skip

    def calls(self) -> str:
        return read(str(self.root / "calls"))


def first_boot() -> None:
    with tempfile.TemporaryDirectory(prefix="appcore-terraform.") as folder:
        machine = Machine(folder)
        done = machine.boot()
        key = machine.root / "etc/appcore/credentials/api_key"
        check("a first boot fetches, installs, starts", done.returncode == 0 and "healthy" in done.stdout and "--force-confold" in machine.calls() and "enable appcore.target" in machine.calls(), done.stdout + machine.calls())
        check("secrets are in files of mode 0600 and nowhere else",
              key.read_text() == "secret of api_key\n" and mode_of(str(key)) == "0o600" and mode_of(str(key.parent)) == "0o700"
              and "secret of" not in done.stdout + machine.calls() + read(f"{folder}/var/log/appcore-bootstrap.log"))  # fmt: skip
        check("a second run changes nothing", machine.boot().returncode == 0)
        done = machine.boot(PACKAGE_SHA256="0" * 64)
        check("another package than the one of the checksum is not installed", done.returncode == 1 and "checksum" in done.stdout and "apt-get" not in machine.calls(), done.stdout)
        done = machine.boot(SECRET_NAMES="missing")
        check("a secret that can't be fetched stops it before anything is installed", done.returncode == 1 and "The secret missing could not be fetched" in done.stdout and "apt-get" not in machine.calls(), done.stdout)
        done = machine.boot(DATA_DEVICE="/dev/appcore-none")
        check("a volume that is not there stops it", done.returncode == 1 and "attach the data volume" in done.stdout, done.stdout)
        done = machine.boot(PACKAGE_PATH="/nowhere.deb")
        check("so does a package that is not there", done.returncode == 1 and "There is no package" in done.stdout, done.stdout)
        machine.program("usr/share/appcore/scripts/health_check.sh", "exit 1")
        done = machine.boot()
        check("a service that does not become healthy is told", done.returncode == 1 and "does not become healthy" in done.stdout, done.stdout)


def main() -> int:
    os.environ.pop("TF_CLI_ARGS", None)
    section(first_boot)
    if not shutil.which("terraform"):
        print("skipped: terraform is not installed: its files are not checked beyond the first boot")
    else:
        if not os.environ.get("TERRAFORM_PROVIDERS"):
            print("skipped: hashicorp/local, which a registry has: a stand-in writes the files (TERRAFORM_PROVIDERS=registry for the real one)")
        for part in (formatting, modules, files, refusals, environments, service, locks):
            section(part)
    print(f"terraform: {passed} passed, {failed} failed")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
