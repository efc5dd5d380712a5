/* Moving the log into the database beside those who write.
 *
 * A checkpoint of a thousand pages takes 5 to 15 ms, and in a turn everybody waits for it. Most of it needs no turn:
 *
 *   in a turn     after a commit that left a long log, a reader's mark is set at the log's end
 *   beside        a thread copies what lies before the mark (a passive checkpoint goes no further), waits for the disk
 *                 and takes the mark away
 *   in a turn     after a later commit: the few frames that came meanwhile; if they are many, beside once more. The
 *                 next write begins the log anew
 *
 * The mark also is what makes this safe with SQLite 3.7.0 to 3.51.2, where a log that is begun anew while a checkpoint
 * is under way may be taken for one that was copied (https://sqlite.org/wal.html#walresetbug): while anybody reads the
 * log it is not begun anew. A reader of a log that is wholly in the database reads none of it; so the mark is set in
 * the turn whose commit has just added to the log, when nobody can have copied that.
 *
 * Who copies holds a lock without which nobody else can, in a turn or not, and at its priority it may be kept from
 * going on. So it gives up when it has taken long, or when a log has become long meanwhile: then all is done in a turn.
 * One that is stopped with its process can't: the process is ended by its peers (shm_reap_silent), and until then the
 * log grows.
 *
 * One for all connections of a process to the same file. `lock` guards everything but the copier, which is the
 * thread's, and the mark, which belongs to whoever changes the state. */
#include "store/db_sqlite_impl.h"

#include "base/clock.h"
#include "base/polite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
	QUIET_MS = 50,   /* after another process was found at it */
	COPY_MS = 2000,  /* at the most, beside others */
	REST_PAGES = 64, /* may be copied in a turn */
	ROUNDS = 8,      /* before more is */
	INDEX_COPIED = 24,
	INDEX_BYTES = 32 * 1024,
};

enum state {
	ASIDE_IDLE,
	ASIDE_COPIES, /* the mark is set */
	ASIDE_COPIED, /* the rest is to be done in a turn */
	ASIDE_FAILED, /* all of it is: that tells what is wrong */
};

struct sqlite_aside {
	struct sqlite_aside *next; /* guarded by the list's lock, as is `users` */
	int users;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	enum state state;
	bool closing, polite;
	int rounds;          /* one after the other */
	uint64_t quiet_ms;   /* until then it is another process's */
	atomic_bool hurried; /* the copy is to end as it is */
	sqlite3 *mark, *copier;
	const volatile uint32_t *index; /* of the log: the memory that all processes share */
	pthread_t thread;
	char path[SQLITE_PATH_BYTES];
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sqlite_aside *list;

/* --- the thread --- */

/* What copies, page by page, pauses now and then. In a thread of low priority as in any: see polite.h. */
static _Thread_local struct polite computing;
static _Thread_local const struct sqlite_aside *copying; /* NULL: in no thread of ours */
static _Thread_local uint64_t copies_ms;                 /* since then */
static sqlite3_io_methods paused_methods;
static const sqlite3_io_methods *plain_methods;

static int write_politely(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
	polite_point(&computing);
	if (copying &&
	    (atomic_load_explicit(&copying->hurried, memory_order_relaxed) || clock_mono_ms() - copies_ms > COPY_MS))
		return SQLITE_INTERRUPT;
	return plain_methods->xWrite(file, p, n, at);
}

static sqlite3_file *file_of(sqlite3 *handle)
{
	sqlite3_file *file = NULL;
	int rc = sqlite3_file_control(handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);

	return rc == SQLITE_OK && file && file->pMethods ? file : NULL;
}

/* Of the copier's file, which is opened once and for all. Under the list's lock. */
static bool prepare_file(struct sqlite_aside *aside)
{
	sqlite3_file *file = file_of(aside->copier);
	volatile void *index = NULL;

	if (!file || file->pMethods->iVersion < 2 ||
	    file->pMethods->xShmMap(file, 0, INDEX_BYTES, 0, &index) != SQLITE_OK || !index)
		return false;
	aside->index = (const volatile uint32_t *)index;
	if (!plain_methods) {
		plain_methods = file->pMethods;
		paused_methods = *plain_methods;
		paused_methods.xWrite = write_politely;
	}
	if (file->pMethods == plain_methods)
		file->pMethods = &paused_methods;
	return true;
}

/* The disk's work, while nobody has to wait for it. */
static int sync_database(sqlite3 *handle)
{
	sqlite3_file *file = file_of(handle);

	return file ? file->pMethods->xSync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY) : SQLITE_IOERR;
}

static enum state copy(struct sqlite_aside *aside, uint64_t *quiet_ms)
{
	copying = aside;
	copies_ms = clock_mono_ms();
	int rc = sqlite3_wal_checkpoint_v2(aside->copier, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

	if (rc == SQLITE_OK)
		rc = sync_database(aside->copier);
	sqlite3_exec(aside->mark, "COMMIT", NULL, NULL, NULL);
	if (rc != SQLITE_BUSY)
		return rc == SQLITE_OK ? ASIDE_COPIED : ASIDE_FAILED;
	*quiet_ms = clock_mono_ms() + QUIET_MS;
	return ASIDE_IDLE;
}

/* Copies whenever a mark was set; ends when the last connection is closed. Only this thread uses the copier. */
static void *aside_main(void *arg)
{
	struct sqlite_aside *aside = arg;

	if (aside->polite)
		polite_become();
	pthread_mutex_lock(&aside->lock);
	while (!aside->closing) {
		if (aside->state != ASIDE_COPIES) {
			pthread_cond_wait(&aside->wake, &aside->lock);
			continue;
		}
		uint64_t quiet_ms = 0;
		pthread_mutex_unlock(&aside->lock);
		enum state state = copy(aside, &quiet_ms);
		pthread_mutex_lock(&aside->lock);
		aside->state = state;
		aside->quiet_ms = quiet_ms;
	}
	pthread_mutex_unlock(&aside->lock);
	return NULL;
}

/* --- in a turn --- */

static bool set_mark(struct sqlite_aside *aside)
{
	int rc = sqlite3_exec(aside->mark, "BEGIN; SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);

	if (rc == SQLITE_OK) {
		atomic_store_explicit(&aside->hurried, false, memory_order_relaxed);
		aside->state = ASIDE_COPIES;
		aside->rounds++;
		pthread_cond_signal(&aside->wake);
	} else if (!sqlite3_get_autocommit(aside->mark)) {
		sqlite3_exec(aside->mark, "ROLLBACK", NULL, NULL, NULL);
	}
	return rc == SQLITE_OK;
}

/* Frames of the log that are in the database (https://sqlite.org/walformat.html#the_wal_index_file_format). */
static int copied_frames(const struct sqlite_aside *aside)
{
	return (int)__atomic_load_n(&aside->index[INDEX_COPIED], __ATOMIC_ACQUIRE);
}

bool sqlite_aside_takes(struct sqlite_aside *aside, int pages, bool wrote)
{
	bool takes = true;

	if (!wrote)
		return true; /* nobody knows how long the log is */
	pthread_mutex_lock(&aside->lock);
	int rest = pages - copied_frames(aside);
	switch (aside->state) {
	case ASIDE_COPIES:
		break;
	case ASIDE_IDLE:
		/* If there is little to copy another process is at it. */
		if (rest > REST_PAGES && clock_mono_ms() >= aside->quiet_ms)
			takes = set_mark(aside);
		break;
	case ASIDE_COPIED:
		takes = rest > REST_PAGES && aside->rounds < ROUNDS && set_mark(aside);
		break;
	case ASIDE_FAILED:
		takes = false;
		break;
	}
	if (!takes) {
		aside->state = ASIDE_IDLE;
		aside->rounds = 0;
	}
	pthread_mutex_unlock(&aside->lock);
	return takes;
}

void sqlite_aside_hurry(struct sqlite_aside *aside)
{
	atomic_store_explicit(&aside->hurried, true, memory_order_relaxed);
}

/* --- life --- */

/* What was never read is not known to have a log. */
static enum status open_handle(sqlite3 **out, const char *path, struct err *err)
{
	int64_t ignored;

	enum status status = sqlite_open_file(out, path, DB_WRITE, err);
	return status == STATUS_OK ? sqlite_number(*out, "SELECT count(*) FROM sqlite_schema", &ignored, err) : status;
}

static void aside_free(struct sqlite_aside *aside)
{
	sqlite3_close(aside->mark);
	sqlite3_close(aside->copier);
	pthread_mutex_destroy(&aside->lock);
	pthread_cond_destroy(&aside->wake);
	free(aside);
}

static enum status aside_new(struct sqlite_aside **out, const char *path, bool polite, struct err *err)
{
	struct sqlite_aside *aside = calloc(1, sizeof(*aside));

	if (!aside)
		return err_set(err, STATUS_NO_MEMORY, "no memory for checkpoints");
	pthread_mutex_init(&aside->lock, NULL);
	pthread_cond_init(&aside->wake, NULL);
	memcpy(aside->path, path, sizeof(aside->path));
	aside->polite = polite;
	enum status status = open_handle(&aside->mark, path, err);
	if (status == STATUS_OK)
		status = open_handle(&aside->copier, path, err);
	if (status == STATUS_OK && !prepare_file(aside))
		status = err_set(err, STATUS_UNAVAILABLE, "the index of the database's log can't be read");
	if (status == STATUS_OK && pthread_create(&aside->thread, NULL, aside_main, aside) != 0)
		status = err_set(err, STATUS_UNAVAILABLE, "a thread for checkpoints can't be started");
	if (status != STATUS_OK) {
		aside_free(aside);
		return status;
	}
	pthread_setname_np(aside->thread, "checkpoints");
	*out = aside;
	return STATUS_OK;
}

enum status sqlite_aside_open(struct sqlite_aside **out, const char *path, bool polite, struct err *err)
{
	enum status status = STATUS_OK;

	pthread_mutex_lock(&list_lock);
	struct sqlite_aside *aside = list;
	while (aside && strcmp(aside->path, path) != 0)
		aside = aside->next;
	if (!aside) {
		status = aside_new(&aside, path, polite, err);
		if (aside) {
			aside->next = list;
			list = aside;
		}
	}
	if (aside) {
		aside->users++;
		*out = aside;
	}
	pthread_mutex_unlock(&list_lock);
	return status;
}

void sqlite_aside_close(struct sqlite_aside *aside)
{
	if (!aside)
		return;
	pthread_mutex_lock(&list_lock);
	bool last = --aside->users == 0;
	for (struct sqlite_aside **at = &list; last && *at; at = &(*at)->next) {
		if (*at == aside) {
			*at = aside->next;
			break;
		}
	}
	pthread_mutex_unlock(&list_lock);
	if (!last)
		return;
	sqlite_aside_hurry(aside);
	pthread_mutex_lock(&aside->lock);
	aside->closing = true;
	pthread_cond_signal(&aside->wake);
	pthread_mutex_unlock(&aside->lock);
	pthread_join(aside->thread, NULL);
	aside_free(aside);
}

enum status sqlite_checkpoint_aside(struct db *base, bool polite, struct err *err)
{
	struct sqlite_db *db = (struct sqlite_db *)base;

	return db->aside ? STATUS_OK : sqlite_aside_open(&db->aside, db->path, polite, err);
}
