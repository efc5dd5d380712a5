/* What every unit test file shares: a table of cases becomes a CUnit suite and an exit code. */
#ifndef APPCORE_TESTS_UNIT_H
#define APPCORE_TESTS_UNIT_H

#include <CUnit/CUnit.h>
#include <stddef.h>

struct unit_case {
	const char *name;
	void (*run)(void);
};

/* Runs the cases as one suite; returns the exit code for main (0: all passed and at least one ran). */
int unit_run(const char *suite, const struct unit_case *cases, size_t n);

/* Makes an empty directory for the test in $TMPDIR or /tmp, removed with all it holds when the process exits. The text
 * stays valid until then. */
const char *unit_temp_dir(void);

#define UNIT_RUN(suite, cases) unit_run(suite, cases, sizeof(cases) / sizeof((cases)[0]))

#endif
