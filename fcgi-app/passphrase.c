/* Asking for a password. While the terminal does not echo, a signal that would end the process is noted, the terminal
 * is put back, and then the signal has its way: nobody is left with a shell that shows nothing. */
#include "passphrase.h"

#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const int SIGNALS[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
enum { SIGNALS_N = sizeof(SIGNALS) / sizeof(SIGNALS[0]) };

static volatile sig_atomic_t caught;

static void note_signal(int number)
{
	caught = number;
}

/* Waits with these signals let in, and nowhere else: one that comes just before it does not get lost. */
static bool wait_for_input(int fd, const sigset_t *let_in)
{
	struct pollfd at = {.fd = fd, .events = POLLIN};

	return !let_in || ppoll(&at, 1, NULL, let_in) > 0;
}

/* Bytes up to the end of a line or of the file. -1: it can't be read, or a signal came; -2: it is too long;
 * -3: it holds a NUL. */
static ssize_t read_line(int fd, const sigset_t *let_in, char out[static PASSWORD_MAX + 1])
{
	size_t n = 0;

	for (;;) {
		char c;
		ssize_t got = wait_for_input(fd, let_in) ? read(fd, &c, 1) : -1;
		if (got < 0)
			return -1;
		if (got == 0 || c == '\n')
			break;
		if (n == PASSWORD_MAX)
			return -2;
		out[n++] = c;
	}
	if (n > 0 && out[n - 1] == '\r')
		n--;
	out[n] = '\0';
	return strlen(out) == n ? (ssize_t)n : -3;
}

static bool refuse(ssize_t n, const char *from, int *code)
{
	if (n == -1)
		*code = command_fail(EXIT_SYSTEM, "%s can't be read: %s.", from, strerror(errno));
	else if (n == -2)
		*code = command_fail(EXIT_USAGE, "a password may have at most %d bytes.", PASSWORD_MAX);
	else if (n == -3)
		*code = command_fail(EXIT_USAGE, "a password can't hold a NUL.");
	else
		*code = command_fail(EXIT_USAGE, "%s holds no password.", from);
	return false;
}

static bool read_file(const char *path, char out[static PASSWORD_MAX + 1], int *code)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		*code = command_fail(EXIT_USAGE, "%s can't be read: %s.", path, strerror(errno));
		return false;
	}
	ssize_t n = read_line(fd, NULL, out);
	close(fd);
	return n > 0 || refuse(n, path, code);
}

/* One question without echo. */
static ssize_t ask(int terminal, const sigset_t *let_in, const char *question, char out[static PASSWORD_MAX + 1])
{
	struct termios shown, hidden;

	if (tcgetattr(terminal, &shown) != 0)
		return -1;
	hidden = shown;
	hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	if (tcsetattr(terminal, TCSAFLUSH, &hidden) != 0)
		return -1;
	dprintf(terminal, "%s", question);
	ssize_t n = read_line(terminal, let_in, out);
	tcsetattr(terminal, TCSAFLUSH, &shown);
	dprintf(terminal, "\n");
	return n;
}

static bool ask_twice(int terminal, const sigset_t *let_in, char out[static PASSWORD_MAX + 1], int *code)
{
	char again[PASSWORD_MAX + 1] = "";

	ssize_t n = ask(terminal, let_in, "Password: ", out);
	if (n > 0 && !caught)
		(void)!ask(terminal, let_in, "Once more: ", again);
	if (caught || n <= 0)
		return !caught && refuse(n, "the terminal", code);
	bool same = strcmp(out, again) == 0;
	sodium_memzero(again, sizeof(again));
	if (!same)
		*code = command_fail(EXIT_USAGE, "the two are not the same.");
	return same;
}

static bool ask_terminal(int terminal, char out[static PASSWORD_MAX + 1], int *code)
{
	struct sigaction noting = {.sa_handler = note_signal}, before[SIGNALS_N];
	sigset_t held, mask;

	caught = 0;
	sigemptyset(&held);
	for (int i = 0; i < SIGNALS_N; i++)
		sigaddset(&held, SIGNALS[i]);
	sigprocmask(SIG_BLOCK, &held, &mask);
	for (int i = 0; i < SIGNALS_N; i++)
		sigaction(SIGNALS[i], &noting, &before[i]);
	bool good = ask_twice(terminal, &mask, out, code);
	for (int i = 0; i < SIGNALS_N; i++)
		sigaction(SIGNALS[i], &before[i], NULL);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	if (!caught)
		return good;
	sodium_memzero(out, PASSWORD_MAX + 1);
	raise(caught == SIGTSTP ? SIGINT : caught);
	*code = EXIT_SYSTEM;
	return false;
}

bool passphrase_read(const char *path, char out[static PASSWORD_MAX + 1], int *code)
{
	memset(out, 0, PASSWORD_MAX + 1);
	if (path && strcmp(path, "-") != 0)
		return read_file(path, out, code);
	if (!path && isatty(STDIN_FILENO)) {
		int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
		if (terminal < 0) {
			*code = command_fail(EXIT_SYSTEM, "the terminal can't be opened: %s.", strerror(errno));
			return false;
		}
		bool good = ask_terminal(terminal, out, code);
		close(terminal);
		return good;
	}
	ssize_t n = read_line(STDIN_FILENO, NULL, out);
	return n > 0 || refuse(n, "standard input", code);
}
