/* The loader of pipelines. What is kept of a definition is what the reader and the applier work with; the text itself
 * is kept, too, as a run has to know what it was started with. */
#include "pipeline/definition_impl.h"

#include "pipeline/reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/id.h"

enum {
	HEADER_MAX = 4096,
	DESCRIPTION_BYTES = 1000,
	MESSAGE_BYTES = 200,
	ITEMS_BYTES = 200,
	MATCH_BYTES = 100,
	FILES_MAX = 1000
};

static const char *const TYPES[] = {
	[PIPELINE_ANY] = "any",         [PIPELINE_TEXT] = "text", [PIPELINE_NUMBER] = "number",
	[PIPELINE_INTEGER] = "integer", [PIPELINE_BOOL] = "bool", [PIPELINE_DATETIME] = "datetime",
	[PIPELINE_DATE] = "date",
};
_Static_assert(sizeof(TYPES) / sizeof(TYPES[0]) == PIPELINE_TYPE__MAX, "a name for each type");

static const char *const FORMATS[] = {
	[PIPELINE_CSV] = "csv", [PIPELINE_JSON_LINES] = "jsonl", [PIPELINE_JSON] = "json"};
_Static_assert(sizeof(FORMATS) / sizeof(FORMATS[0]) == PIPELINE_FORMAT__MAX, "a name for each format");

const char *pipeline_type_name(enum pipeline_type type)
{
	return TYPES[type];
}

const char *pipeline_format_name(enum pipeline_format format)
{
	return FORMATS[format];
}

/* --- source --- */

enum {
	SOURCE_FORMAT,
	SOURCE_MATCH,
	SOURCE_DELIMITER,
	SOURCE_ENCODING,
	SOURCE_HEADER,
	SOURCE_ITEMS,
	SOURCE_KIND,
	SOURCE_HTTP,
	SOURCE__MAX
};

static const struct loader_member SOURCE_MEMBERS[SOURCE__MAX] = {
	[SOURCE_FORMAT] = {"format", STRICT_STRING, "a string"},
	[SOURCE_MATCH] = {"match", STRICT_STRING, "a string"},
	[SOURCE_DELIMITER] = {"delimiter", STRICT_STRING, "a string"},
	[SOURCE_ENCODING] = {"encoding", STRICT_STRING, "a string"},
	[SOURCE_HEADER] = {"header", STRICT_BOOL | STRICT_ARRAY, "true, false or an array of names"},
	[SOURCE_ITEMS] = {"items", STRICT_STRING, "a string"},
	[SOURCE_KIND] = {"kind", STRICT_STRING, "a string"},
	[SOURCE_HTTP] = {"http", STRICT_OBJECT, "an object"},
};

static void read_delimiter(struct loader *l, const struct place *at, struct json_value value, char *out)
{
	struct str text = json_string(value, l->arena);

	l->no_memory |= !text.p;
	if (!text.p || str_eq(text, STR("auto")))
		return;
	if (str_eq(text, STR("tab"))) {
		*out = '\t';
		return;
	}
	bool bad = text.n != 1 || text.p[0] == '"' || text.p[0] == '\n' || text.p[0] == '\r' || text.p[0] == '\0' ||
		   (unsigned char)text.p[0] >= 0x80;
	if (bad)
		loader_problem(l, at, "should be auto, tab, or one ASCII character that is no quote");
	else
		*out = text.p[0];
}

static void read_encoding(struct loader *l, const struct place *at, struct json_value value, struct str *out)
{
	struct str text;

	if (!loader_text(l, at, value, 40, &text) || str_eq(text, STR("auto")))
		return;
	if (!source_knows_encoding(text)) {
		loader_problem(l, at,
			       "is no encoding that is known here: try auto, utf-8, utf-16, latin-1 or windows-1252");
		return;
	}
	*out = text;
}

static void read_header(struct loader *l, const struct place *at, struct json_value value, struct pipeline_source *out)
{
	struct json_iter iter;
	struct json_value item;
	struct names index;
	int n = strict_count(value), twice;

	if (value.type != JSON_ARRAY) {
		out->has_header = value.type == JSON_TRUE;
		return;
	}
	if (n == 0 || n > HEADER_MAX) {
		loader_problem(l, at, "should have 1 to %d names", HEADER_MAX);
		return;
	}
	struct str *names = loader_alloc(l, (size_t)n, sizeof(*names));
	if (!names)
		return;
	json_iter_init(&iter, value);
	for (int i = 0; json_next(&iter, NULL, &item); i++)
		if (!loader_text(l, PLACE_INDEX(at, i), item, PIPELINE_FIELD_BYTES, &names[i]))
			return;
	if (loader_index(l, &index, names, n, &twice) && twice >= 0)
		loader_problem(l, PLACE_INDEX(at, twice), "is there twice");
	out->has_header = false;
	out->header = names;
	out->header_n = n;
}

static void read_source(struct loader *l, struct json_value value, struct pipeline_source *out)
{
	const struct place *at = PLACE_MEMBER(NULL, "source");
	struct json_value got[SOURCE__MAX] = {{.type = JSON_NULL}};
	int format = PIPELINE_CSV;

	*out = (struct pipeline_source){.has_header = true, .encoding = STR("auto")};
	if (value.text.p)
		loader_members(l, at, value, SOURCE_MEMBERS, SOURCE__MAX, got);
	if (got[SOURCE_HTTP].text.p) {
		out->http = got[SOURCE_HTTP].text;
		format = PIPELINE_JSON;
	}
	if (got[SOURCE_FORMAT].text.p)
		loader_choice(l, PLACE_MEMBER(at, "format"), got[SOURCE_FORMAT], FORMATS, PIPELINE_FORMAT__MAX,
			      &format);
	out->format = (enum pipeline_format)format;
	if (got[SOURCE_MATCH].text.p &&
	    loader_text(l, PLACE_MEMBER(at, "match"), got[SOURCE_MATCH], MATCH_BYTES, &out->match) &&
	    memchr(out->match.p, '/', out->match.n))
		loader_problem(l, PLACE_MEMBER(at, "match"), "should be a pattern of file names, without /");
	if (got[SOURCE_DELIMITER].text.p)
		read_delimiter(l, PLACE_MEMBER(at, "delimiter"), got[SOURCE_DELIMITER], &out->delimiter);
	if (got[SOURCE_ENCODING].text.p)
		read_encoding(l, PLACE_MEMBER(at, "encoding"), got[SOURCE_ENCODING], &out->encoding);
	if (got[SOURCE_HEADER].text.p)
		read_header(l, PLACE_MEMBER(at, "header"), got[SOURCE_HEADER], out);
	if (got[SOURCE_ITEMS].text.p &&
	    loader_text(l, PLACE_MEMBER(at, "items"), got[SOURCE_ITEMS], ITEMS_BYTES, &out->items) &&
	    out->format != PIPELINE_JSON)
		loader_problem(l, PLACE_MEMBER(at, "items"), "is for the format json: where its array is");
	if (out->http.p)
		out->api = loader_http(l, PLACE_MEMBER(at, "http"), got[SOURCE_HTTP]);
	if (out->http.p && out->format != PIPELINE_JSON)
		loader_problem(l, PLACE_MEMBER(at, "format"), "should be json: that is what is read from an API");
	if (out->http.p && out->match.n > 0)
		loader_problem(l, PLACE_MEMBER(at, "match"), "is for files; there is \"http\"");
	out->kind = out->http.p ? STR("api") : str_of(FORMATS[format]);
	if (got[SOURCE_KIND].text.p)
		loader_text(l, PLACE_MEMBER(at, "kind"), got[SOURCE_KIND], PIPELINE_NAME_BYTES - 1, &out->kind);
}

/* --- fields --- */

enum {
	FIELD_NAME,
	FIELD_FROM,
	FIELD_TYPE,
	FIELD_REQUIRED,
	FIELD_DEFAULT,
	FIELD_TRANSFORM,
	FIELD_INDEX,
	FIELD_SEARCH,
	FIELD__MAX
};

static const struct loader_member FIELD_MEMBERS[FIELD__MAX] = {
	[FIELD_NAME] = {"name", STRICT_STRING, "a string"},
	[FIELD_FROM] = {"from", STRICT_STRING, "a string"},
	[FIELD_TYPE] = {"type", STRICT_STRING, "a string"},
	[FIELD_REQUIRED] = {"required", STRICT_BOOL, "true or false"},
	[FIELD_DEFAULT] = {"default", STRICT_ANY, "a value"},
	[FIELD_TRANSFORM] = {"transform", STRICT_ARRAY, "an array of transformations like {\"trim\": true}"},
	[FIELD_INDEX] = {"index", STRICT_BOOL, "true or false"},
	[FIELD_SEARCH] = {"search", STRICT_BOOL, "true or false"},
};

static void read_field(struct loader *l, const struct place *at, struct json_value value, struct pipeline *p, int i)
{
	struct pipeline_field *field = &p->fields[i];
	struct json_value got[FIELD__MAX];
	int type = PIPELINE_ANY;

	/* A name of its own, so that one fault is not told as two. */
	field->name = field->from = (struct str){0};
	if (!loader_members(l, at, value, FIELD_MEMBERS, FIELD__MAX, got))
		return;
	if (!got[FIELD_NAME].text.p)
		loader_problem(l, PLACE_MEMBER(at, "name"), "is missing");
	else
		loader_text(l, PLACE_MEMBER(at, "name"), got[FIELD_NAME], PIPELINE_FIELD_BYTES, &field->name);
	field->from = field->name;
	if (got[FIELD_FROM].text.p)
		loader_text(l, PLACE_MEMBER(at, "from"), got[FIELD_FROM], PIPELINE_FIELD_BYTES, &field->from);
	if (got[FIELD_TYPE].text.p)
		loader_choice(l, PLACE_MEMBER(at, "type"), got[FIELD_TYPE], TYPES, PIPELINE_TYPE__MAX, &type);
	field->type = (enum pipeline_type)type;
	field->required = got[FIELD_REQUIRED].type == JSON_TRUE && got[FIELD_REQUIRED].text.p;
	field->index = got[FIELD_INDEX].type == JSON_TRUE && got[FIELD_INDEX].text.p;
	field->search = got[FIELD_SEARCH].type == JSON_TRUE && got[FIELD_SEARCH].text.p;
	loader_steps(l, at, got[FIELD_TRANSFORM], got[FIELD_DEFAULT], field);
}

/* Names of fields must differ, and what they are from is numbered. All other names that records have follow, so that
 * what a source calls the same does not come in twice. */
static void number_sources(struct loader *l, struct pipeline *p)
{
	size_t most = 2 * (size_t)p->fields_n + 2;
	struct str *names = loader_alloc(l, most, sizeof(*names));
	struct names index;
	int n = 0, twice;

	p->sources = names;
	if (!names)
		return;
	for (int i = 0; i < p->fields_n; i++)
		names[i] = p->fields[i].name;
	for (int i = 0; i < p->fields_n; i++)
		if (names[i].n == 0)
			return; /* told before */
	if (!loader_index(l, &index, names, p->fields_n, &twice))
		return;
	if (twice >= 0) {
		loader_problem(l, PLACE_MEMBER(PLACE_INDEX(PLACE_MEMBER(NULL, "fields"), twice), "name"),
			       "is the name of another field, too");
		return;
	}
	for (int i = 0; i < p->fields_n; i++) {
		int k = 0;
		while (k < n && !str_eq(names[k], p->fields[i].from))
			k++;
		p->fields[i].source = k;
		names[k] = p->fields[i].from;
		n += k == n;
	}
	p->sources_n = n;
	for (int i = -2; i < p->fields_n; i++) {
		struct str name = i == -2 ? p->into : i == -1 ? p->into_probability : p->fields[i].name;
		int k = 0;
		while (k < n && !str_eq(names[k], name))
			k++;
		if (k == n && name.n > 0)
			names[n++] = name;
	}
	p->names_n = n;
	loader_index(l, &p->places, names, n, &twice);
}

static void read_fields(struct loader *l, struct json_value value, struct pipeline *p)
{
	const struct place *at = PLACE_MEMBER(NULL, "fields");
	struct json_iter iter;
	struct json_value item;
	int n = strict_count(value), indexed = 0;

	if (!value.text.p)
		return;
	if (n > PIPELINE_FIELDS_MAX) {
		loader_problem(l, at, "should be at most %d", PIPELINE_FIELDS_MAX);
		return;
	}
	p->fields = loader_alloc(l, (size_t)n, sizeof(*p->fields));
	if (!p->fields)
		return;
	p->fields_n = n;
	json_iter_init(&iter, value);
	for (int i = 0; json_next(&iter, NULL, &item); i++) {
		read_field(l, PLACE_INDEX(at, i), item, p, i);
		indexed += p->fields[i].index;
	}
	if (indexed > PIPELINE_INDEX_MAX)
		loader_problem(l, at, "should have \"index\" at most %d times, not %d", PIPELINE_INDEX_MAX, indexed);
}

/* The number of the field that is called so. */
static bool find_field(struct loader *l, const struct place *at, struct json_value value, const struct pipeline *p,
		       int *out)
{
	const char *names[PIPELINE_FIELDS_MAX];
	struct str name;
	int n = 0;

	if (!loader_text(l, at, value, PIPELINE_FIELD_BYTES, &name))
		return false;
	for (int i = 0; i < p->fields_n; i++) {
		if (str_eq(name, p->fields[i].name)) {
			*out = i;
			return true;
		}
		if (p->fields[i].name.n > 0 && !memchr(p->fields[i].name.p, 0, p->fields[i].name.n)) {
			struct str copy = arena_dup(l->arena, p->fields[i].name);
			l->no_memory |= !copy.p;
			if (copy.p)
				names[n++] = copy.p;
		}
	}
	const char *nearest = loader_nearest(name, names, n);
	if (nearest)
		loader_problem(l, at, "is no field; did you mean \"%s\"?", nearest);
	else
		loader_problem(l, at, "is no field: name one of \"fields\"");
	return false;
}

/* Numbers of fields by their names. */
static int read_field_names(struct loader *l, const struct place *at, struct json_value value, const struct pipeline *p,
			    int most, int **out)
{
	struct json_iter iter;
	struct json_value item;
	int n = strict_count(value), good = 0;

	*out = NULL;
	if (n == 0 || n > most) {
		loader_problem(l, at, "should have 1 to %d names of fields", most);
		return 0;
	}
	*out = loader_alloc(l, (size_t)n, sizeof(int));
	if (!*out)
		return 0;
	json_iter_init(&iter, value);
	for (int i = 0; json_next(&iter, NULL, &item); i++) {
		int field = 0;
		if (!find_field(l, PLACE_INDEX(at, i), item, p, &field))
			continue;
		for (int k = 0; k < good; k++)
			if ((*out)[k] == field)
				loader_problem(l, PLACE_INDEX(at, i), "is there twice");
		(*out)[good++] = field;
	}
	return good;
}

static void read_key(struct loader *l, struct json_value value, struct pipeline *p)
{
	int *fields = NULL;

	if (!value.text.p)
		return;
	p->key_n = read_field_names(l, PLACE_MEMBER(NULL, "key"), value, p, PIPELINE_KEY_MAX, &fields);
	for (int i = 0; i < p->key_n; i++)
		p->key[i] = fields[i];
}

/* --- the model --- */

enum { MODEL_NAME, MODEL_VERSION, MODEL_INPUTS, MODEL_INTO, MODEL_MEMBERS };

static const struct loader_member MODEL_MEMBER[MODEL_MEMBERS] = {
	[MODEL_NAME] = {"name", STRICT_STRING, "a string"},
	[MODEL_VERSION] = {"version", STRICT_STRING, "a string"},
	[MODEL_INPUTS] = {"inputs", STRICT_ARRAY, "an array of names of fields"},
	[MODEL_INTO] = {"into", STRICT_STRING, "a string"},
};

static void read_model_name(struct loader *l, const struct place *at, struct json_value value, struct str *out)
{
	if (value.text.p && loader_text(l, at, value, PIPELINE_NAME_BYTES - 1, out) && !model_name_is_valid(*out))
		loader_problem(l, at, "should be of letters, digits, dots, dashes and underscores");
}

static void read_into(struct loader *l, struct json_value value, struct pipeline *p)
{
	const struct place *at = PLACE_MEMBER(PLACE_MEMBER(NULL, "model"), "into");
	struct buf second;

	p->into = STR("prediction");
	if (value.text.p && !loader_text(l, at, value, PIPELINE_FIELD_BYTES - 20, &p->into))
		return;
	buf_init(&second, l->arena);
	buf_str(&second, p->into);
	buf_str(&second, STR("_probability"));
	l->no_memory |= second.failed;
	p->into_probability = buf_view(&second);
	for (int i = 0; i < p->fields_n; i++)
		if (str_eq(p->into, p->fields[i].name) || str_eq(p->into_probability, p->fields[i].name))
			loader_problem(l, at, "is a field already: \"%.*s\"",
				       STR_ARG(strict_cut(p->fields[i].name, 60)));
}

static void read_model(struct loader *l, struct json_value value, struct pipeline *p)
{
	const struct place *at = PLACE_MEMBER(NULL, "model");
	struct json_value got[MODEL_MEMBERS];

	if (!value.text.p || !loader_members(l, at, value, MODEL_MEMBER, MODEL_MEMBERS, got))
		return;
	if (!got[MODEL_NAME].text.p)
		loader_problem(l, PLACE_MEMBER(at, "name"), "is missing");
	if (!got[MODEL_INPUTS].text.p)
		loader_problem(l, PLACE_MEMBER(at, "inputs"),
			       "is missing: the fields that the model is given, in its order");
	read_model_name(l, PLACE_MEMBER(at, "name"), got[MODEL_NAME], &p->model);
	read_model_name(l, PLACE_MEMBER(at, "version"), got[MODEL_VERSION], &p->model_version);
	if (got[MODEL_INPUTS].text.p)
		p->inputs_n = read_field_names(l, PLACE_MEMBER(at, "inputs"), got[MODEL_INPUTS], p, PIPELINE_FIELDS_MAX,
					       &p->inputs);
	read_into(l, got[MODEL_INTO], p);
}

/* --- the rest --- */

static void read_messages(struct loader *l, struct json_value value, struct pipeline *p)
{
	const struct place *at = PLACE_MEMBER(NULL, "messages");
	struct loader_member members[REFUSAL__MAX - 1];
	struct json_value got[REFUSAL__MAX - 1];
	const int n = REFUSAL__MAX - 1;

	if (!value.text.p)
		return;
	for (int i = 0; i < n; i++)
		members[i] = (struct loader_member){refusal_name((enum refusal)(i + 1)), STRICT_STRING, "a string"};
	if (!loader_members(l, at, value, members, n, got))
		return;
	for (int i = 0; i < n; i++)
		if (got[i].text.p)
			loader_text(l, PLACE_MEMBER(at, members[i].name), got[i], MESSAGE_BYTES, &p->messages[i + 1]);
}

static void read_to(struct loader *l, struct json_value value, struct pipeline *p)
{
	static const char *const names[] = {"records", "csv", "jsonl"};
	const struct place *at = PLACE_MEMBER(NULL, "to");
	struct json_iter iter;
	struct json_value item;

	p->to = PIPELINE_TO_RECORDS;
	if (!value.text.p)
		return;
	p->to = 0;
	json_iter_init(&iter, value);
	for (int i = 0; json_next(&iter, NULL, &item); i++) {
		int bit = 0;
		if (i > 2)
			break;
		if (loader_choice(l, PLACE_INDEX(at, i), item, names, 3, &bit))
			p->to |= 1u << bit;
	}
	if (strict_count(value) == 0 || strict_count(value) > 3)
		loader_problem(l, at, "should have 1 to 3 of records, csv and jsonl");
}

enum {
	TOP_NAME,
	TOP_DESCRIPTION,
	TOP_SOURCE,
	TOP_FIELDS,
	TOP_OTHERS,
	TOP_KEY,
	TOP_DUPLICATES,
	TOP_MODEL,
	TOP_MESSAGES,
	TOP_TO,
	TOP_KEEP_FAILED,
	TOP_BATCH_SIZE,
	TOP__MAX
};

static const struct loader_member TOP[TOP__MAX] = {
	[TOP_NAME] = {"name", STRICT_STRING, "a string"},
	[TOP_DESCRIPTION] = {"description", STRICT_STRING, "a string"},
	[TOP_SOURCE] = {"source", STRICT_OBJECT, "an object"},
	[TOP_FIELDS] = {"fields", STRICT_ARRAY, "an array of fields"},
	[TOP_OTHERS] = {"others", STRICT_STRING, "a string"},
	[TOP_KEY] = {"key", STRICT_ARRAY, "an array of names of fields"},
	[TOP_DUPLICATES] = {"duplicates", STRICT_STRING, "a string"},
	[TOP_MODEL] = {"model", STRICT_OBJECT, "an object"},
	[TOP_MESSAGES] = {"messages", STRICT_OBJECT, "an object"},
	[TOP_TO] = {"to", STRICT_ARRAY, "an array"},
	[TOP_KEEP_FAILED] = {"keep_failed", STRICT_BOOL, "true or false"},
	[TOP_BATCH_SIZE] = {"batch_size", STRICT_NUMBER, "a number"},
};

static void read_name(struct loader *l, struct json_value value, struct str file, struct pipeline *p)
{
	const struct place *at = PLACE_MEMBER(NULL, "name");
	struct str name = file;

	if (!value.text.p && file.n == 0) {
		loader_problem(l, at, "is missing");
		return;
	}
	if (value.text.p && !loader_text(l, at, value, 1000, &name))
		return;
	if (!str_is_name(name))
		loader_problem(l, at, "should be 1 to 64 letters, digits, dots, dashes and underscores");
	else if (file.n > 0 && !str_eq(name, file))
		loader_problem(l, at, "should be \"%.*s\" as the file is called", STR_ARG(file));
	else
		snprintf(p->name, sizeof(p->name), "%.*s", STR_ARG(name));
}

static void read_top(struct loader *l, struct json_value root, struct str name, struct pipeline *p)
{
	static const char *const others[] = {"keep", "drop", "refuse"};
	static const char *const duplicates[] = {"skip", "replace", "refuse"};
	struct json_value got[TOP__MAX];
	int choice = PIPELINE_KEEP;

	if (!loader_members(l, NULL, root, TOP, TOP__MAX, got))
		return;
	read_name(l, got[TOP_NAME], name, p);
	if (got[TOP_DESCRIPTION].text.p)
		loader_text(l, PLACE_MEMBER(NULL, "description"), got[TOP_DESCRIPTION], DESCRIPTION_BYTES,
			    &p->description);
	read_source(l, got[TOP_SOURCE], &p->source);
	read_fields(l, got[TOP_FIELDS], p);
	if (got[TOP_OTHERS].text.p)
		loader_choice(l, PLACE_MEMBER(NULL, "others"), got[TOP_OTHERS], others, 3, &choice);
	p->others = (enum pipeline_others)choice;
	read_key(l, got[TOP_KEY], p);
	choice = PIPELINE_SKIP;
	if (got[TOP_DUPLICATES].text.p)
		loader_choice(l, PLACE_MEMBER(NULL, "duplicates"), got[TOP_DUPLICATES], duplicates, 3, &choice);
	p->duplicates = (enum pipeline_duplicates)choice;
	if (got[TOP_DUPLICATES].text.p && !got[TOP_KEY].text.p)
		loader_problem(l, PLACE_MEMBER(NULL, "duplicates"),
			       "needs a \"key\": without one no record is a duplicate");
	read_model(l, got[TOP_MODEL], p);
	read_messages(l, got[TOP_MESSAGES], p);
	read_to(l, got[TOP_TO], p);
	p->keep_failed = got[TOP_KEEP_FAILED].text.p && got[TOP_KEEP_FAILED].type == JSON_TRUE;
	if (got[TOP_BATCH_SIZE].text.p)
		loader_integer(l, PLACE_MEMBER(NULL, "batch_size"), got[TOP_BATCH_SIZE], 1, PIPELINE_BATCH_MAX,
			       &p->batch_size);
	number_sources(l, p);
}

static void hash_text(struct str text, char out[static 65])
{
	uint8_t hash[32];

	crypto_generichash(hash, sizeof(hash), (const uint8_t *)text.p, text.n, NULL, 0);
	hex_format(hash, sizeof(hash), out);
}

enum status pipeline_parse(struct str text, struct str name, struct arena *arena, struct pipeline **out,
			   struct buf *problems, struct err *err)
{
	struct loader l = {.arena = arena, .problems = problems};
	struct json_value root;
	struct json_fault fault;

	*out = NULL;
	struct pipeline *p = arena_zalloc(arena, sizeof(*p));
	if (!p)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this pipeline");
	p->text = text.n <= PIPELINE_FILE_MAX ? arena_dup(arena, text) : STR("");
	l.no_memory |= !p->text.p;
	if (text.n > PIPELINE_FILE_MAX)
		loader_problem(&l, NULL, "The file is larger than %d bytes", PIPELINE_FILE_MAX);
	else if (p->text.p && !json_check(p->text, JSON_MAX_DEPTH, &root, &fault))
		loader_problem(&l, NULL, "The file is no JSON: %s at character %zu", fault.reason, fault.offset);
	else if (p->text.p)
		read_top(&l, root, name, p);
	if (l.no_memory || problems->failed)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this pipeline");
	if (l.problems_n > 0) {
		struct str all = buf_view(problems);
		struct str first = str_cut(&all, '\n');
		return err_set(err, STATUS_INVALID, "%.*s", STR_ARG(first));
	}
	hash_text(p->text, p->hash);
	*out = p;
	return STATUS_OK;
}

/* --- files --- */

static enum status read_file(int fd, struct arena *arena, struct str *out, struct err *err)
{
	struct stat info;
	size_t n = 0;

	if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
		return err_set(err, STATUS_INVALID, "It is no regular file");
	char *text = arena_alloc(arena, PIPELINE_FILE_MAX + 1);
	if (!text)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this pipeline");
	while (n < PIPELINE_FILE_MAX + 1) {
		ssize_t got = read(fd, text + n, PIPELINE_FILE_MAX + 1 - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(err, STATUS_UNAVAILABLE, "It can't be read: %s", strerror(errno));
		if (got == 0)
			break;
		n += (size_t)got;
	}
	*out = (struct str){text, n};
	return STATUS_OK;
}

enum status pipeline_load(const char *dir, struct str name, struct arena *arena, struct pipeline **out,
			  struct buf *problems, struct err *err)
{
	char path[PIPELINE_NAME_BYTES + sizeof(".json")];
	struct str text = {0};
	struct err why = {0};

	*out = NULL;
	if (!str_is_name(name))
		return err_set(err, STATUS_NOT_FOUND, "There is no pipeline of this name");
	snprintf(path, sizeof(path), "%.*s.json", STR_ARG(name));
	int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = at < 0 ? -1 : openat(at, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int error = errno;
	if (at >= 0)
		close(at);
	if (fd < 0 && error == ENOENT)
		return err_set(err, STATUS_NOT_FOUND, "There is no pipeline %.*s", STR_ARG(name));
	if (fd < 0)
		return err_set(err, STATUS_UNAVAILABLE, "Pipeline %.*s can't be read: %s", STR_ARG(name),
			       strerror(error));
	enum status status = read_file(fd, arena, &text, &why);
	close(fd);
	if (status == STATUS_INVALID)
		buf_str(problems, str_of(why.text));
	if (status != STATUS_OK)
		return err_set(err, status, "Pipeline %.*s: %s", STR_ARG(name), why.text);
	status = pipeline_parse(text, name, arena, out, problems, &why);
	if (status == STATUS_OK)
		return STATUS_OK;
	return err_set(err, status, "Pipeline %.*s: %s", STR_ARG(name), why.text);
}

static int is_pipeline(const struct dirent *entry)
{
	struct str name = str_of(entry->d_name);

	if (name.n <= 5 || memcmp(name.p + name.n - 5, ".json", 5) != 0)
		return 0;
	name.n -= 5;
	return str_is_name(name);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

enum status pipeline_each(const char *dir, bool (*fn)(void *arg, struct str name), void *arg, struct err *err)
{
	struct dirent **list = NULL;
	bool more = true;

	int n = scandir(dir, &list, is_pipeline, by_name);
	if (n < 0 && errno == ENOENT)
		return err_set(err, STATUS_NOT_FOUND, "There is no folder %s", dir);
	if (n < 0)
		return err_set(err, STATUS_UNAVAILABLE, "The folder %s can't be read: %s", dir, strerror(errno));
	for (int i = 0; i < n; i++) {
		struct str name = {list[i]->d_name, strlen(list[i]->d_name) - 5};
		more = more && i < FILES_MAX && fn(arg, name);
		free(list[i]);
	}
	free(list);
	return STATUS_OK;
}
