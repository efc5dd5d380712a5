/* Exports as files: DATA_DIR/exports/<task's id>.csv|jsonl|json[.gz], written by a task of the kind "data_export". */
#ifndef APPCORE_TASK_EXPORT_H
#define APPCORE_TASK_EXPORT_H

#include "base/buf.h"
#include "store/records.h"
#include "task/kinds.h"

#define EXPORT_KIND "data_export"

enum export_format { EXPORT_CSV, EXPORT_JSON_LINES, EXPORT_JSON, EXPORT_FORMAT__MAX };
const char *export_format_name(enum export_format format) __attribute__((returns_nonnull)); /* "csv" */
bool export_format_parse(struct str name, enum export_format *out) __attribute__((nonnull, warn_unused_result));

/* What is wanted. */
struct export_wish {
	struct str pipeline;
	enum export_format format;
	bool gzip;
	struct record_query query; /* conditions and words of it; the order is that of storing */
	struct str *columns;       /* of the CSV; none: the definition's, then what the first records have */
	int columns_n;
};

enum { EXPORT_COLUMNS_MAX = 1024 };

/* The payload of the task that writes it. */
void export_put_payload(struct buf *out, const struct export_wish *wish) __attribute__((nonnull));
/* And back; texts in the arena. False: it is none. */
bool export_read_payload(struct str payload, struct arena *arena, struct export_wish *out)
	__attribute__((nonnull(2, 3), warn_unused_result));

/* Removes files whose task is not there any more. */
void export_expire(struct task_run *run, int64_t now_us) __attribute__((nonnull));

#endif
