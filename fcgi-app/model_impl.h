/* What the files of `appcore model` share: model.c (the verbs), model_add.c, model_route.c (who answers), model_list.c
 * (what there is), model_replay.c, model_compare.c and model_drift.c (the evidence). */
#ifndef APPCORE_MODEL_IMPL_H
#define APPCORE_MODEL_IMPL_H

#include "command.h"
#include "model/model.h"
#include "store/models.h"

struct json_object;

enum { MODEL_TURN_WAIT_MS = 10 * 1000 };

struct model_command {
	struct config config;
	struct db *db; /* NULL for verbs that need none */
	char **words;  /* after the verb */
	int n;
	const char *name, *version, *manifest, *sticky; /* options; NULL: not given */
	const char *from, *to, *since, *limit, *top, *tolerance;
	bool activate, if_absent, json, csv;
};

/* The built-in version of a name; empty: it has none. */
struct str model_builtin(const char *name);

struct folder_candidate;
/* Reads what words[0] names (folder_candidate_read), and makes a manifest for a model of XGBoost's that has none. The
 * caller releases it, also after an error. */
enum status model_read_candidate(struct model_command *c, struct folder_candidate *out, struct err *err)
	__attribute__((nonnull, warn_unused_result));

/* Loads the version from this machine's folder, as the database knows it, examples and all. The built-in one loads
 * itself. *out has one user. */
enum status model_load_known(struct model_command *c, const char *name, const char *version, struct model **out,
			     struct err *err) __attribute__((nonnull, warn_unused_result));

/* Gives all requests of the name to the version, in a transaction of its own. */
enum status model_activate(struct model_command *c, const char *name, const char *version, struct err *err)
	__attribute__((nonnull, warn_unused_result));

/* The exit code of a status; says why when it is none of success. */
int model_finish(enum status status, const struct err *err);
void model_print_json(struct json_object *object); /* and frees it */

/* The wall time that --since says: a duration before now ("7d") or a time; `fallback` is one of the first kind. False:
 * said why. */
bool model_since(const struct model_command *c, const char *fallback, int64_t *since_us)
	__attribute__((nonnull, warn_unused_result));

/* The version of a name with the largest share. Says why when there is none. */
bool model_find_active(struct model_command *c, const char *name, char out[static MODELS_NAME_BYTES])
	__attribute__((nonnull, warn_unused_result));

/* With what --top and --tolerance say, or 20 and 0. NULL: said why. */
struct compare;
struct compare *model_new_compare(const struct model_command *c);

/* Prints what comparing has found. */
struct report;
int model_print_report(const struct model_command *c, const struct report *report, struct compare *compare);

/* What a model takes and gives, in words. */
const char *model_kind_of(const struct model *model);

typedef int model_verb(struct model_command *c);
model_verb model_run_add, model_run_remove;
model_verb model_run_activate, model_run_rollback, model_run_route, model_run_shadow, model_run_load, model_run_unload;
model_verb model_run_replay, model_run_compare, model_run_drift;
model_verb model_run_list, model_run_show, model_run_check;

#endif
