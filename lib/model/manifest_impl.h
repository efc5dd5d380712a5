/* What the manifest's readers share. */
#ifndef APPCORE_MODEL_MANIFEST_IMPL_H
#define APPCORE_MODEL_MANIFEST_IMPL_H

#include "model/manifest.h"
#include "model/strict.h"

struct manifest_reader {
	struct strict strict;
	struct manifest *manifest;
	struct manifest_input *inputs; /* the manifest's, while they are read */
	uint8_t key[NAMES_KEY_BYTES];  /* for indexes of names */
};

/* The array of inputs; fills the manifest's inputs and finds missing rules that the file does not state to be
 * MANIFEST_REFUSE, or MANIFEST_ALLOW where `lenient`. */
enum status manifest_read_inputs(struct manifest_reader *r, struct json_value array, bool lenient)
	__attribute__((nonnull, warn_unused_result));

/* The steps of preprocessing, after the inputs. Inputs that are imputed and whose rule is not stated may be missing. */
enum status manifest_read_steps(struct manifest_reader *r, struct json_value array)
	__attribute__((nonnull, warn_unused_result));

/* The names' index; a name that is there twice is a fault of `at`. */
enum status manifest_index_names(struct manifest_reader *r, struct names *index, const struct str *names, int n,
				 const struct place *at) __attribute__((nonnull(1, 2), warn_unused_result));

#endif
