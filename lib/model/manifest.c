/* Reading a manifest: one walk that checks everything, so that what comes after may rely on it. The inputs and the
 * steps of preprocessing have files of their own. */
#include "model/manifest_impl.h"

#include <sodium.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/id.h"

/* Room for what is read of the largest text: 16 bytes for a string of 3, 8 for a number of 2, indexes. */
static const size_t ARENA_BYTES_MAX = (size_t)24 * MANIFEST_BYTES_MAX;
enum { FILE_BYTES_MAX = 255 };

enum {
	APPCORE,
	KIND,
	FILE_NAME,
	HASH,
	DESCRIPTION,
	CREATED_AT,
	SOURCE,
	LICENCE,
	INPUTS,
	PREPROCESSING,
	OUTPUT,
	QUALITY,
	EXAMPLES,
	MEMBERS__MAX
};
static const struct strict_member MEMBERS[] = {
	[APPCORE] = {"appcore", STRICT_NUMBER, true},
	[KIND] = {"kind", STRICT_STRING, true},
	[FILE_NAME] = {"file", STRICT_STRING, true},
	[HASH] = {"hash", STRICT_STRING, true},
	[DESCRIPTION] = {"description", STRICT_STRING, false},
	[CREATED_AT] = {"created_at", STRICT_STRING, false},
	[SOURCE] = {"source", STRICT_STRING, false},
	[LICENCE] = {"licence", STRICT_STRING, false},
	[INPUTS] = {"inputs", STRICT_ARRAY, true},
	[PREPROCESSING] = {"preprocessing", STRICT_ARRAY, false},
	[OUTPUT] = {"output", STRICT_OBJECT, true},
	[QUALITY] = {"quality", STRICT_OBJECT, false},
	[EXAMPLES] = {"examples", STRICT_ARRAY, false},
};
_Static_assert(sizeof(MEMBERS) / sizeof(MEMBERS[0]) == MEMBERS__MAX, "a row for each member");

static const char *const OUTPUTS[] = {
	[MANIFEST_REGRESSION] = "regression", [MANIFEST_BINARY] = "binary",   [MANIFEST_MULTICLASS] = "multiclass",
	[MANIFEST_COUNT] = "count",           [MANIFEST_RANKING] = "ranking",
};
enum { OUTPUTS__MAX = sizeof(OUTPUTS) / sizeof(OUTPUTS[0]) };

enum status manifest_index_names(struct manifest_reader *r, struct names *index, const struct str *names, int n,
				 const struct place *at)
{
	int twice;

	if (names_init(index, names, n, r->key, r->strict.arena, &twice))
		return STATUS_OK;
	if (twice < 0)
		return strict_no_memory(&r->strict);
	struct str shown = strict_cut(names[twice], 60);
	return strict_fault(&r->strict, PLACE_INDEX(at, twice), "\"%.*s\" is there twice", STR_ARG(shown));
}

/* Looked at first: another format has other members. */
static enum status read_format(const struct strict *s, struct json_value root)
{
	struct json_value value;
	double format;

	if (!json_member(root, STR("appcore"), &value))
		return strict_fault(s, NULL, "This is no manifest of appcore: \"appcore\" is missing");
	enum status status = strict_number(s, PLACE_MEMBER(NULL, "appcore"), value, &format);
	if (status == STATUS_OK && format != MANIFEST_FORMAT)
		return strict_fault(s, PLACE_MEMBER(NULL, "appcore"), "is format %.17g, this program reads format %d",
				    format, MANIFEST_FORMAT);
	return status;
}

/* A name in the manifest's own folder. */
static enum status read_file(const struct strict *s, struct json_value value, struct str *file)
{
	const struct place *at = PLACE_MEMBER(NULL, "file");
	enum status status = strict_string(s, at, value, file);

	if (status != STATUS_OK)
		return status;
	if (file->n == 0 || file->n > FILE_BYTES_MAX)
		return strict_fault(s, at, "should have 1 to %d bytes", FILE_BYTES_MAX);
	if (file->p[0] == '.' || memchr(file->p, '/', file->n) || memchr(file->p, '\\', file->n))
		return strict_fault(s, at, "should be the name of a file in the manifest's folder, without a path");
	if (str_eq(*file, STR("manifest.json")))
		return strict_fault(s, at, "is the manifest itself");
	return STATUS_OK;
}

static enum status read_hash(const struct strict *s, struct json_value value, char hash[static MODEL_HASH_BYTES])
{
	struct str text;
	uint8_t bytes[(MODEL_HASH_BYTES - 1) / 2];
	enum status status = strict_string(s, PLACE_MEMBER(NULL, "hash"), value, &text);

	if (status != STATUS_OK)
		return status;
	if (!hex_parse(text, bytes, sizeof(bytes)))
		return strict_fault(s, PLACE_MEMBER(NULL, "hash"),
				    "should be 64 hexadecimal digits (BLAKE2b-256 of the file)");
	hex_format(bytes, sizeof(bytes), hash);
	return STATUS_OK;
}

/* Strings that are for people: blank space of any kind is theirs. */
static enum status read_words(struct manifest_reader *r, struct json_value value, struct str *out)
{
	if (!value.text.p)
		return STATUS_OK;
	*out = json_string(value, r->strict.arena);
	return out->p ? STATUS_OK : strict_no_memory(&r->strict);
}

static enum status read_origin(struct manifest_reader *r, const struct json_value *values)
{
	struct manifest *manifest = r->manifest;
	int64_t us;
	enum status status = read_words(r, values[DESCRIPTION], &manifest->description);

	if (status == STATUS_OK)
		status = read_words(r, values[SOURCE], &manifest->source);
	if (status == STATUS_OK)
		status = read_words(r, values[LICENCE], &manifest->licence);
	if (status == STATUS_OK)
		status = read_words(r, values[CREATED_AT], &manifest->created_at);
	if (status == STATUS_OK && manifest->created_at.n > 0 && !clock_parse_iso(manifest->created_at, &us))
		return strict_fault(&r->strict, PLACE_MEMBER(NULL, "created_at"),
				    "should be a time like 2026-11-21T10:00:00Z");
	return status;
}

static enum status read_classes(struct manifest_reader *r, const struct place *at, struct json_value value)
{
	const struct strict *s = &r->strict;
	struct manifest *manifest = r->manifest;
	bool binary = manifest->output == MANIFEST_BINARY;
	struct str *names;
	struct names index;

	if (!binary && manifest->output != MANIFEST_MULTICLASS)
		return value.text.p ? strict_fault(s, at, "are for outputs of type \"binary\" and \"multiclass\"")
				    : STATUS_OK;
	if (!value.text.p)
		return strict_fault(s, at, "is missing");
	enum status status = strict_strings(s, at, value, MODEL_CLASSES_MAX, &names, &manifest->classes_n);
	if (status != STATUS_OK)
		return status;
	if (binary && manifest->classes_n != 2)
		return strict_fault(s, at, "should have 2 elements, not %d", manifest->classes_n);
	if (manifest->classes_n < 2)
		return strict_fault(s, at, "should have at least 2 elements, not %d", manifest->classes_n);
	manifest->classes = names;
	return manifest_index_names(r, &index, names, manifest->classes_n, at);
}

static enum status read_output(struct manifest_reader *r, struct json_value value)
{
	enum { TYPE, NAME, MEANING, CLASSES, N };
	static const struct strict_member members[] = {
		[TYPE] = {"type", STRICT_STRING, true},
		[NAME] = {"name", STRICT_STRING, false},
		[MEANING] = {"meaning", STRICT_STRING, false},
		[CLASSES] = {"classes", STRICT_ARRAY, false},
	};
	const struct place *at = PLACE_MEMBER(NULL, "output");
	struct json_value values[N];
	int type = 0;
	enum status status = strict_members(&r->strict, at, value, members, N, values);

	if (status == STATUS_OK)
		status = strict_choice(&r->strict, PLACE_MEMBER(at, "type"), values[TYPE], OUTPUTS, OUTPUTS__MAX,
				       &type);
	if (status != STATUS_OK)
		return status;
	r->manifest->output = (enum manifest_output)type;
	if (values[NAME].text.p)
		status = strict_string(&r->strict, PLACE_MEMBER(at, "name"), values[NAME], &r->manifest->output_name);
	if (status == STATUS_OK)
		status = read_words(r, values[MEANING], &r->manifest->output_meaning);
	if (status == STATUS_OK)
		status = read_classes(r, PLACE_MEMBER(at, "classes"), values[CLASSES]);
	return status;
}

/* What a classifier's example says beside the result. */
static enum status read_expected_class(struct manifest_reader *r, const struct place *at, struct json_value label,
				       struct json_value probabilities, struct manifest_example *example)
{
	const struct strict *s = &r->strict;
	const struct manifest *manifest = r->manifest;
	enum status status = STATUS_OK;
	int known = 0;

	if (manifest->classes_n == 0 && (label.text.p || probabilities.text.p))
		return strict_fault(s, at, "has a label or probabilities, but the model has no classes");
	if (label.text.p) {
		status = strict_string(s, PLACE_MEMBER(at, "label"), label, &example->label);
		while (status == STATUS_OK && known < manifest->classes_n &&
		       !str_eq(manifest->classes[known], example->label))
			known++;
		if (status == STATUS_OK && known == manifest->classes_n)
			return strict_fault(s, PLACE_MEMBER(at, "label"), "is none of the classes");
	}
	if (status != STATUS_OK || !probabilities.text.p)
		return status;
	double *room = arena_alloc(s->arena, (size_t)manifest->classes_n * sizeof(*room));
	if (!room)
		return strict_no_memory(s);
	example->probabilities = room;
	return strict_numbers(s, PLACE_MEMBER(at, "probabilities"), probabilities, manifest->classes_n, room);
}

static enum status read_example(struct manifest_reader *r, const struct place *at, struct json_value value,
				struct manifest_example *example)
{
	enum { EXAMPLE_INPUT, RESULT, LABEL, PROBABILITIES, TOLERANCE, N };
	static const struct strict_member members[] = {
		[EXAMPLE_INPUT] = {"input", STRICT_ANY, true},
		[RESULT] = {"result", STRICT_NUMBER, true},
		[LABEL] = {"label", STRICT_STRING, false},
		[PROBABILITIES] = {"probabilities", STRICT_ARRAY, false},
		[TOLERANCE] = {"tolerance", STRICT_NUMBER, false},
	};
	const struct strict *s = &r->strict;
	struct json_value values[N];
	enum status status = strict_members(s, at, value, members, N, values);

	if (status == STATUS_OK)
		status = strict_number(s, PLACE_MEMBER(at, "result"), values[RESULT], &example->result);
	example->tolerance = 1e-9;
	if (status == STATUS_OK && values[TOLERANCE].text.p)
		status = strict_number(s, PLACE_MEMBER(at, "tolerance"), values[TOLERANCE], &example->tolerance);
	if (status == STATUS_OK && example->tolerance < 0)
		return strict_fault(s, PLACE_MEMBER(at, "tolerance"), "is less than 0");
	example->input = values[EXAMPLE_INPUT];
	if (status == STATUS_OK)
		status = read_expected_class(r, at, values[LABEL], values[PROBABILITIES], example);
	return status;
}

static enum status read_examples(struct manifest_reader *r, struct json_value array)
{
	const struct place *at = PLACE_MEMBER(NULL, "examples");
	struct json_iter iter;
	struct json_value value;
	int n = strict_count(array);

	if (n > MANIFEST_EXAMPLES_MAX)
		return strict_fault(&r->strict, at, "has %d elements, %d are allowed", n, MANIFEST_EXAMPLES_MAX);
	struct manifest_example *examples = arena_zalloc(r->strict.arena, (size_t)n * sizeof(*examples) + 1);
	if (!examples)
		return strict_no_memory(&r->strict);
	json_iter_init(&iter, array);
	for (int i = 0; json_next(&iter, NULL, &value); i++) {
		enum status status = read_example(r, PLACE_INDEX(at, i), value, &examples[i]);
		if (status != STATUS_OK)
			return status;
	}
	r->manifest->examples = examples;
	r->manifest->examples_n = n;
	return STATUS_OK;
}

static enum status read_members(struct manifest_reader *r, const struct json_value *values)
{
	struct manifest *manifest = r->manifest;
	const struct strict *s = &r->strict;
	enum status status = strict_string(s, PLACE_MEMBER(NULL, "kind"), values[KIND], &manifest->kind);

	if (status == STATUS_OK)
		status = read_file(s, values[FILE_NAME], &manifest->file);
	if (status == STATUS_OK)
		status = read_hash(s, values[HASH], manifest->file_hash);
	if (status == STATUS_OK)
		status = read_origin(r, values);
	if (status == STATUS_OK)
		status = manifest_read_inputs(r, values[INPUTS], str_eq(manifest->kind, STR("xgboost")));
	if (status == STATUS_OK)
		status = manifest_read_steps(r, values[PREPROCESSING]);
	if (status == STATUS_OK)
		status = read_output(r, values[OUTPUT]);
	manifest->quality = values[QUALITY];
	if (status == STATUS_OK)
		status = read_examples(r, values[EXAMPLES]);
	return status;
}

static enum status read_text(struct manifest *manifest, struct str text, struct err *err)
{
	struct manifest_reader r = {.strict = {&manifest->arena, err}, .manifest = manifest};
	struct json_value values[MEMBERS__MAX];
	uint8_t hash[32];
	enum status status;

	manifest->text = arena_dup(&manifest->arena, text);
	if (!manifest->text.p)
		return strict_no_memory(&r.strict);
	crypto_generichash(hash, sizeof(hash), (const uint8_t *)text.p, text.n, NULL, 0);
	hex_format(hash, sizeof(hash), manifest->hash);
	memcpy(r.key, hash, sizeof(r.key));
	status = strict_check(&r.strict, manifest->text, "The manifest", &manifest->root);
	if (status == STATUS_OK)
		status = read_format(&r.strict, manifest->root);
	if (status == STATUS_OK)
		status = strict_members(&r.strict, NULL, manifest->root, MEMBERS, MEMBERS__MAX, values);
	return status == STATUS_OK ? read_members(&r, values) : status;
}

enum status manifest_parse(struct manifest **out, struct str text, struct err *err)
{
	struct manifest *manifest;

	*out = NULL;
	if (text.n > MANIFEST_BYTES_MAX)
		return err_set(err, STATUS_INVALID, "The manifest has %zu bytes, %d are allowed", text.n,
			       MANIFEST_BYTES_MAX);
	manifest = calloc(1, sizeof(*manifest));
	if (!manifest)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this model");
	arena_init(&manifest->arena, ARENA_BYTES_MAX);
	enum status status = read_text(manifest, text, err);
	if (status != STATUS_OK)
		manifest_free(manifest);
	else
		*out = manifest;
	return status;
}

void manifest_free(struct manifest *manifest)
{
	if (!manifest)
		return;
	arena_release(&manifest->arena);
	free(manifest);
}

int manifest_input_index(const struct manifest *manifest, struct str name)
{
	return names_find(&manifest->input_places, name);
}

int manifest_columns(const struct manifest *manifest)
{
	return manifest->columns;
}
