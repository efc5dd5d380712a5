/* Pipelines as data: what a file pipelines/NAME.json says, checked and put into tables (docs/pipelines.md has the
 * whole format).
 *
 *   { "name": "dataflow",
 *     "source": {"format": "csv", "match": "*.csv", "delimiter": "auto", "encoding": "auto", "header": true},
 *     "fields": [{"name": "value", "type": "number", "required": true, "from": "Value", "default": 0,
 *                 "transform": [{"trim": true}, {"range": [0, 10]}], "index": true, "search": false}],
 *     "others": "keep",             what becomes of fields that are not named: keep, drop, refuse
 *     "key": ["id"],                which fields identify a record; none: each row is its own
 *     "duplicates": "skip",         what becomes of a record whose key is there already: skip, replace, refuse
 *     "model": {"name": "mean", "inputs": ["a", "b"], "into": "score"},
 *     "messages": {"missing": "…"}, own words for a reason of refusal
 *     "to": ["records", "csv", "jsonl"] }
 *
 * Types: text, number, integer, bool, datetime, date, any. Transformations run in the order they stand in. */
#ifndef APPCORE_PIPELINE_DEFINITION_H
#define APPCORE_PIPELINE_DEFINITION_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "model/names.h"

enum {
	PIPELINE_FIELDS_MAX = 256,
	PIPELINE_FIELD_BYTES = 256, /* of a field's name */
	PIPELINE_NAME_BYTES = 65,
	PIPELINE_KEY_MAX = 8,
	PIPELINE_KEY_BYTES = 512, /* of a record's key */
	PIPELINE_INDEX_MAX = 16,
	PIPELINE_STEPS_MAX = 32, /* of a field */
	PIPELINE_FILE_MAX = 256 * 1024,
	PIPELINE_BATCH_MAX = 1000000,
};

/* Why a record was refused: what refusals are counted by. */
enum refusal {
	REFUSAL_NONE,
	REFUSAL_MISSING,   /* a required field */
	REFUSAL_TYPE,      /* no number, no date, … */
	REFUSAL_RANGE,     /* range, one of, length, pattern */
	REFUSAL_OTHER,     /* a field that is not named, where these are refused */
	REFUSAL_RAGGED,    /* more or fewer cells than columns */
	REFUSAL_ENCODING,  /* no UTF-8, NUL */
	REFUSAL_SYNTAX,    /* no JSON object, a record too long */
	REFUSAL_DUPLICATE, /* the key is there already (found by the store) */
	REFUSAL_MODEL,     /* the model does not take it */
	REFUSAL__MAX
};
const char *refusal_name(enum refusal refusal) __attribute__((returns_nonnull)); /* "missing" */

enum pipeline_format { PIPELINE_CSV, PIPELINE_JSON_LINES, PIPELINE_JSON, PIPELINE_FORMAT__MAX };
enum pipeline_others { PIPELINE_KEEP, PIPELINE_DROP, PIPELINE_REFUSE_OTHERS };
enum pipeline_duplicates { PIPELINE_SKIP, PIPELINE_REPLACE, PIPELINE_REFUSE };
enum pipeline_type {
	PIPELINE_ANY,
	PIPELINE_TEXT,
	PIPELINE_NUMBER,
	PIPELINE_INTEGER,
	PIPELINE_BOOL,
	PIPELINE_DATETIME,
	PIPELINE_DATE,
	PIPELINE_TYPE__MAX
};
enum { PIPELINE_TO_RECORDS = 1 << 0, PIPELINE_TO_CSV = 1 << 1, PIPELINE_TO_JSON_LINES = 1 << 2 };

struct http_source;
struct pipeline_step;  /* a transformation: apply_impl.h */
struct pipeline_value; /* as fields have them while they are worked on */

struct pipeline_field {
	struct str name, from; /* what it is called in records, and in the source */
	int source;            /* the number of `from` among the pipeline's sources */
	enum pipeline_type type;
	bool required;
	const struct pipeline_value *fallback; /* NULL: none */
	const struct pipeline_step *steps;
	int steps_n;
	bool index, search;
};

/* How a source is read. */
struct pipeline_source {
	enum pipeline_format format;
	struct str match;    /* of names of files in data/raw; empty: none are taken from there */
	char delimiter;      /* 0: found out */
	struct str encoding; /* "utf-8", "latin-1", "utf-16", …; "auto": found out */
	bool has_header;
	struct str *header; /* names when the file has none, or other ones */
	int header_n;
	struct str items; /* JSON: the member that is the array, "data.items"; empty: the first one that is */
	struct str kind;  /* of records: "csv", "api", … */
	struct str http;  /* the object "http" as written; p is NULL: not an API */
	const struct http_source *api; /* what it says (http_source.h); NULL: not an API */
};

struct pipeline {
	char name[PIPELINE_NAME_BYTES];
	struct str description;
	struct pipeline_source source;
	struct pipeline_field *fields;
	int fields_n;
	struct str *sources; /* names that fields are from, each once; then other names that records have */
	int sources_n, names_n;
	struct names places; /* finds them */
	enum pipeline_others others;
	int key[PIPELINE_KEY_MAX]; /* numbers of fields */
	int key_n;
	enum pipeline_duplicates duplicates;
	struct str model, model_version; /* empty: no model; the version that the route gives */
	int *inputs;                     /* numbers of the fields that the model is given, in its order */
	int inputs_n;
	struct str into; /* the field for the model's output; a classifier also has <into>_probability */
	struct str into_probability;
	struct str messages[REFUSAL__MAX]; /* own words for a reason; p is NULL: those of the reason */
	unsigned to;                       /* PIPELINE_TO_…, or-ed */
	bool keep_failed;                  /* refused records with a key are stored, too, with the status "failed" */
	int64_t batch_size;                /* records in a transaction; 0: BATCH_SIZE */
	char hash[65];                     /* hex of BLAKE2b-256 of the text */
	struct str text;                   /* as written */
};

const char *pipeline_type_name(enum pipeline_type type) __attribute__((returns_nonnull));       /* "number" */
const char *pipeline_format_name(enum pipeline_format format) __attribute__((returns_nonnull)); /* "csv" */

/* Whether what is stored of such a field compares as a number. */
static inline bool pipeline_type_is_number(enum pipeline_type type)
{
	return type == PIPELINE_NUMBER || type == PIPELINE_INTEGER || type == PIPELINE_BOOL;
}

/* Reads a definition; everything lives in the arena, and it never changes afterwards (any thread may read it). Every
 * fault is listed, one sentence a line, naming the member ("fields[2].type: …"), in *problems; STATUS_INVALID then.
 * `name`: what it must be called (its file's name); empty: anything. */
enum status pipeline_parse(struct str text, struct str name, struct arena *arena, struct pipeline **out,
			   struct buf *problems, struct err *err) __attribute__((nonnull(3, 4, 5), warn_unused_result));

/* The same from `dir`/NAME.json. STATUS_NOT_FOUND: there is none; a name that is no name is not looked for. */
enum status pipeline_load(const char *dir, struct str name, struct arena *arena, struct pipeline **out,
			  struct buf *problems, struct err *err)
	__attribute__((nonnull(1, 3, 4, 5), warn_unused_result));

/* Calls fn with the name of each file NAME.json of `dir`, sorted. */
enum status pipeline_each(const char *dir, bool (*fn)(void *arg, struct str name), void *arg, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

#endif
