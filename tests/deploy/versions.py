"""Packages of several versions of appcore, each made of one that is there: with further migrations, with a fault, of another
machine. The program is linked anew from the objects of the release build; all else stays as it is in the package."""
import os
import re
import shutil
import subprocess
from typing import Dict, List, Optional

from container import HOME

MIGRATIONS = os.path.join(HOME, "lib", "store", "migrations")
# A fault of `appcore serve` alone: all other subcommands work.
SERVE_ONLY = """#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int serves(void)
{
	char words[4096] = {0};
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, words, sizeof(words) - 1);
	if (fd >= 0)
		close(fd);
	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(words + i) + 1)
		if (strcmp(words + i, "serve") == 0)
			return 1;
	return 0;
}
"""
FAULTS = {
    # Ends before it serves, as with a library that it cannot use.
    "start": 'static const char words[] = "appcore serve: it is broken.\\n";\n'
             "__attribute__((constructor)) static void fault(void)\n"
             "{ if (serves()) { (void)!write(2, words, sizeof(words) - 1); _exit(111); } }\n",
    # Never says that it serves.
    "hangs": "__attribute__((constructor)) static void fault(void) { if (serves()) for (;;) pause(); }\n",
    # Serves, and dies of it.
    "dies": "static void *later(void *arg) { usleep(700000); abort(); return arg; }\n"
            "__attribute__((constructor)) static void fault(void)\n"
            "{ pthread_t t; if (serves()) pthread_create(&t, NULL, later, NULL); }\n",
}  # fmt: skip


def must(command: List[str], **options: object) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)[:200]}: {done.stdout.strip()[-600:]}")
    return done.stdout


def makefile_says(variables: str) -> List[str]:
    rule = f"say:\n\t@echo {variables}\n"
    done = subprocess.run(["make", "-s", "-C", HOME, "-f", "Makefile", "-f", "-", "say"], input=rule, stdout=subprocess.PIPE, text=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError("the Makefile does not say what appcore is linked from")
    return done.stdout.split()


class Versions:
    def __init__(self, base: str, folder: str):
        """base: the package that all others are made of."""
        self.base, self.folder = base, folder
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.tree = os.path.join(folder, "tree")
        must(["dpkg-deb", "-R", base, self.tree])
        release = re.search(r"~deb\d+$", must(["dpkg-deb", "-f", base, "Version"]).strip())
        self.suffix = release.group() if release else ""

    def link(self, migrations: Dict[str, str], fault: Optional[str]) -> str:
        """The program with further migrations, NNNN_name.up.sql and the like, and a fault."""
        place = os.path.join(self.folder, "link")
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(MIGRATIONS, f"{place}/migrations")
        for name, text in migrations.items():
            with open(f"{place}/migrations/{name}", "w") as file:
                file.write(text)
        with open(f"{place}/migrations.c", "w") as file:
            file.write(must([f"{HOME}/scripts/embed_migrations.sh", f"{place}/migrations"]))
        with open(f"{place}/fault.c", "w") as file:
            file.write(SERVE_ONLY + FAULTS[fault] if fault else "typedef int nothing;\n")
        compiler, flags = makefile_says("$(CC)"), makefile_says("$(CPPFLAGS) $(CFLAGS)")
        for name in ("migrations", "fault"):
            must([*compiler, *flags, "-w", "-c", "-o", f"{place}/{name}.o", f"{place}/{name}.c"], cwd=HOME)
        program = f"{place}/appcore"
        must([*compiler, *makefile_says("$(LDFLAGS)"), "-o", program, *makefile_says("$(APP_O)"), f"{place}/migrations.o", f"{place}/fault.o",
              *makefile_says("$(OUT)/libappcore.a $(LDLIBS)")], cwd=HOME)  # fmt: skip
        must(["strip", program])
        return program

    def make(self, version: str, migrations: Optional[Dict[str, str]] = None, fault: Optional[str] = None, suffix: Optional[str] = None,
             **fields: str) -> str:  # fmt: skip
        """A package of that version; fields of its control file may be others: Architecture="riscv64"."""
        shutil.copyfile(self.link(migrations or {}, fault), f"{self.tree}/usr/bin/appcore")
        version += self.suffix if suffix is None else suffix
        with open(f"{self.tree}/DEBIAN/control") as file:
            before = file.read()
        text = before
        for name, value in {"Version": version, **fields}.items():
            text = re.sub(rf"(?m)^{name}:.*", f"{name}: {value}", text)
        target = f"{self.folder}/appcore_{version}_{fields.get('Architecture', 'this')}.deb"
        try:
            with open(f"{self.tree}/DEBIAN/control", "w") as file:
                file.write(text)
            must(["dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "-b", self.tree, target])
        finally:
            with open(f"{self.tree}/DEBIAN/control", "w") as file:
                file.write(before)
        return target
