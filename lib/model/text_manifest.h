/* The manifest of a text classifier that was trained here. */
#ifndef APPCORE_MODEL_TEXT_MANIFEST_H
#define APPCORE_MODEL_TEXT_MANIFEST_H

#include "model/text_train.h"

struct text_about {
	struct str file;                         /* its name */
	struct str bytes;                        /* what is in it */
	struct str output;                       /* what the output is called: "sentiment" */
	struct str description, source, licence; /* empty: left out */
	int64_t created_us;
	size_t trained_n;                 /* samples that it was trained on */
	const struct text_report *report; /* on samples held out; NULL: none */
	size_t report_trained_n;          /* samples that the reported one was trained on */
	const struct str *examples;
	size_t examples_n;
};

/* Appends the manifest of the classifier that was built from `about->bytes`; its probabilities of the examples are
 * expected by the manifest to 1e-9. */
enum status text_manifest_put(const struct text_about *about, const struct text_classifier *classifier,
			      const struct str *classes, int classes_n, struct arena *arena, struct buf *out,
			      struct err *err) __attribute__((nonnull(1, 2, 3, 5, 6), warn_unused_result));

#endif
