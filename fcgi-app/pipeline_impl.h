/* What the files of `appcore pipeline` share: pipeline.c (the verbs) and pipeline_index.c (indexes of fields). */
#ifndef APPCORE_PIPELINE_IMPL_H
#define APPCORE_PIPELINE_IMPL_H

#include "base/arena.h"
#include "base/buf.h"
#include "command.h"
#include "pipeline/definition.h"

struct pipeline_command {
	struct config config;
	char **words; /* after the verb */
	int n;
	const char *limit;
	bool json, dry_run;
	struct arena arena;
	struct buf problems;
};

/* The pipeline that a word names: of PIPELINES_DIR, or a path. It lives in the arena. */
enum status pipeline_command_load(struct pipeline_command *c, const char *word, struct pipeline **out, struct err *err)
	__attribute__((nonnull, warn_unused_result));

/* Says what is wrong with the definition that could not be loaded. */
void pipeline_command_tell(const struct pipeline_command *c, const char *word, const struct err *err)
	__attribute__((nonnull));

/* The exit code, after the sentence of an error. */
int pipeline_command_finish(enum status status, const struct err *err) __attribute__((nonnull));

int pipeline_command_index(struct pipeline_command *c) __attribute__((nonnull));

#endif
