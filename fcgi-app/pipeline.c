/* appcore pipeline: what the files in PIPELINES_DIR say, whether it is right, and what becomes of a file's records. */
#include "pipeline_impl.h"

#include "base/clock.h"
#include "model/registry.h"
#include "pipeline/apply.h"
#include "pipeline/reader.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	ARENA_BYTES = 64 << 20,
	RECORDS_AT_ONCE = 512,
	LIMIT_MAX = 1000000000,
};

typedef int pipeline_verb(struct pipeline_command *c);

static bool is_path(const char *word)
{
	size_t n = strlen(word);

	return strchr(word, '/') != NULL || (n > 5 && strcmp(word + n - 5, ".json") == 0);
}

enum status pipeline_command_load(struct pipeline_command *c, const char *word, struct pipeline **out, struct err *err)
{
	char dir[4096] = ".";
	struct str name = str_of(word);

	c->problems.n = 0;
	if (!is_path(word))
		return pipeline_load(c->config.pipelines_dir, name, &c->arena, out, &c->problems, err);
	const char *slash = strrchr(word, '/');
	if (slash) {
		snprintf(dir, sizeof(dir), "%.*s/", (int)(slash - word), word);
		name = str_of(slash + 1);
	}
	if (name.n > 5 && memcmp(name.p + name.n - 5, ".json", 5) == 0)
		name.n -= 5;
	return pipeline_load(dir, name, &c->arena, out, &c->problems, err);
}

static void print_json(struct json_object *object)
{
	printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

int pipeline_command_finish(enum status status, const struct err *err)
{
	size_t n = strlen(err->text);

	if (status == STATUS_OK)
		return EXIT_OK;
	return command_fail(command_exit_code(status), "%s%s", err->text, n > 0 && err->text[n - 1] == '.' ? "" : ".");
}

static struct json_object *json_text(struct str text)
{
	return json_object_new_string_len(text.p ? text.p : "", (int)text.n);
}

/* --- check --- */

struct checking {
	struct pipeline_command *c;
	int good, bad;
	bool system; /* something could not be read at all */
};

void pipeline_command_tell(const struct pipeline_command *c, const char *word, const struct err *err)
{
	struct str left = buf_view(&c->problems);
	struct json_object *object, *list;

	if (left.n == 0)
		left = str_of(err->text);
	if (!c->json) {
		while (left.n > 0) {
			struct str line = str_cut(&left, '\n');
			printf("%s: %.*s\n", word, STR_ARG(line));
		}
		return;
	}
	object = json_object_new_object();
	list = json_object_new_array();
	while (left.n > 0)
		json_object_array_add(list, json_text(str_cut(&left, '\n')));
	json_object_object_add(object, "name", json_object_new_string(word));
	json_object_object_add(object, "ok", json_object_new_boolean(false));
	json_object_object_add(object, "problems", list);
	print_json(object);
}

static bool check_one(void *arg, struct str name)
{
	struct checking *checking = arg;
	struct pipeline_command *c = checking->c;
	struct pipeline *p = NULL;
	struct err err = {0};
	char word[4096];

	snprintf(word, sizeof(word), "%.*s", STR_ARG(name));
	enum status status = pipeline_command_load(c, word, &p, &err);
	if (status != STATUS_OK) {
		pipeline_command_tell(c, word, &err);
		checking->bad++;
		checking->system |= command_exit_code(status) == EXIT_SYSTEM;
	} else if (c->json) {
		struct json_object *object = json_object_new_object();
		json_object_object_add(object, "name", json_object_new_string(p->name));
		json_object_object_add(object, "ok", json_object_new_boolean(true));
		json_object_object_add(object, "hash", json_object_new_string(p->hash));
		print_json(object);
	} else {
		printf("%s: ok, %d field%s%s%.*s\n", word, p->fields_n, p->fields_n == 1 ? "" : "s",
		       p->model.n > 0 ? ", model " : "", STR_ARG(p->model));
	}
	checking->good += status == STATUS_OK;
	arena_reset(&c->arena);
	return true;
}

static int run_check(struct pipeline_command *c)
{
	struct checking checking = {.c = c};
	struct err err = {0};

	for (int i = 0; i < c->n; i++)
		check_one(&checking, str_of(c->words[i]));
	if (c->n == 0) {
		enum status status = pipeline_each(c->config.pipelines_dir, check_one, &checking, &err);
		if (status != STATUS_OK)
			return pipeline_command_finish(status, &err);
		if (checking.good + checking.bad == 0)
			return command_fail(EXIT_USAGE, "there are no pipelines in %s.", c->config.pipelines_dir);
	}
	return checking.bad == 0 ? EXIT_OK : checking.system ? EXIT_SYSTEM : EXIT_USAGE;
}

/* --- list --- */

static bool list_one(void *arg, struct str name)
{
	struct pipeline_command *c = arg;
	struct pipeline *p = NULL;
	struct err err = {0};
	char word[PIPELINE_NAME_BYTES];

	snprintf(word, sizeof(word), "%.*s", STR_ARG(name));
	enum status status = pipeline_command_load(c, word, &p, &err);
	if (c->json) {
		struct json_object *object = json_object_new_object();
		json_object_object_add(object, "name", json_object_new_string(word));
		json_object_object_add(object, "ok", json_object_new_boolean(status == STATUS_OK));
		if (p) {
			json_object_object_add(object, "description", json_text(p->description));
			json_object_object_add(object, "format",
					       json_object_new_string(pipeline_format_name(p->source.format)));
			json_object_object_add(object, "match", json_text(p->source.match));
			json_object_object_add(object, "fields", json_object_new_int(p->fields_n));
			json_object_object_add(object, "model", json_text(p->model));
			json_object_object_add(object, "hash", json_object_new_string(p->hash));
		}
		print_json(object);
	} else if (p) {
		printf("%-20s  %-5s  %-16.*s  %3d fields  %-16.*s  %.*s\n", word,
		       pipeline_format_name(p->source.format), STR_ARG(p->source.match), p->fields_n, STR_ARG(p->model),
		       STR_ARG(p->description));
	} else {
		printf("%-20s  not good: appcore pipeline check %s\n", word, word);
	}
	arena_reset(&c->arena);
	return true;
}

static int run_list(struct pipeline_command *c)
{
	struct err err = {0};

	return pipeline_command_finish(pipeline_each(c->config.pipelines_dir, list_one, c, &err), &err);
}

/* --- show --- */

static void print_pair(const char *label, struct str text)
{
	if (text.n > 0)
		printf("%-12s %.*s\n", label, STR_ARG(text));
}

static void print_names(const char *label, const struct pipeline *p, const int *fields, int n)
{
	if (n == 0)
		return;
	printf("%-12s", label);
	for (int i = 0; i < n; i++)
		printf("%s%.*s", i ? ", " : " ", STR_ARG(p->fields[fields[i]].name));
	printf("\n");
}

static void show(const struct pipeline *p)
{
	static const char *const others[] = {"keep", "drop", "refuse"};
	static const char *const duplicates[] = {"skip", "replace", "refuse"};

	printf("%-12s %s\n", "pipeline", p->name);
	print_pair("description", p->description);
	printf("%-12s %.16s\n", "hash", p->hash);
	printf("%-12s %s\n", "format", pipeline_format_name(p->source.format));
	print_pair("match", p->source.match);
	print_names("key", p, p->key, p->key_n);
	if (p->key_n > 0)
		printf("%-12s %s\n", "duplicates", duplicates[p->duplicates]);
	printf("%-12s %s\n", "others", others[p->others]);
	if (p->model.n > 0) {
		printf("%-12s %.*s %.*s\n", "model", STR_ARG(p->model), STR_ARG(p->model_version));
		print_names("inputs", p, p->inputs, p->inputs_n);
		print_pair("into", p->into);
	}
	printf("%-12s%s%s%s\n", "to", p->to & PIPELINE_TO_RECORDS ? " records" : "",
	       p->to & PIPELINE_TO_CSV ? " csv" : "", p->to & PIPELINE_TO_JSON_LINES ? " jsonl" : "");
	printf("%-12s %d\n", "fields", p->fields_n);
	for (int i = 0; i < p->fields_n; i++) {
		const struct pipeline_field *field = &p->fields[i];
		bool renamed = !str_eq(field->name, field->from);
		printf("  %-24.*s  %-8s%s%s%s%s%.*s\n", STR_ARG(field->name), pipeline_type_name(field->type),
		       field->required ? "  required" : "", field->index ? "  index" : "",
		       field->search ? "  search" : "", renamed ? "  from " : "", renamed ? (int)field->from.n : 0,
		       field->from.p);
	}
}

static int run_show(struct pipeline_command *c)
{
	struct pipeline *p = NULL;
	struct err err = {0};

	enum status status = pipeline_command_load(c, c->words[0], &p, &err);
	if (status == STATUS_INVALID) {
		pipeline_command_tell(c, c->words[0], &err);
		return EXIT_USAGE;
	}
	if (status != STATUS_OK)
		return pipeline_command_finish(status, &err);
	if (!c->json) {
		show(p);
		return EXIT_OK;
	}
	struct json_object *object = json_object_new_object();
	struct json_object *definition = json_tokener_parse(p->text.p);
	json_object_object_add(object, "name", json_object_new_string(p->name));
	json_object_object_add(object, "hash", json_object_new_string(p->hash));
	json_object_object_add(object, "definition", definition);
	print_json(object);
	return EXIT_OK;
}

/* --- try --- */

/* The models as the service has them; *out has one user. */
static enum status load_models(const struct config *config, struct model_set **out, struct err *err)
{
	const struct registry_options options = {.dir = config->models_dir, .fallback = config->model_default};
	struct registry_result *result = calloc(1, sizeof(*result));
	struct registry_rows rows = {0};
	struct db *db = NULL;
	bool changed;

	if (!result)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory");
	enum status status = db_open(&db, str_of(config->database_url), DB_READ, err);
	if (status == STATUS_OK)
		status = registry_read(&rows, db, -1, &changed, err);
	if (status == STATUS_OK) {
		registry_build(result, &rows, &options);
		*out = result->set;
		for (int i = 0; i < result->failures_n; i++)
			fprintf(stderr, "model %s %s: %s\n", result->failures[i].name, result->failures[i].version,
				result->failures[i].err.text);
		if (!*out)
			status = err_set(err, STATUS_NO_MEMORY, "Out of memory for the models");
	}
	registry_rows_release(&rows);
	db_close(db);
	free(result);
	return status;
}

struct trial {
	struct pipeline_applier *applier;
	struct source *source;
	int64_t left, passed, refused;
	bool json;
};

static void tell_row(struct trial *t, const struct pipeline_row *row)
{
	t->left--;
	if (row->refusal == REFUSAL_NONE) {
		t->passed++;
		printf("%.*s\n", STR_ARG(row->data));
		return;
	}
	t->refused++;
	if (!t->json) {
		bool named = row->field.n == 0 || str_starts(row->message, row->field);
		fprintf(stderr, "line %lld: %.*s%s%.*s [%s]\n", (long long)row->line, named ? 0 : (int)row->field.n,
			row->field.p, named ? "" : ": ", STR_ARG(row->message), refusal_name(row->refusal));
		return;
	}
	struct json_object *object = json_object_new_object();
	json_object_object_add(object, "line", json_object_new_int64(row->line));
	json_object_object_add(object, "reason", json_object_new_string(refusal_name(row->refusal)));
	json_object_object_add(object, "field", json_text(row->field));
	json_object_object_add(object, "value", json_text(row->value));
	json_object_object_add(object, "message", json_text(row->message));
	fprintf(stderr, "%s\n",
		json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

static enum status try_block(struct trial *t, struct source_block *block, struct err *err)
{
	static struct raw_record records[RECORDS_AT_ONCE];
	static struct pipeline_row rows[RECORDS_AT_ONCE];
	enum status status = STATUS_OK;
	struct arena arena;
	struct reader reader;
	bool failed = false;
	size_t n;

	arena_init(&arena, ARENA_BYTES);
	reader_init(&reader, source_shape(t->source), block, &arena);
	do {
		n = 0;
		while (n < RECORDS_AT_ONCE && (int64_t)n < t->left && reader_next(&reader, &records[n], &failed))
			n++;
		if (failed)
			status = err_set(err, STATUS_NO_MEMORY, "Out of memory for these records");
		else
			status = pipeline_apply(t->applier, records, n, &arena, rows, err);
		for (size_t i = 0; status == STATUS_OK && i < n; i++)
			tell_row(t, &rows[i]);
	} while (status == STATUS_OK && n > 0);
	arena_release(&arena);
	return status;
}

static enum status try_source(struct trial *t, struct err *err)
{
	struct source_block block = {0};
	enum status status;

	do {
		status = source_next(t->source, &block, err);
		if (status == STATUS_OK && block.n > 0)
			status = try_block(t, &block, err);
	} while (status == STATUS_OK && block.n > 0 && t->left > 0);
	source_block_release(&block);
	return status;
}

static int run_try(struct pipeline_command *c)
{
	struct trial trial = {.left = INT64_MAX, .json = c->json};
	struct model_set *models = NULL;
	struct pipeline *p = NULL;
	struct err err = {0};
	uint64_t limit;

	if (c->limit && (!str_to_u64(str_of(c->limit), LIMIT_MAX, &limit) || limit == 0))
		return command_fail(EXIT_USAGE, "--limit should be a whole number from 1.");
	if (c->limit)
		trial.left = (int64_t)limit;
	enum status status = pipeline_command_load(c, c->words[0], &p, &err);
	if (status == STATUS_OK && p->model.n > 0)
		status = load_models(&c->config, &models, &err);
	if (status == STATUS_OK)
		status = source_open(&trial.source, c->words[1], &p->source, &err);
	if (status == STATUS_OK) {
		trial.applier = pipeline_applier_new(p, models);
		status = trial.applier ? try_source(&trial, &err) : err_set(&err, STATUS_NO_MEMORY, "Out of memory");
	}
	if (fflush(stdout) != 0 && status == STATUS_OK)
		status = err_set(&err, STATUS_UNAVAILABLE, "Standard output can't be written");
	if (trial.applier && !c->json)
		fprintf(stderr, "%lld passed, %lld refused; nothing was stored\n", (long long)trial.passed,
			(long long)trial.refused);
	pipeline_applier_free(trial.applier);
	source_close(trial.source);
	model_set_drop(models);
	return pipeline_command_finish(status, &err);
}

/* --- the table --- */

static const struct {
	const char *name;
	pipeline_verb *run;
	int least, most; /* words after it */
	const char *wants;
} VERBS[] = {
	{"check", run_check, 0, 1000, "names, or files; without any all of PIPELINES_DIR are checked"},
	{"list", run_list, 0, 0, "nothing"},
	{"show", run_show, 1, 1, "NAME, or a file"},
	{"try", run_try, 2, 2, "NAME, or a pipeline's file, and a file of records"},
	{"index", pipeline_command_index, 1, 1, "NAME, or a file"},
};
enum { VERBS_N = sizeof(VERBS) / sizeof(VERBS[0]) };

static int run_verb(int argc, char **argv, struct pipeline_command *c)
{
	int verb = 0;

	while (argc > 1 && verb < VERBS_N && strcmp(VERBS[verb].name, argv[1]) != 0)
		verb++;
	if (argc < 2 || verb == VERBS_N)
		return command_fail(EXIT_USAGE, "say check, list, show, try or index; see --help.");
	c->words = argv + 2;
	c->n = argc - 2;
	if (c->n < VERBS[verb].least || c->n > VERBS[verb].most)
		return command_fail(EXIT_USAGE, "%s wants %s; see --help.", VERBS[verb].name, VERBS[verb].wants);
	if (!command_load_config(&c->config))
		return EXIT_USAGE;
	arena_init(&c->arena, ARENA_BYTES);
	buf_init_heap(&c->problems);
	int code = VERBS[verb].run(c);
	buf_release(&c->problems);
	arena_release(&c->arena);
	config_release(&c->config);
	return code;
}

int pipeline_main(int argc, char **argv)
{
	struct pipeline_command c = {0};
	const struct option_spec specs[] = {
		{"--json", NULL, &c.json}, {"--limit", &c.limit, NULL}, {"--dry-run", NULL, &c.dry_run}};
	bool done;

	if (!command_options(command_find("pipeline"), &argc, argv, specs, sizeof(specs) / sizeof(specs[0]), &done))
		return EXIT_USAGE;
	return done ? EXIT_OK : run_verb(argc, argv, &c);
}
