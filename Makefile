# appcore: `make help` lists the targets. Everything that is built lies in build/<variant>/.

VARIANT ?= release
VERSION := $(shell sed -n 's/.*APPCORE_VERSION "\(.*\)"/\1/p' lib/base/version.h)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

CC        ?= gcc
PKGS      := libsodium sqlite3 json-c
WARNINGS  := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 \
             -Wundef -Wwrite-strings -Wcast-qual -Wimplicit-fallthrough $(if $(CI),-Werror)
CPPFLAGS  += -D_GNU_SOURCE -Ilib -Ifcgi-app -I$(OUT)/gen -DAPPCORE_COMMIT='"$(COMMIT)"'
CFLAGS    += -std=c17 $(WARNINGS) -fPIE -fstack-protector-strong -pthread
LDFLAGS   += -pie -pthread -Wl,-z,relro,-z,now
LDLIBS    += -lfcgi $(shell pkg-config --libs $(PKGS)) -lm

CFLAGS_release  := -O2 -g -D_FORTIFY_SOURCE=3
CFLAGS_asan     := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DAPPCORE_FAULTS
CFLAGS_tsan     := -O1 -g -fsanitize=thread -DAPPCORE_FAULTS
CFLAGS_coverage := -O0 -g --coverage -DAPPCORE_FAULTS
CFLAGS_faults   := -O2 -g -D_FORTIFY_SOURCE=3 -DAPPCORE_FAULTS
CFLAGS += $(CFLAGS_$(VARIANT))
LDFLAGS += $(filter -fsanitize% --coverage,$(CFLAGS_$(VARIANT)))

OUT   := build/$(VARIANT)
LIB_C := $(wildcard lib/*/*.c)
APP_C := $(wildcard fcgi-app/*.c fcgi-app/*/*.c)
LIB_O := $(LIB_C:%.c=$(OUT)/%.o) $(OUT)/gen/migrations.o
APP_O := $(APP_C:%.c=$(OUT)/%.o)
UNIT  := $(patsubst %.c,$(OUT)/%,$(wildcard tests/unit/test_*.c))
HANDLER := $(patsubst %.c,$(OUT)/%,$(wildcard tests/handlers/test_*.c))

all: $(OUT)/appcore ## build the release binary (VARIANT=asan, tsan, coverage, faults for others)

$(OUT)/appcore: $(APP_O) $(OUT)/libappcore.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(OUT)/libappcore.a: $(LIB_O)
	@rm -f $@
	ar rcs $@ $^

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# The migrations' SQL becomes a table of C strings.
$(OUT)/gen/migrations.c: scripts/embed_migrations.sh $(wildcard lib/store/migrations/*.sql)
	@mkdir -p $(@D)
	scripts/embed_migrations.sh lib/store/migrations > $@.new && mv $@.new $@

$(OUT)/gen/migrations.o: $(OUT)/gen/migrations.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/tests/unit/test_%: $(OUT)/tests/unit/test_%.o $(OUT)/tests/unit/unit.o $(OUT)/libappcore.a
	$(CC) $(LDFLAGS) -o $@ $^ -lcunit $(LDLIBS)

unit: $(UNIT) ## build and run the unit tests (of VARIANT)
	@scripts/run_units.sh $(UNIT)

-include $(wildcard $(OUT)/*/*.d $(OUT)/*/*/*.d)

clean: ## remove everything that was built
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

.PHONY: all unit clean help
.DELETE_ON_ERROR:
.SECONDARY:
