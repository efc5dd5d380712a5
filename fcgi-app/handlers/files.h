/* Files that nginx sends: a handler decides who may have one, and gives its path (X-Accel-Redirect). */
#ifndef APPCORE_HANDLERS_FILES_H
#define APPCORE_HANDLERS_FILES_H

#include "http/request.h"

/* 200 with the file at `path` in DATA_DIR (uploads/…, archive/…, exports/… alone: nginx/downloads.conf.in), to be saved
 * as `name`. Not finished. */
void files_answer(struct request *req, struct str path, struct str name, const char *type) __attribute__((nonnull));

#endif
