/* Errors. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

enum status err_set(struct err *err, enum status status, const char *format, ...)
{
	if (err) {
		va_list args;
		va_start(args, format);
		err->status = status;
		vsnprintf(err->text, sizeof(err->text), format, args);
		va_end(args);
	}
	return status;
}
