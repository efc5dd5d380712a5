/* What readers hand on: a record as it stood in its source, value by value. All text is borrowed from the block it was
 * read from, or lies in the reader's arena. */
#ifndef APPCORE_PIPELINE_CELL_H
#define APPCORE_PIPELINE_CELL_H

#include "base/str.h"

enum cell_kind {
	CELL_MISSING, /* the record has no such field; an empty cell of a CSV */
	CELL_NULL,    /* JSON's null */
	CELL_TEXT,    /* UTF-8; a CSV has nothing else */
	CELL_NUMBER,  /* JSON's number: `text` as written, `number` its value */
	CELL_BOOL,    /* `number` is 0 or 1 */
	CELL_JSON,    /* an array or object: `text` as written, checked */
};

struct cell {
	enum cell_kind kind;
	struct str text;
	double number;
};

/* One record. Those of a CSV share `names`, so whoever looks names up does it once for as long as the pointer stays. */
struct raw_record {
	bool is_json;            /* a text is a text; of a CSV it may be a number as well */
	int64_t line;            /* of the source, from 1, where the record begins; of an API the item's number */
	size_t n;                /* cells */
	const struct str *names; /* n of them */
	struct cell *cells;
	const char *fault; /* why it is no record (code of a refusal: "ragged", "encoding", "syntax"), or NULL */
	struct str detail; /* of the fault, a sentence */
	struct str text;   /* as it stood in the source; what a refusal shows */
};

#endif
