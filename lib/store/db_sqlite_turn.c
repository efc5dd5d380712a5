/* The turn to write: "<database>-turn" is locked (flock, exclusive) by whoever writes or checkpoints. The kernel hands
 * it on when its owner dies, so kill -9 leaves nothing behind.
 *
 * An owner that is stopped keeps it. Workers end a worker that is (shm_reap_silent). A command of the command line has
 * no sign of life: it does not let the terminal stop it while it has the turn, and against SIGSTOP, which nobody can
 * hold off, only the operator can help, who is told its process id (keeper.c). */
#include "store/db_sqlite_impl.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

enum { TURN_POLL_MS = 5 };

static bool lock_within(int fd, int wait_ms)
{
	uint64_t end = clock_mono_ms() + (uint64_t)(wait_ms > 0 ? wait_ms : 0);
	struct timespec nap = {.tv_nsec = TURN_POLL_MS * 1000000L};

	while (flock(fd, wait_ms < 0 ? LOCK_EX : LOCK_EX | LOCK_NB) != 0) {
		if (errno != EINTR && errno != EWOULDBLOCK)
			return false;
		if (wait_ms >= 0 && clock_mono_ms() >= end) {
			errno = EWOULDBLOCK;
			return false;
		}
		if (wait_ms >= 0)
			nanosleep(&nap, NULL);
	}
	return true;
}

/* An operator may have removed the lock file (or the directory may be a new one): whoever locks the old file and
 * whoever locks the new one would both believe to be alone. */
static bool is_current(const struct sqlite_db *db)
{
	struct stat ours, current;

	sqlite_path_stat(db->path, "-turn", &current);
	return fstat(db->turn_fd, &ours) == 0 && ours.st_ino == current.st_ino && ours.st_dev == current.st_dev;
}

/* The kernel gives a flock to whoever asks first after it was freed, which is as a rule the process that has just freed
 * it: another may wait for many turns. So who waits for the turn holds the gate meanwhile, and who wants a second turn
 * in a row must pass the gate first. Only fairness hangs on it: without the gate's file the turn is taken all the same.
 */
static bool lock_in_line(struct sqlite_db *db, int wait_ms)
{
	if (db->gate_fd < 0)
		db->gate_fd = sqlite_path_open_lock(db->path, "-gate");
	bool gated = db->gate_fd >= 0 && lock_within(db->gate_fd, wait_ms);
	bool locked = lock_within(db->turn_fd, wait_ms);
	int why = errno;
	if (gated)
		flock(db->gate_fd, LOCK_UN);
	errno = why;
	return locked;
}

/* Stops that arrive meanwhile take effect when the turn is given back. */
static void hold_stops(struct sqlite_db *db)
{
	sigset_t stops;

	sigemptyset(&stops);
	sigaddset(&stops, SIGTSTP);
	sigaddset(&stops, SIGTTIN);
	sigaddset(&stops, SIGTTOU);
	db->stops_held = pthread_sigmask(SIG_BLOCK, &stops, &db->signals) == 0;
}

static void let_stops(struct sqlite_db *db)
{
	if (db->stops_held)
		pthread_sigmask(SIG_SETMASK, &db->signals, NULL);
	db->stops_held = false;
}

static enum status say_busy(struct sqlite_db *db, struct err *err)
{
	int pid = sqlite_turn_holder(&db->base);

	return pid > 0 ? err_set(err, STATUS_BUSY, "other writers kept the turn to write; process %d has it now", pid)
		       : err_set(err, STATUS_BUSY, "other writers kept the turn to write");
}

static enum status take(struct sqlite_db *db, int wait_ms, struct err *err)
{
	for (int tries = 0; tries < 8; tries++) {
		if (db->turn_fd < 0)
			db->turn_fd = sqlite_path_open_lock(db->path, "-turn");
		if (db->turn_fd < 0)
			return err_set(err, STATUS_UNAVAILABLE, "%.150s-turn can't be opened: %s", db->path,
				       strerror(errno));
		if (!lock_in_line(db, wait_ms))
			return errno == EWOULDBLOCK
				       ? say_busy(db, err)
				       : err_set(err, STATUS_UNAVAILABLE, "%.150s-turn can't be locked: %s", db->path,
						 strerror(errno));
		if (is_current(db))
			return STATUS_OK;
		close(db->turn_fd);
		db->turn_fd = -1;
	}
	return err_set(err, STATUS_UNAVAILABLE, "%.150s-turn is replaced again and again", db->path);
}

enum status sqlite_turn_take(struct db *base, int wait_ms, struct err *err)
{
	struct sqlite_db *db = (struct sqlite_db *)base;

	hold_stops(db);
	db->wrote = false;
	enum status status = take(db, wait_ms, err);
	if (status != STATUS_OK)
		let_stops(db);
	return status;
}

void sqlite_turn_give(struct db *base)
{
	struct sqlite_db *db = (struct sqlite_db *)base;

	if (db->turn_fd >= 0)
		flock(db->turn_fd, LOCK_UN);
	let_stops(db);
}

/* proc_locks(5): "3: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF"; those that wait have "->" before FLOCK. A file system
 * whose device number is another there (btrfs, an overlay) has no holder to name. */
static int holder_of(const char *path, const char *suffix)
{
	FILE *file = fopen("/proc/locks", "re");
	char line[160];
	struct stat st;
	int holder = 0;

	if (!file)
		return 0;
	sqlite_path_stat(path, suffix, &st);
	while (holder == 0 && fgets(line, sizeof(line), file)) {
		unsigned device_major, device_minor;
		unsigned long inode;
		int pid;
		if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%lu", &pid, &device_major, &device_minor, &inode) == 4 &&
		    inode == st.st_ino && device_major == major(st.st_dev) && device_minor == minor(st.st_dev))
			holder = pid;
	}
	fclose(file);
	return holder > 0 ? holder : 0;
}

/* Without an owner of the turn, whoever holds the gate keeps the others from it. */
int sqlite_turn_holder(struct db *base)
{
	const char *path = ((struct sqlite_db *)base)->path;
	int holder = holder_of(path, "-turn");

	return holder > 0 ? holder : holder_of(path, "-gate");
}

/* Who waits for the turn holds the gate. */
bool sqlite_turn_is_wanted(struct db *base)
{
	struct sqlite_db *db = (struct sqlite_db *)base;

	if (db->gate_fd < 0)
		return true; /* nobody can say: better short turns */
	if (flock(db->gate_fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK;
	flock(db->gate_fd, LOCK_UN);
	return false;
}
