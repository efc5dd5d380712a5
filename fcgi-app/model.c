/* appcore model: the models of the service. What is active stands in the database, so that all machines agree; the
 * files lie in each machine's MODELS_DIR. Running workers see a change within a second. */
#include "model_impl.h"

#include "model/folder.h"
#include "model/manifest.h"
#include "model/xgboost.h"

#include <json-c/json.h>
#include <stdio.h>

static const struct {
	const char *name;
	model_verb *run;
	int least, most; /* words after it */
	bool writes;
	const char *wants;
} VERBS[] = {
	{"add", model_run_add, 1, 1, true, "a directory or a file, --name and --version"},
	{"list", model_run_list, 0, 0, false, "nothing"},
	{"show", model_run_show, 1, 2, false, "NAME, or NAME VERSION"},
	{"check", model_run_check, 1, 2, false, "a directory, or NAME VERSION"},
	{"activate", model_run_activate, 2, 2, true, "NAME VERSION"},
	{"rollback", model_run_rollback, 1, 1, true, "NAME"},
	{"route", model_run_route, 1, 1 + MODELS_SHARES_MAX, true, "NAME VERSION=SHARE…"},
	{"shadow", model_run_shadow, 2, 2, true, "NAME VERSION, or NAME none"},
	{"replay", model_run_replay, 1, 1, false, "NAME, --to and, unless it is the active version, --from"},
	{"compare", model_run_compare, 1, 2, false, "NAME, or NAME VERSION"},
	{"drift", model_run_drift, 1, 2, false, "NAME, or NAME VERSION"},
	{"load", model_run_load, 1, 2, true, "NAME, or NAME VERSION"},
	{"unload", model_run_unload, 1, 2, true, "NAME, or NAME VERSION"},
	{"remove", model_run_remove, 2, 2, true, "NAME VERSION"},
};
enum { VERBS_N = sizeof(VERBS) / sizeof(VERBS[0]) };

struct str model_builtin(const char *name)
{
	return strcmp(name, model_mean()->name) == 0 ? str_of(model_mean()->version) : (struct str){0};
}

const char *model_kind_of(const struct model *model)
{
	static char text[MODEL_NAME_BYTES];

	if (!model->manifest)
		return "built in";
	snprintf(text, sizeof(text), "%.*s", STR_ARG(model->manifest->kind));
	return text;
}

enum status model_read_candidate(struct model_command *c, struct folder_candidate *out, struct err *err)
{
	const char *slash = strrchr(c->words[0], '/');
	struct str name = str_of(slash ? slash + 1 : c->words[0]);
	struct buf manifest;

	enum status status = folder_candidate_read(out, c->words[0], c->manifest, err);
	if (status != STATUS_OK || out->manifest)
		return status;
	buf_init_heap(&manifest);
	status = xgboost_describe((struct str){out->file, out->file_n},
				  model_name_is_valid(name) ? name : STR("model.json"), &manifest, err);
	if (status != STATUS_OK) {
		buf_release(&manifest);
		return status;
	}
	out->manifest = manifest.p;
	out->manifest_n = manifest.n;
	return STATUS_OK;
}

enum status model_load_known(struct model_command *c, const char *name, const char *version, struct model **out,
			     struct err *err)
{
	struct models_version row;

	*out = NULL;
	if (str_eq(model_builtin(name), str_of(version))) {
		*out = model_hold(model_mean());
		return STATUS_OK;
	}
	enum status status = models_find(c->db, str_of(name), str_of(version), &row, err);
	if (status != STATUS_OK)
		return status;
	return folder_load(out, c->config.models_dir, str_of(name), str_of(version), str_of(row.hash), err);
}

int model_finish(enum status status, const struct err *err)
{
	size_t n = strlen(err->text);

	if (status == STATUS_OK)
		return EXIT_OK;
	return command_fail(command_exit_code(status), "%s%s", err->text, n > 0 && err->text[n - 1] == '.' ? "" : ".");
}

void model_print_json(struct json_object *object)
{
	printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

static int run_verb(int argc, char **argv, struct model_command *c)
{
	int code, verb = 0;

	while (argc > 1 && verb < VERBS_N && strcmp(VERBS[verb].name, argv[1]) != 0)
		verb++;
	if (argc < 2 || verb == VERBS_N)
		return command_fail(EXIT_USAGE,
				    "say add, list, show, check, activate, rollback, route, shadow, replay, compare, "
				    "drift, load, unload or remove; see --help.");
	c->words = argv + 2;
	c->n = argc - 2;
	if (c->n < VERBS[verb].least || c->n > VERBS[verb].most)
		return command_fail(EXIT_USAGE, "%s wants %s; see --help.", VERBS[verb].name, VERBS[verb].wants);
	/* A folder is checked where there is no service, too. */
	if (VERBS[verb].run == model_run_check && c->n == 1) {
		if (!command_load_config(&c->config))
			return EXIT_USAGE;
	} else if (!command_open_db(&c->config, &c->db, VERBS[verb].writes ? DB_WRITE : DB_READ, &code)) {
		return code;
	}
	code = VERBS[verb].run(c);
	db_close(c->db);
	config_release(&c->config);
	return code;
}

int model_main(int argc, char **argv)
{
	struct model_command c = {0};
	const struct option_spec specs[] = {
		{"--name", &c.name, NULL},         {"--version", &c.version, NULL},
		{"--manifest", &c.manifest, NULL}, {"--sticky", &c.sticky, NULL},
		{"--activate", NULL, &c.activate}, {"--if-absent", NULL, &c.if_absent},
		{"--json", NULL, &c.json},         {"--csv", NULL, &c.csv},
		{"--from", &c.from, NULL},         {"--to", &c.to, NULL},
		{"--since", &c.since, NULL},       {"--limit", &c.limit, NULL},
		{"--top", &c.top, NULL},           {"--tolerance", &c.tolerance, NULL},
	};
	bool done;

	if (!command_options(command_find("model"), &argc, argv, specs, sizeof(specs) / sizeof(specs[0]), &done))
		return EXIT_USAGE;
	return done ? EXIT_OK : run_verb(argc, argv, &c);
}
