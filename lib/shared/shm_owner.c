/* Who holds something in shared memory, and is it still there?
 *
 * An owner is one 64-bit word: 22 bits of process id (the kernel's maximum) and 42 bits of a hash of the boot and of
 * the process's start time. So it can be compared and swapped whole, a reused process id is another owner, and what was
 * written before a reboot belongs to nobody.
 *
 * Process ids mean something within one PID namespace only, and containers have one each. So the hash holds the
 * namespace, too, and each process with the segment open keeps a read lock on the byte of RUN_DIR/appcore.alive that
 * its word names: the kernel gives it back when the process is gone, whatever its end. Who is not found among the
 * processes of this namespace is looked for there. Only processes of this namespace can be ended.
 *
 * Locks are such a word rather than a robust pthread mutex: the kernel marks a robust mutex only when its holder dies,
 * not when the machine does, and its bytes belong to the C library, whose version may differ between two workers. */
#include "shared/shm_impl.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OWNER_BIRTH_BITS = 42 };

/* The inode of /proc/self/ns/pid outside of containers (linux/proc_ns.h). */
static const uint64_t FIRST_NAMESPACE = 0xEFFFFFFC;

static pthread_once_t boot_once = PTHREAD_ONCE_INIT;
static uint64_t boot_hash,
	namespace_hash; /* the second of the first, and of the namespace where it is not the first one */

/* Reads a small file; bytes read, NUL behind them; -1 with errno. */
static ssize_t read_small(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	ssize_t n = read(fd, out, size - 1);
	int error = errno;
	close(fd);
	errno = error;
	out[n > 0 ? n : 0] = '\0';
	return n;
}

static void boot_read(void)
{
	char text[64];
	ssize_t n = read_small("/proc/sys/kernel/random/boot_id", text, sizeof(text));

	boot_hash = namespace_hash = shm_fnv(SHM_FNV_START, text, n > 0 ? (size_t)n : 0);
	struct stat st;
	if (stat("/proc/self/ns/pid", &st) == 0 && st.st_ino != FIRST_NAMESPACE)
		namespace_hash = shm_fnv(boot_hash, &st.st_ino, sizeof(st.st_ino));
}

uint64_t shm_owner_boot(void)
{
	pthread_once(&boot_once, boot_read);
	return boot_hash;
}

/* Reads /proc/<pid>/stat (proc(5)): state is field 3, threads 20, start time 22; the name before them may hold blanks
 * and parentheses. Returns the owner, 0 when the process is dead, or UINT64_MAX when nothing can be said. */
static uint64_t owner_of(int pid)
{
	char path[40], text[1024];
	char state;
	long threads;
	unsigned long long start;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	ssize_t n = read_small(path, text, sizeof(text));
	if (n <= 0)
		return n < 0 && errno != ENOENT && errno != ESRCH ? UINT64_MAX : 0;
	const char *rest = strrchr(text, ')');
	if (!rest ||
	    sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d %llu", &state,
		   &threads, &start) != 3)
		return UINT64_MAX;
	/* A zombie whose other threads still run is not dead yet. */
	if ((state == 'Z' || state == 'X') && threads <= 1)
		return 0;
	pthread_once(&boot_once, boot_read);
	uint64_t birth = shm_fnv(namespace_hash, &start, sizeof(start));
	return (uint64_t)(unsigned)pid << OWNER_BIRTH_BITS | birth >> (64 - OWNER_BIRTH_BITS);
}

uint64_t shm_owner_self(void)
{
	uint64_t owner = owner_of(getpid());

	return owner == UINT64_MAX ? 0 : owner;
}

int shm_owner_pid(uint64_t owner)
{
	return (int)(owner >> OWNER_BIRTH_BITS);
}

/* The byte of the file of locks that stands for an owner. Offsets have 63 bits. */
static struct flock owner_byte(uint64_t owner, short type)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)(owner & INT64_MAX), .l_len = 1};
}

bool shm_owner_announce(int fd, uint64_t owner)
{
	struct flock lock = owner_byte(owner, F_RDLCK);

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* Somebody keeps its lock. Without the file: no. */
static bool is_announced(const struct shm *shm, uint64_t owner)
{
	struct flock lock = owner_byte(owner, F_WRLCK);

	return shm->alive_fd >= 0 && fcntl(shm->alive_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool shm_owner_alive(const struct shm *shm, uint64_t owner)
{
	int pid = shm_owner_pid(owner);

	if (pid <= 0)
		return false;
	if (owner == shm->self)
		return true;
	uint64_t now = owner_of(pid);
	if (now == owner)
		return true;
	if (now != UINT64_MAX)
		return is_announced(shm, owner);
	/* Out of descriptors, say: the process id alone has to do, and a doubt keeps the claim. */
	return kill(pid, 0) == 0 || errno == EPERM;
}

bool shm_owner_waits_for_disk(uint64_t owner)
{
	char path[40], text[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", shm_owner_pid(owner));
	if (read_small(path, text, sizeof(text)) <= 0)
		return false;
	const char *rest = strrchr(text, ')');
	return rest && rest[1] == ' ' && rest[2] == 'D';
}

bool shm_owner_kill(uint64_t owner)
{
	int pid = shm_owner_pid(owner);
	char path[40];
	struct stat st;
	bool sent = false;

	if (pid <= 1 || pid == getpid())
		return false;
	/* The descriptor holds on to the process, so that what is checked is what is killed. */
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	snprintf(path, sizeof(path), "/proc/%d", pid);
	if (stat(path, &st) == 0 && st.st_uid == geteuid() && owner_of(pid) == owner)
		sent = (fd >= 0 ? (int)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) : kill(pid, SIGKILL)) == 0;
	if (fd >= 0)
		close(fd);
	return sent;
}

static void lock_pause(unsigned round)
{
	if (round < 100)
		atomic_signal_fence(memory_order_seq_cst);
	else
		sched_yield();
}

static bool lock_swap(shm_lock *lock, uint64_t from, uint64_t to)
{
	return atomic_compare_exchange_strong_explicit(lock, &from, to, memory_order_acquire, memory_order_relaxed);
}

enum shm_lock_state shm_lock_take(const struct shm *shm, shm_lock *lock, uint32_t max_us)
{
	static const uint64_t LOOK_NS = 200000; /* between two looks at the holder's life */

	if (lock_swap(lock, 0, shm->self))
		return SHM_LOCK_TAKEN;
	uint64_t start = clock_mono_ns(), looked = start;
	for (unsigned round = 0;; round++) {
		uint64_t holder = atomic_load_explicit(lock, memory_order_relaxed);
		if (holder == 0 && lock_swap(lock, 0, shm->self))
			return SHM_LOCK_TAKEN;
		lock_pause(round);
		if (round < 100)
			continue;
		uint64_t now = clock_mono_ns();
		if (holder != 0 && now - looked > LOOK_NS) {
			looked = now;
			/* No other process ever has this word again, so the swap can't hit a later holder. */
			if (!shm_owner_alive(shm, holder) && lock_swap(lock, holder, shm->self))
				return SHM_LOCK_INHERITED;
		}
		if (now - start > (uint64_t)max_us * 1000)
			return SHM_LOCK_TIMEOUT;
	}
}

void shm_lock_give(shm_lock *lock)
{
	atomic_store_explicit(lock, 0, memory_order_release);
}
