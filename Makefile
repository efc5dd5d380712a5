# appcore: `make help` lists the targets. Everything that is built lies in build/<variant>/.

VARIANT ?= release
VERSION := $(shell sed -n 's/.*APPCORE_VERSION  *"\(.*\)"/\1/p' lib/base/version.h)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

CC        ?= gcc
PKGS      := libsodium sqlite3 json-c libpq hiredis zlib libcurl
WARNINGS  := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 \
             -Wundef -Wwrite-strings -Wcast-qual -Wimplicit-fallthrough $(if $(CI),-Werror)
CPPFLAGS  += -D_GNU_SOURCE -Ilib -Ifcgi-app $(shell pkg-config --cflags $(PKGS)) -I$(OUT)/gen -DAPPCORE_COMMIT='"$(COMMIT)"'
CFLAGS    += -std=c17 $(WARNINGS) -fPIE -fstack-protector-strong -pthread
LDFLAGS   += -pie -pthread -Wl,-z,relro,-z,now
LDLIBS    += -lfcgi $(shell pkg-config --libs $(PKGS)) -lunistring -lcrypt -lm

CFLAGS_release  := -O2 -g -D_FORTIFY_SOURCE=3
CFLAGS_asan     := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DAPPCORE_FAULTS
CFLAGS_tsan     := -O1 -g -fsanitize=thread -DAPPCORE_FAULTS
CFLAGS_coverage := -O0 -g --coverage -fprofile-update=atomic -DAPPCORE_FAULTS
CFLAGS_analyzer := -O2 -fanalyzer -Werror
CFLAGS_fuzz     := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_faults   := -O2 -g -D_FORTIFY_SOURCE=3 -DAPPCORE_FAULTS
CFLAGS += $(CFLAGS_$(VARIANT))
LDFLAGS += $(filter -fsanitize% --coverage,$(CFLAGS_$(VARIANT)))

# Debian's packages (12 or 13), with the least version where an older one would not do. "make deps" installs them all.
RUNTIME_PACKAGES := nginx>=1.22.1 spawn-fcgi>=1.6.4 libfcgi0ldbl|libfcgi0t64 libjson-c5>=0.16 libsqlite3-0>=3.40 libpq5>=15 \
                    libsodium23>=1.0.18 libhiredis0.14|libhiredis1.1.0 zlib1g>=1:1.2.13 libcurl4>=7.88|libcurl4t64 \
                    libunistring2|libunistring5 libcrypt1 curl openssl ca-certificates
BUILD_PACKAGES   := gcc make pkg-config|pkgconf git libc6-dev libfcgi-dev>=2.4.2 libjson-c-dev>=0.16 \
                    libsqlite3-dev>=3.40 libpq-dev>=15 libsodium-dev>=1.0.18 \
                    libhiredis-dev>=0.14 libunistring-dev>=1.0 libcrypt-dev zlib1g-dev>=1:1.2.13 libcurl4-openssl-dev>=7.88 \
                    python3 python3-yaml
TEST_PACKAGES    := libcunit1-dev clang libclang-rt-dev clang-format clang-tidy cppcheck shellcheck mandoc gcovr jq sqlite3 wrk \
                    nghttp2-client slowhttptest prometheus python3 python3-fastapi uvicorn iproute2 e2fsprogs systemd-container \
                    redis-server flawfinder debsecan yamllint
# For `make test-postgres` and its faults only: servers that the tests start for themselves.
SERVER_PACKAGES  := postgresql>=15 pgbouncer>=1.18 libfaketime faketime python3-asyncpg
# For `make test-docs` only: a browser, and npm where it did not come with another nodejs.
DOCS_PACKAGES    = chromium chromium-driver python3-selenium python3-jsonschema $(if $(shell command -v npm),,nodejs>=18 npm)
# For `make parity` and `make bench-models` only: the libraries that models are from.
MODEL_PACKAGES   := python3-sklearn python3-xgboost
# For the tests of deployment only: machines that they make and boot themselves.
DEPLOY_PACKAGES  := debhelper lintian mmdebstrap systemd-container qemu-system-x86 qemu-utils e2fsprogs testssl.sh
# For `make test-containers` only: an engine, which the test starts for itself, and what its base image is made with.
CONTAINERS_PACKAGES := docker.io docker-compose docker-cli|docker.io iptables mmdebstrap jq
# For `make bench-tasks` only: what background tasks are compared with.
CELERY_PACKAGES  := python3-celery python3-redis
# For `make bench-data` only: what data pipelines are compared with.
PANDAS_PACKAGES  := python3-pandas
# For `make test-terraform` only: what Debian's cloud-init imports. terraform itself is in no suite: without it, it is skipped.
TERRAFORM_PACKAGES := python3-yaml python3-jsonschema python3-configobj python3-jinja2 python3-oauthlib python3-requests \
                    python3-jsonpatch
# For `make test-monitoring` only: what scrapes the service, and what tells of alerts. None of it is started or enabled here.
MONITORING_PACKAGES := prometheus prometheus-alertmanager python3-yaml
quoted = $(foreach package,$(1),'$(package)')

OUT   := build/$(VARIANT)
LIB_C := $(wildcard lib/*/*.c)
APP_C := $(wildcard fcgi-app/*.c fcgi-app/*/*.c)
LIB_O := $(LIB_C:%.c=$(OUT)/%.o) $(OUT)/gen/migrations.o
APP_O := $(APP_C:%.c=$(OUT)/%.o)
# What nginx serves of itself: the description of the API, and its page.
WEB   := build/web/openapi.json
UNIT  := $(patsubst %.c,$(OUT)/%,$(wildcard tests/unit/test_*.c))
HANDLER := $(patsubst %.c,$(OUT)/%,$(wildcard tests/handlers/test_*.c))

all: $(OUT)/appcore $(WEB) ## build the release binary (VARIANT=asan, tsan, coverage, faults for others)

$(OUT)/appcore: $(APP_O) $(OUT)/libappcore.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(OUT)/libappcore.a: $(LIB_O)
	@rm -f $@
	ar rcs $@ $^

# An old or missing library is one sentence, not a page of errors.
$(OUT)/libraries: scripts/doctor.sh
	@mkdir -p $(@D)
	@scripts/doctor.sh --build && touch $@

$(OUT)/%.o: %.c | $(OUT)/libraries
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# The migrations' SQL becomes a table of C strings.
$(OUT)/gen/migrations.c: scripts/embed_migrations.sh $(wildcard lib/store/migrations/*.sql)
	@mkdir -p $(@D)
	scripts/embed_migrations.sh lib/store/migrations > $@.new && mv $@.new $@

$(OUT)/gen/migrations.o: $(OUT)/gen/migrations.c | $(OUT)/libraries
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(WEB): docs/openapi.yaml scripts/make_openapi.py scripts/make_web.sh $(wildcard docs/ui/*)
	@scripts/make_web.sh

web: ## fetch the viewer of /docs from npm
	@scripts/make_web.sh --viewer

# What all tests share.
UNIT_O := $(addprefix $(OUT)/tests/unit/,unit.o database.o)

$(OUT)/tests/unit/test_%: $(OUT)/tests/unit/test_%.o $(UNIT_O) $(OUT)/libappcore.a
	$(CC) $(LDFLAGS) -o $@ $^ -lcunit $(LDLIBS)

unit: $(UNIT) ## build and run the unit tests (of VARIANT)
	@scripts/run_units.sh $(UNIT)

FCGI_O := $(addprefix %/http/,fcgi.o fcgi_conn.o fcgi_answer.o fcgi_parked.o)
# Handlers are tested in process. That these programs link without libfcgi proves that handlers need no FastCGI.
HANDLER_O := $(filter-out $(FCGI_O),$(filter $(addprefix $(OUT)/fcgi-app/,app.o swap.o middleware.o person.o events% routes.o http/% \
             handlers/%),$(APP_O))) $(OUT)/tests/handlers/harness.o $(UNIT_O)
HANDLER_LIBS = -lcunit $(filter-out -lfcgi,$(LDLIBS))

$(OUT)/tests/handlers/test_%: $(OUT)/tests/handlers/test_%.o $(HANDLER_O) $(OUT)/libappcore.a
	$(CC) $(LDFLAGS) -o $@ $^ $(HANDLER_LIBS)

$(OUT)/tests/handlers/test_openapi: | $(WEB)

handlers: $(HANDLER) $(WEB) ## build and run the tests of the handlers (of VARIANT)
	@scripts/run_units.sh $(HANDLER)

$(OUT)/tests/fuzz/fuzz_%: $(OUT)/tests/fuzz/fuzz_%.o $(HANDLER_O) $(OUT)/libappcore.a
	$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(HANDLER_LIBS)

# Parity with the libraries that models are from: their own answers for every row of their bundled sets.
$(OUT)/tests/parity/%: $(OUT)/tests/parity/%.o $(OUT)/libappcore.a
	$(CC) $(LDFLAGS) -o $@ $^ $(filter-out -lfcgi,$(LDLIBS))

$(OUT)/tests/csv/driver: $(OUT)/tests/csv/driver.o $(OUT)/libappcore.a
	$(CC) $(LDFLAGS) -o $@ $^ $(filter-out -lfcgi,$(LDLIBS))

# text_parity.py also asks text_driver and `appcore train`, which it finds beside the driver.
parity: $(OUT)/tests/parity/driver $(OUT)/tests/parity/text_driver $(OUT)/appcore | deps-models ## train models with XGBoost and scikit-learn, compare every answer (DATA_NUMERIC, DATA_SENTIMENT=folder for more)
	@for script in tests/parity/*_parity.py; do PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 $$script $< || exit; done

fuzz-programs: $(patsubst %.c,$(OUT)/%,$(wildcard tests/fuzz/fuzz_*.c))

fuzz: ## build and run the fuzz targets, FUZZ_SECONDS (60) each
	@$(MAKE) --no-print-directory VARIANT=fuzz CC=clang fuzz-programs
	@tests/fuzz/run.sh $(patsubst %.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

-include $(wildcard $(OUT)/*/*.d $(OUT)/*/*/*.d)

bench: all ## load the service and the Python reference, table and build/bench.json (ARGS="--gate --scale --postgres")
	@PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/bench/bench.py $(ARGS)

# Against the libraries that models are from, where they are installed.
$(OUT)/tests/bench/trees: $(OUT)/tests/bench/trees.o $(OUT)/libappcore.a
	$(CC) $(LDFLAGS) -o $@ $^ $(filter-out -lfcgi,$(LDLIBS))

bench-models: $(OUT)/tests/bench/trees $(OUT)/tests/parity/text_driver $(OUT)/appcore | deps-models ## models against the libraries they are from, ratios within one run
	@$<
	@PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/bench/text.py $(OUT)/tests/parity/text_driver $(ARGS)
	@PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/bench/models.py $(ARGS)

$(OUT)/tests/bench/tasks: $(OUT)/tests/bench/tasks.o $(OUT)/libappcore.a
	$(CC) $(LDFLAGS) -o $@ $^ $(filter-out -lfcgi,$(LDLIBS))

bench-tasks: $(OUT)/tests/bench/tasks $(OUT)/appcore | deps-tasks ## background tasks against Celery on Redis, ratio within one run (ARGS="--gate --postgres")
	@PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/bench/tasks.py $< $(OUT)/appcore $(ARGS)

bench-data: $(OUT)/appcore | deps-data ## a CSV of a million rows against sqlite3's .import, pandas and a loop in Python, ratios within one run (ARGS="--gate --rows N")
	@PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/bench/data.py $< $(ARGS)

bench-sentiment: all | deps-models ## sentiment analysis as it is served: against POST /predict, scikit-learn, and what others feel of a batch
	@PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/bench/sentiment.py $(ARGS)

deps: ## install what is missing of Debian's packages: to run, to build and to test
	@scripts/deps.sh $(CHECK) $(call quoted,$(RUNTIME_PACKAGES) $(BUILD_PACKAGES) $(TEST_PACKAGES))

deps-postgres: deps ## the same, and the servers of `make test-postgres`; none of them is started or enabled
	@scripts/deps.sh $(CHECK) $(call quoted,$(SERVER_PACKAGES))

deps-models: deps ## the same, and the libraries that models are from
	@scripts/deps.sh $(CHECK) $(call quoted,$(MODEL_PACKAGES))

deps-docs: deps ## the same, and what tries the description of the API: a browser and npm
	@scripts/deps.sh $(CHECK) $(call quoted,$(DOCS_PACKAGES))

.PHONY: deps-containers
deps-containers: deps ## the same, and an engine for containers, which is not started
	@scripts/deps.sh $(CHECK) $(call quoted,$(CONTAINERS_PACKAGES))

deps-deploy: deps ## the same, and what the tests of deployment make machines of
	@scripts/deps.sh $(CHECK) $(call quoted,$(DEPLOY_PACKAGES) $(TERRAFORM_PACKAGES) $(MONITORING_PACKAGES))

.PHONY: deps-terraform
deps-terraform: deps # of these what `make test-terraform` needs beside terraform
	@scripts/deps.sh $(CHECK) $(call quoted,$(TERRAFORM_PACKAGES))

deps-monitoring: deps # of these what `make test-monitoring` needs
	@scripts/deps.sh $(CHECK) $(call quoted,$(MONITORING_PACKAGES))

deps-tasks: deps ## the same, and Celery, for `make bench-tasks`
	@scripts/deps.sh $(CHECK) $(call quoted,$(CELERY_PACKAGES))

deps-data: deps ## the same, and pandas, for `make bench-data`
	@scripts/deps.sh $(CHECK) $(call quoted,$(PANDAS_PACKAGES))

deps-run: # what `make run` needs: no tools of the tests
	@scripts/deps.sh $(CHECK) $(call quoted,$(RUNTIME_PACKAGES) $(BUILD_PACKAGES))

.PHONY: deps-deb
deps-deb: ## what `make deb` needs: no tools of the tests
	@scripts/deps.sh $(CHECK) $(call quoted,$(BUILD_PACKAGES) debhelper)

run: deps-run ## install, build, start and show the logs; Ctrl-C stops everything
	@$(MAKE) --no-print-directory all
	@scripts/make_web.sh --viewer-if-npm
	@exec scripts/service.sh run

start: deps-run ## the same in the background; returns once it is healthy
	@$(MAKE) --no-print-directory all
	@scripts/make_web.sh --viewer-if-npm
	@exec scripts/service.sh start

stop: ## drain and stop
	@exec scripts/service.sh stop

status: ## what runs: 0 when all of it, 3 when nothing does
	@exec scripts/service.sh status

restart: all ## one instance after the other, without a failed request
	@exec scripts/service.sh restart

reload: ## give nginx its configuration anew
	@exec scripts/service.sh reload

PREFIX ?= /usr/local
SHARE   = $(DESTDIR)$(PREFIX)/share
# systemd looks for units, users and folders below /usr and /usr/local; what is installed elsewhere is told in /etc.
SYSTEMD = $(DESTDIR)$(if $(filter /usr /usr/local,$(PREFIX)),$(PREFIX)/lib,/etc)
INSTALLED_SCRIPTS := add_models backup check_ports deploy deploy_lib health_check make_certificate render_nginx rollback rotate_secret
INSTALLED_SCRIPTS += ctl logs

.PHONY: install-service
install: install-service ## the program, systemd's units, nginx's templates, manual pages, guides (DESTDIR, PREFIX=/usr/local)
	install -D -m 644 -t $(SHARE)/appcore README.md
	install -D -m 644 -t $(SHARE)/appcore/docs docs/*.md

# What a container has: a change of the guides makes no new image.
install-service: all
	@case '$(PREFIX)' in *[!A-Za-z0-9/._+-]*|[!/]*|'') echo 'PREFIX is an absolute path of letters, digits and /._+-' >&2; exit 100;; esac
	install -D -m 755 $(OUT)/appcore $(DESTDIR)$(PREFIX)/bin/appcore
	install -D -m 755 -t $(SHARE)/appcore/scripts $(INSTALLED_SCRIPTS:%=scripts/%.sh)
	for file in $(wildcard models/*/*/*); do install -D -m 644 "$$file" "$(SHARE)/appcore/$$file" || exit; done
	install -D -m 644 -t $(SHARE)/appcore/pipelines $(wildcard pipelines/*.json)
	install -D -m 644 -t $(SHARE)/appcore/pipelines/samples $(wildcard pipelines/samples/*)
	install -D -m 644 -t $(SHARE)/appcore/nginx nginx/*.conf nginx/*.conf.in
	install -D -m 644 -t $(SHARE)/appcore .env.example
	(cd monitoring && find . -type f ! -name '*_test.yml' -exec install -D -m 644 '{}' '$(abspath $(SHARE))/appcore/monitoring/{}' ';')
	install -D -m 644 -t $(SHARE)/appcore/web $(WEB)
	install -D -m 644 -t $(SHARE)/appcore/web/docs build/web/docs/*
	install -d $(SYSTEMD)/systemd/system
	for unit in $(wildcard systemd/*.service systemd/*.timer systemd/*.target); do \
		sed 's|@PREFIX@|$(PREFIX)|g' "$$unit" > "$(SYSTEMD)/systemd/system/$${unit##*/}" || exit; done
	chmod 644 $(SYSTEMD)/systemd/system/appcore*
	install -D -m 644 systemd/appcore.sysusers $(SYSTEMD)/sysusers.d/appcore.conf
	install -D -m 644 systemd/appcore.tmpfiles $(SYSTEMD)/tmpfiles.d/appcore.conf
	install -D -m 644 systemd/appcore.logrotate $(DESTDIR)/etc/logrotate.d/appcore
	install -D -m 644 -t $(SHARE)/man/man1 docs/man/*.1
	install -D -m 644 scripts/completion/appcore.bash $(SHARE)/bash-completion/completions/appcore
	install -D -m 644 -t $(SHARE)/zsh/site-functions scripts/completion/_appcore

uninstall: ## remove what install has put there; settings, secrets, logs and data stay
	@scripts/uninstall.sh "$(DESTDIR)" "$(PREFIX)"

deb: ## the Debian package of this tree, for this Debian: build/deb/appcore_VERSION_ARCH.deb
	@scripts/make_deb.sh

tests: $(UNIT) $(HANDLER) # the programs alone

test: deps ## install, build and run all tests: unit, handlers, end to end; the last line counts them
	@scripts/test.sh release

# CSV is tried here because this is where npm is.
test-docs: deps-docs web all $(OUT)/tests/csv/driver ## the description of the API against the service: linter, examples, generated client, page in a browser; CSV against public cases
	@tests/docs/run.sh
	@tests/csv/run.sh $(OUT)/tests/csv/driver

test-postgres: deps-postgres ## the same tests with PostgreSQL instead of SQLite, on a server of their own
	@scripts/test_postgres.sh

.PHONY: test-tls test-guides
test-tls: deps-deploy all ## TLS by testssl.sh, and certificates that are no good (ARGS=--whole: all of its checks)
	@tests/deploy/tls.sh $(ARGS)

test-guides: deps-deploy all ## the guides in docs/: links, alerts, names, and their commands on a bare machine
	@tests/docs/guides.sh

.PHONY: images test-containers
images: ## the images of containers, tagged with the git SHA (scripts/containers.sh up starts them)
	@scripts/containers.sh build

test-containers: deps-containers all ## the images and docker-compose.yml on an engine of its own (ARGS=--dev: the stack for development, too)
	@tests/deploy/containers.sh $(ARGS)

.PHONY: test-terraform
test-terraform: deps-terraform all ## terraform/ without a network: modules, files and their modes, user data, first boot, locks
	@/usr/bin/python3 -B tests/deploy/terraform.py

.PHONY: test-monitoring deps-monitoring
test-monitoring: deps-monitoring all ## monitoring/ as it runs: Prometheus, Alertmanager, rules, dashboards and logs on a service under load
	@/usr/bin/python3 -B tests/deploy/monitoring.py

.PHONY: test-package
test-package: deps-deploy ## the Debian package: lintian, hardening, installed, upgraded under load, broken, removed (SUITE=bookworm or trixie)
	@/usr/bin/python3 -B tests/deploy/package.py $(SUITE)

.PHONY: test-deploy
test-deploy: deps-deploy all deb ## deploys under load in a container that boots: upgrades, what is taken back, changes of secrets, over ssh
	@/usr/bin/python3 -B tests/deploy/deploy.py build/deb/appcore.deb

.PHONY: test-deploy-postgres
test-deploy-postgres: deps-deploy all deb ## the same with the database on a PostgreSQL server: backups, migrations, ways back
	@/usr/bin/python3 -B tests/deploy/deploy_postgres.py build/deb/appcore.deb

# What a pipeline calls, and a developer may call as well (docs/pipeline.md).
.PHONY: setup smoke artefacts image sbom scan scan-code scan-secrets test-scans lint-workflows nightly terraform-plan terraform-apply deploy-ci

setup: ## install what is missing and tell the versions of what is needed (CHECK=--check: only tell)
	@scripts/setup.sh $(CHECK)

smoke: all ## start what was built (the package in build/deb, else the program), ask it as a user would, stop it
	@scripts/smoke.sh

artefacts: ## the package and what it is made of, named after the commit, with checksums: build/artefacts
	@scripts/artefacts.sh

image: ## the image of this commit, scanned, in build/images (wants an engine)
	@scripts/image.sh

sbom: all ## what the program is made of, as SPDX 2.3: build/sbom/appcore.spdx.json
	@mkdir -p build/sbom
	@scripts/make_spdx.py >build/sbom/appcore.spdx.json.new && mv build/sbom/appcore.spdx.json.new build/sbom/appcore.spdx.json
	@echo build/sbom/appcore.spdx.json

scan: all ## known weaknesses of the code and of the packages that the program depends on (SBOM=FILE: of those that it lists)
	@scripts/scan.py $(if $(SBOM),--sbom "$(SBOM)")

scan-code: ## of the code alone
	@scripts/scan.py --code-only

scan-secrets: ## secrets in what is here and in all that git has ever known
	@scripts/scan_secrets.py

test-scans: all ## whether the scans find what is planted for them
	@/usr/bin/python3 -B tests/deploy/scans.py

lint-workflows: ## .github/workflows: actionlint, yamllint, and the rules of this repository; the syntax of terraform/
	@/usr/bin/python3 -B tests/lint/workflows/check.py

nightly: ## what takes too long for each change: hours (ARGS="test-vm fuzz" for some of it)
	@scripts/nightly.sh $(ARGS)

terraform-plan: # of ENVIRONMENT, for a pipeline
	@scripts/terraform_ci.sh plan "$(ENVIRONMENT)"

terraform-apply: # of ENVIRONMENT, for a pipeline
	@scripts/terraform_ci.sh apply "$(ENVIRONMENT)"

deploy-ci: # the package in build/artefacts to HOST, for a pipeline
	@scripts/deploy_ci.sh "$$(find build/artefacts -name '*.deb' | head -n 1)" "$(HOST)"

test-vm: deps-deploy deb ## the package on a machine of its own in qemu: installed on a bare one, rebooted, cut off from power under load (CUTS=1)
	@/usr/bin/python3 -B tests/deploy/vm.py

.PHONY: test-vm

asan: ## unit, handlers' and end-to-end tests with AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/test.sh asan

tsan: ## unit and handlers' tests with ThreadSanitizer
	@scripts/test.sh tsan

coverage: ## lines that the tests run, as a table and in build/coverage/index.html; under 85 % fails
	@scripts/coverage.sh

lint: all ## format, clang-tidy, cppcheck, gcc -fanalyzer, shellcheck, manual; each proves first that it bites
	@scripts/lint.sh $(ARGS)

check-layers: ## includes point down only, SQLite and FastCGI are known in one place each
	@scripts/check_layers.sh

hooks: ## check what is staged before each commit
	@install -D -m 755 scripts/pre-commit "$$(git rev-parse --git-path hooks/pre-commit)"

doctor: ## versions of the libraries and programs, and whether they are new enough
	@scripts/doctor.sh

clean: ## remove everything that was built
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

.PHONY: all unit bench clean help deps deps-postgres deps-models deps-tasks deps-data deps-deploy deps-run run start stop status restart reload install uninstall deb \
        web deps-docs test-docs tests test test-postgres asan tsan coverage lint check-layers hooks doctor handlers fuzz fuzz-programs parity bench-models bench-tasks bench-data bench-sentiment
.DELETE_ON_ERROR:
.SECONDARY:
