/* The turn to write: "<database>-turn" is locked (flock, exclusive) by whoever writes or checkpoints. The kernel hands
 * it on when its owner dies, so kill -9 leaves nothing behind.
 *
 * An owner that is stopped keeps it. Workers end a worker that is (shm_reap_silent). A command of the command line has
 * no sign of life: it does not let the terminal stop it while it has the turn, and against SIGSTOP, which nobody can
 * hold off, only the operator can help, who is told its process id (keeper.c). */
#include "store/db_sqlite_impl.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

enum {
	POLL_US = 1000,      /* of who does not wait for ever */
	PLACES = 6,          /* in the line before the gate */
	PLACE_POLL_US = 200, /* less than a turn: who moves on is in time for the next */
	LINE_MS = 3000,      /* a worker that is stopped is ended before that (keeper.c) */
	LET_OTHERS_MS = 10,  /* before a step of something long */
	LET_OTHERS_US = 150, /* between two looks */
};

static void nap(long us)
{
	nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

/* A place is a byte of the gate's file (fcntl(2), "open file description locks"); 0 is the file itself (flock). */
static bool try_lock(int fd, int place, bool waits)
{
	struct flock byte = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = place, .l_len = 1};

	return place > 0 ? fcntl(fd, waits ? F_OFD_SETLKW : F_OFD_SETLK, &byte) == 0
			 : flock(fd, waits ? LOCK_EX : LOCK_EX | LOCK_NB) == 0;
}

static void unlock_place(int fd, int place)
{
	struct flock byte = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = place, .l_len = 1};

	(void)!fcntl(fd, F_OFD_SETLK, &byte);
}

/* `end_ms` 0: waits for ever. */
static bool lock_until(int fd, int place, uint64_t end_ms)
{
	while (!try_lock(fd, place, end_ms == 0)) {
		if (errno != EINTR && errno != EWOULDBLOCK)
			return false;
		if (end_ms > 0 && clock_mono_ms() >= end_ms) {
			errno = EWOULDBLOCK;
			return false;
		}
		if (end_ms > 0)
			nap(place > 0 ? PLACE_POLL_US : POLL_US);
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

/* The kernel gives a lock to whoever asks first after it was freed, which is as a rule the process that has just freed
 * it: another may wait for many turns. So who waits for the turn holds the gate meanwhile, who waits for the gate holds
 * the place before it, and so on: everybody moves on by one, and nobody comes in between but before the last place.
 * With the gate alone one of three waited for up to thirteen turns of the other two. Only fairness hangs on the places:
 * one whose owner is stopped is passed after LINE_MS, and without the gate's file the turn is taken all the same. */
static bool lock_in_line(struct sqlite_db *db, uint64_t end_ms)
{
	uint64_t line_ms = clock_mono_ms() + LINE_MS;

	if (end_ms > 0 && end_ms < line_ms)
		line_ms = end_ms;
	if (db->gate_fd < 0)
		db->gate_fd = sqlite_path_open_lock(db->path, "-gate");
	bool placed = db->gate_fd >= 0, gated;
	int place = PLACES;
	for (; placed && place >= 1; place--) {
		placed = lock_until(db->gate_fd, place, line_ms);
		if (place < PLACES)
			unlock_place(db->gate_fd, place + 1);
	}
	gated = db->gate_fd >= 0 && lock_until(db->gate_fd, 0, end_ms);
	if (placed)
		unlock_place(db->gate_fd, 1);
	bool locked = lock_until(db->turn_fd, 0, end_ms);
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
	uint64_t end_ms = wait_ms < 0 ? 0 : clock_mono_ms() + (uint64_t)wait_ms;

	for (int tries = 0; tries < 8; tries++) {
		if (db->turn_fd < 0)
			db->turn_fd = sqlite_path_open_lock(db->path, "-turn");
		if (db->turn_fd < 0)
			return err_set(err, STATUS_UNAVAILABLE, "%.150s-turn can't be opened: %s", db->path,
				       strerror(errno));
		if (!lock_in_line(db, end_ms))
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

/* Until nobody has the turn or waits for it: who takes it then is in nobody's way, or is the only one who is. */
void sqlite_turn_let_others(struct db *base)
{
	struct sqlite_db *db = (struct sqlite_db *)base;
	uint64_t end_ms = clock_mono_ms() + LET_OTHERS_MS;

	while (db->turn_fd >= 0 && clock_mono_ms() < end_ms) {
		bool is_free = flock(db->turn_fd, LOCK_EX | LOCK_NB) == 0;
		if (is_free)
			flock(db->turn_fd, LOCK_UN);
		if (is_free && !sqlite_turn_is_wanted(base))
			return;
		nap(LET_OTHERS_US);
	}
}
