/* What the loader and the applier share: values while they are worked on, and steps. A field's transformations become a
 * list of steps in which the reading of its type is one, too, at its place; running a field is running its list. */
#ifndef APPCORE_PIPELINE_APPLY_IMPL_H
#define APPCORE_PIPELINE_APPLY_IMPL_H

#include "base/json.h"
#include "pipeline/apply.h"

enum value_kind {
	VALUE_MISSING,
	VALUE_NULL,
	VALUE_TEXT,
	VALUE_NUMBER,
	VALUE_BOOL,
	VALUE_JSON, /* an array or object: text as written */
	VALUE_TIME, /* text as it is written, micros */
	VALUE_DATE,
};

/* How a number's text may stand in JSON. */
enum value_form {
	VALUE_COMPUTED, /* it may not: the shortest decimal of the double is written */
	VALUE_WHOLE,    /* digits alone: with ".0" behind them they are what a double is written as */
	VALUE_SHORTEST, /* already what a double is written as */
};

struct pipeline_value {
	enum value_kind kind;
	enum value_form form;
	struct str text;
	union {
		double number;
		int64_t micros; /* since 1970 UTC */
	};
};

enum step_op {
	/* Of text; what is no text is left alone. */
	STEP_TRIM,
	STEP_LOWER,
	STEP_UPPER,
	STEP_COLLAPSE,
	STEP_REPLACE,
	STEP_SPLIT,
	STEP_MIN_LENGTH,
	STEP_MAX_LENGTH,
	STEP_PATTERN,
	/* Of any value. */
	STEP_MAP,
	STEP_ONE_OF,
	STEP_DEFAULT,
	/* From text to a typed value. */
	STEP_NUMBER,
	STEP_DATETIME,
	STEP_DATE,
	/* Of a typed value. */
	STEP_RANGE,
	STEP_ROUND,
	/* What a type asks for; not written by anybody. */
	STEP_TO_TEXT,
	STEP_TO_NUMBER,
	STEP_TO_INTEGER,
	STEP_TO_BOOL,
	STEP_TO_DATETIME,
	STEP_TO_DATE,
	STEP_AUTO, /* text of a CSV that is a number is one */
	STEP__MAX
};

enum {
	STEP_PAIRS_MAX = 1000,
	STEP_FORMATS_MAX = 16,
	STEP_TEXT_MAX = 256,      /* bytes of a format, a pattern, what is looked for */
	VALUE_TEXT_MAX = 1 << 20, /* bytes that a transformation may make of a value */
	VALUE_SHOWN_BYTES = 200,  /* of a value in a refusal */
	VALUE_NUMBER_BYTES = 32,  /* of any number's text */
};

/* What a step was given, by its kind. */
struct pipeline_step {
	enum step_op op;
	struct str from, with;               /* SPLIT (by); NUMBER (decimal, thousands); PATTERN */
	int64_t count;                       /* lengths, SPLIT's part, ROUND's digits, minutes of a zone */
	double low, high;                    /* RANGE of numbers */
	int64_t low_us, high_us;             /* RANGE of times */
	const struct str *texts;             /* formats; what REPLACE looks for */
	const struct pipeline_value *values; /* MAP: what comes; ONE_OF; DEFAULT: one; REPLACE: texts */
	int n;
	struct names places; /* MAP: finds texts; ONE_OF: where all are texts */
	bool all_texts;
};

/* Why a value did not pass: a sentence in the buffer of the caller. */
struct step_fault {
	enum refusal refusal;
	char text[480];
};

/* Runs the steps of a field over *value, which is changed in place. STATUS_INVALID: *fault says why. STATUS_NO_MEMORY.
 */
enum status steps_run(const struct pipeline_field *field, struct pipeline_value *value, struct arena *arena,
		      struct step_fault *fault) __attribute__((nonnull, warn_unused_result));

/* --- numbers (apply_number.c) --- */

/* A number as float() of Python reads it, without underscores, "nan", "inf" and what is too large: JSON's numbers and
 * those with blanks around them, a plus sign, or nothing before or behind the point. */
bool number_read(struct str text, struct pipeline_value *out) __attribute__((nonnull, warn_unused_result));
/* The same where only what JSON would write as a number is one, and nothing is lost by it being one: no leading zeros,
 * no more whole digits than a double holds. */
bool number_read_strict(struct str text, struct pipeline_value *out) __attribute__((nonnull, warn_unused_result));
/* `out` has room for VALUE_NUMBER_BYTES, of which the result are used. */
size_t number_put(char *out, double number) __attribute__((nonnull));
size_t number_put_i64(char *out, int64_t number) __attribute__((nonnull));

/* --- text (apply_text.c) --- */

struct str text_trim(struct str text);                  /* white space as Python's str.strip() has it */
bool text_matches(struct str text, struct str pattern); /* * ? [a-z] [!a-z] \x; in time of text × pattern */
size_t text_characters(struct str text);
struct str text_cut(struct str text, size_t max); /* at a character's border */
/* As repr() of Python writes a str, of at most VALUE_SHOWN_BYTES of it. */
void text_put_repr(struct buf *out, struct str text) __attribute__((nonnull));
/* Results live in the arena, or borrow where nothing changes. p is NULL: no memory. */
struct str text_lower(struct str text, struct arena *arena) __attribute__((nonnull, warn_unused_result));
struct str text_upper(struct str text, struct arena *arena) __attribute__((nonnull, warn_unused_result));
struct str text_collapse(struct str text, struct arena *arena) __attribute__((nonnull, warn_unused_result));

/* --- times (apply_time.c) --- */

/* A format in the way of strptime: "%d.%m.%Y %H:%M", or "iso", "epoch", "epoch_ms", "epoch_us". False with a sentence
 * when it is none, or can't say which day it is. */
bool time_format_check(struct str format, char why[static 120]) __attribute__((nonnull, warn_unused_result));
/* `zone` minutes east of Greenwich hold where the text does not say. */
bool time_read(struct str text, struct str format, int64_t zone, int64_t *us)
	__attribute__((nonnull, warn_unused_result));
bool time_read_iso(struct str text, int64_t zone, int64_t *us) __attribute__((nonnull, warn_unused_result));
/* The text of a time or a date, in the arena; p is NULL: no memory. */
struct str time_text(int64_t us, bool date, struct arena *arena) __attribute__((nonnull, warn_unused_result));

/* --- writing (apply_write.c) --- */

/* JSON of many rows in blocks of an arena: what belongs to one row lies in one piece. */
struct sink {
	struct arena *arena;
	char *row; /* where the row that is being written begins */
	char *at, *end;
	bool failed;
};

void sink_init(struct sink *sink, struct arena *arena) __attribute__((nonnull));
void sink_begin(struct sink *sink) __attribute__((nonnull)); /* a row */
struct str sink_row(const struct sink *sink) __attribute__((nonnull));
bool sink_grow(struct sink *sink, size_t more) __attribute__((nonnull, cold));

static inline bool sink_need(struct sink *sink, size_t more)
{
	return (size_t)(sink->end - sink->at) >= more || sink_grow(sink, more);
}

static inline void sink_put(struct sink *sink, struct str s)
{
	if (!sink_need(sink, s.n))
		return;
	if (s.n)
		memcpy(sink->at, s.p, s.n);
	sink->at += s.n;
}

static inline void sink_char(struct sink *sink, char c)
{
	if (sink_need(sink, 1))
		*sink->at++ = c;
}

void sink_string(struct sink *sink, struct str s) __attribute__((nonnull));
/* `real`: a whole number has ".0" behind it. */
void sink_value(struct sink *sink, const struct pipeline_value *value, bool real) __attribute__((nonnull));

/* --- the model (apply_model.c) --- */

struct scorer;

enum { SCORER_ROWS = 256 };

/* STATUS_UNAVAILABLE, STATUS_INVALID as pipeline_apply; *out is NULL where the pipeline has no model. The set is held
 * for as long as the scorer is there. */
enum status scorer_new(struct scorer **out, const struct pipeline *pipeline, struct model_set *models, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
void scorer_free(struct scorer *scorer); /* NULL is allowed */
/* Takes a record's input number `i` of its row (SCORER_ROWS at most, from 0). STATUS_INVALID: *fault says why. */
enum status scorer_take(struct scorer *scorer, size_t row, int i, const struct pipeline_value *value,
			struct step_fault *fault) __attribute__((nonnull, warn_unused_result));
/* Asks for rows 0 to n - 1. */
enum status scorer_run(struct scorer *scorer, size_t n, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
size_t scorer_room(const struct scorer *scorer) __attribute__((nonnull)); /* bytes that scorer_put needs */
/* Writes ',"into":…' of a row of the last run (without the comma if `first`); returns where it ends. NULL: the model
 * did not take it, for the reason *why. */
char *scorer_put(const struct scorer *scorer, size_t row, bool first, char *out, const char **why)
	__attribute__((nonnull, warn_unused_result));

#endif
