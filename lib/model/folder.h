/* The folder of models, MODELS_DIR/NAME/VERSION/{manifest.json, FILE}. Versions don't change: what is added is there
 * whole or not at all (it is written beside, read back, and renamed into place), also after a crash or with a full
 * disk. Files are read into memory in one go, so that nothing that happens to them later harms who has loaded them.
 *
 * Nothing here leaves the folder: names are checked, no symbolic link is followed below it, and what is no plain file
 * (fifos, devices) is not opened for waiting. Errors are one sentence that names the file: STATUS_NOT_FOUND (no such
 * version), STATUS_INVALID (its content), STATUS_CONFLICT (it is there already), STATUS_TOO_LARGE, STATUS_NO_MEMORY,
 * STATUS_UNAVAILABLE (the system refuses something). */
#ifndef APPCORE_MODEL_FOLDER_H
#define APPCORE_MODEL_FOLDER_H

#include "model/manifest.h"

enum { MODEL_FILE_MAX = 1 << 30 }; /* bytes; a larger file is refused before it is read */

/* Loads a version and runs the examples of its manifest. With `hash` (not empty) it must be the version that has it,
 * else STATUS_CONFLICT, before the model file is read. *out has one user. Any thread. */
enum status folder_load(struct model **out, const char *dir, struct str name, struct str version, struct str hash,
			struct err *err) __attribute__((nonnull(1, 2), warn_unused_result));

/* Its manifest alone. Caller frees with manifest_free. */
enum status folder_read_manifest(struct manifest **out, const char *dir, struct str name, struct str version,
				 struct err *err) __attribute__((nonnull(1, 2), warn_unused_result));

/* A version that is not in the folder (yet): the texts of both files on the heap. */
struct folder_candidate {
	char *manifest;
	size_t manifest_n;
	char *file;
	size_t file_n;
};

/* Reads a candidate from `path`: a directory with a manifest.json and the file that it names, or a model file, whose
 * manifest is `manifest` (a path; NULL: manifest.json in the same directory; where there is none, the candidate has
 * none, and the caller may fill one in with malloc). Caller frees with folder_candidate_release, also after an error.
 */
enum status folder_candidate_read(struct folder_candidate *candidate, const char *path, const char *manifest,
				  struct err *err) __attribute__((nonnull(1, 2), warn_unused_result));
void folder_candidate_release(struct folder_candidate *candidate) __attribute__((nonnull));

/* Loads a candidate as it would be loaded from the folder, examples and all. *out has one user. */
enum status folder_candidate_load(struct model **out, const struct folder_candidate *candidate, struct str name,
				  struct str version, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Puts it into the folder, which is made when it is missing: written beside, synced, read back and loaded, renamed into
 * place. Removes what adds that died have left. Everybody can read it, and when root adds, it belongs to the folder's
 * owner. A change that others are at is waited for, for ten seconds. *out (one user) is the version as it was loaded
 * from there. STATUS_CONFLICT when the version is there. */
enum status folder_add(struct model **out, const char *dir, struct str name, struct str version,
		       const struct folder_candidate *candidate, struct err *err)
	__attribute__((nonnull(1, 2, 5), warn_unused_result));

/* Takes a version out of the folder. */
enum status folder_remove(const char *dir, struct str name, struct str version, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* Called for each version in the folder, in no order; false ends it. The texts are borrowed until it returns. A folder
 * that is not there holds none. */
typedef bool folder_entry(void *arg, struct str name, struct str version);
enum status folder_list(const char *dir, folder_entry *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

#endif
