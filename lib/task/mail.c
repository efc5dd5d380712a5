/* Mail: {"user_id":1,"template":"welcome"} becomes a message to that user's address. MAIL_COMMAND, a line for the
 * shell, gets it on its standard input; without one it is put into DATA_DIR/outbox, whole or not at all.
 *
 * A message's name and its Message-ID are the task's id, so another attempt writes the same file, and mail programs see
 * the same message. A command that has been given a message whole may have sent it even when it fails after that:
 * exactly once is not to be had from it. */
#include "task/functions.h"

#include "base/clock.h"
#include "base/json.h"
#include "store/users.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_MS = 100 };

/* What is said: {name} is the user's name, {app} APP_NAME. */
static const struct mail_template {
	const char *name, *subject, *text;
} TEMPLATES[] = {
	{"welcome", "Welcome to {app}",
	 "Hello {name},\n\nyour account at {app} is ready. You can log in with the name and the password that you "
	 "chose.\n"},
	{"password_changed", "Your password at {app} was changed",
	 "Hello {name},\n\nyour password at {app} was changed just now, and all other sessions were ended. If that "
	 "was\n"
	 "not you, ask the operator to reset it.\n"},
	{"account_disabled", "Your account at {app} was disabled",
	 "Hello {name},\n\nyour account at {app} was disabled. Your operator can tell you more.\n"},
};

/* --- the payload --- */

static const struct mail_template *find_template(struct str name)
{
	for (size_t i = 0; i < sizeof(TEMPLATES) / sizeof(TEMPLATES[0]); i++)
		if (str_eq(name, str_of(TEMPLATES[i].name)))
			return &TEMPLATES[i];
	return NULL;
}

static const struct mail_template *template_of(struct json_value value)
{
	struct str text = value.text;

	/* Names have nothing that is escaped. */
	if (value.type != JSON_STRING || text.n < 2)
		return NULL;
	struct str name = {text.p + 1, text.n - 2};
	return find_template(name);
}

const char *task_send_email_check(struct str payload, const char **field)
{
	struct json_value root, value;
	struct json_fault fault;
	uint64_t id;

	*field = "user_id";
	if (!json_check(payload, JSON_MAX_DEPTH, &root, &fault) || !json_member(root, STR("user_id"), &value) ||
	    !str_to_u64(value.text, INT64_MAX, &id) || id == 0)
		return "Input should be a user's id";
	*field = "template";
	if (!json_member(root, STR("template"), &value) || !template_of(value))
		return "Input should be 'welcome', 'password_changed' or 'account_disabled'";
	return NULL;
}

/* --- the message --- */

static void put_filled(struct buf *out, const char *text, struct str name, struct str app)
{
	while (*text) {
		if (strncmp(text, "{name}", 6) == 0) {
			buf_str(out, name);
			text += 6;
		} else if (strncmp(text, "{app}", 5) == 0) {
			buf_str(out, app);
			text += 5;
		} else {
			buf_char(out, *text++);
		}
	}
}

/* What a header may hold: no line's end, which would begin another header. */
static struct str one_line(struct arena *arena, const char *text)
{
	struct str copy = arena_dup(arena, str_of(text));
	char *p = copy.p ? (char *)arena_alloc(arena, copy.n + 1) : NULL;

	if (!p)
		return STR("");
	for (size_t i = 0; i < copy.n; i++)
		p[i] = (unsigned char)copy.p[i] < 0x20 || copy.p[i] == 0x7f ? ' ' : copy.p[i];
	return (struct str){p, copy.n};
}

/* RFC 5322, with addresses and names as UTF-8 (RFC 6532). */
static void put_message(struct buf *out, struct task_run *run, const struct mail_template *template,
			const struct user_row *user)
{
	struct str app = one_line(run->arena, run->config->app_name);
	struct str name = one_line(run->arena, user->username), address = one_line(run->arena, user->email);
	time_t seconds = (time_t)(id_time_ms(&run->task->id) / 1000);
	char id[ID_TEXT_BYTES], date[64] = "";
	struct tm tm;

	id_format(&run->task->id, id);
	if (gmtime_r(&seconds, &tm))
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm);
	buf_str(out, STR("From: "));
	buf_str(out, app);
	buf_str(out, STR(" <noreply@localhost>\nTo: <"));
	buf_str(out, address);
	buf_str(out, STR(">\nSubject: "));
	put_filled(out, template->subject, name, app);
	buf_fmt(out, "\nDate: %s\nMessage-ID: <%s@appcore>\nMIME-Version: 1.0\n", date, id);
	buf_str(out, STR("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
			 "Auto-Submitted: auto-generated\n\n"));
	put_filled(out, template->text, name, app);
}

/* --- the outbox --- */

static bool write_all(int fd, struct str text)
{
	while (text.n > 0) {
		ssize_t n = write(fd, text.p, text.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		text.p += n;
		text.n -= (size_t)n;
	}
	return true;
}

static enum status put_into_outbox(struct task_run *run, struct str message, struct err *err)
{
	char folder[4000], path[4096], temporary[4096], id[ID_TEXT_BYTES];

	id_format(&run->task->id, id);
	snprintf(folder, sizeof(folder), "%s/outbox", run->config->data_dir);
	snprintf(path, sizeof(path), "%s/%s.eml", folder, id);
	snprintf(temporary, sizeof(temporary), "%s/.%s.new", folder, id);
	if (mkdir(folder, 0700) != 0 && errno != EEXIST)
		return err_set(err, STATUS_UNAVAILABLE, "%.100s can't be made: %s.", folder, strerror(errno));
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(err, STATUS_UNAVAILABLE, "%.100s can't be written: %s.", temporary, strerror(errno));
	bool written = write_all(fd, message) && fsync(fd) == 0;
	int why = errno;
	written = close(fd) == 0 && written;
	if (written && rename(temporary, path) == 0)
		return STATUS_OK;
	why = written ? errno : why;
	unlink(temporary);
	return err_set(err, STATUS_UNAVAILABLE, "%.100s can't be written: %s.", path, strerror(why));
}

/* --- the command --- */

static bool start_command(const char *command, int input, pid_t *pid)
{
	char shell[] = "sh", flag[] = "-c";
	char *const argv[] = {shell, flag, (char *)(uintptr_t)command, NULL}; /* NOLINT(performance-no-int-to-ptr) */
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
	bool started = posix_spawn(pid, "/bin/sh", &actions, &attr, argv, environ) == 0;
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return started;
}

/* Its end, or the task's: then it is killed, with what it has started. */
static enum status wait_for(struct task_run *run, pid_t pid, int *code, struct err *err)
{
	static const struct timespec nap = {.tv_nsec = LOOK_MS * 1000000L};
	enum status status = STATUS_OK;
	pid_t ended;

	while ((ended = waitpid(pid, code, WNOHANG)) == 0 || (ended < 0 && errno == EINTR)) {
		nanosleep(&nap, NULL);
		if (status == STATUS_OK)
			status = task_checkpoint(run, 0, 1, NULL, NULL, err);
		if (status != STATUS_OK)
			kill(-pid, SIGKILL);
	}
	if (ended < 0 && status == STATUS_OK)
		status = err_set(err, STATUS_UNAVAILABLE, "how MAIL_COMMAND ended can't be known: %s.",
				 strerror(errno));
	return status;
}

/* The message goes through a file without a name, so that a command that does not read keeps nobody waiting. */
static enum status give_to_command(struct task_run *run, struct str message, struct err *err)
{
	int fd = open(run->config->data_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	enum status status = STATUS_OK;
	int code = 0;
	pid_t pid;

	if (fd < 0 || !write_all(fd, message) || lseek(fd, 0, SEEK_SET) != 0)
		status = err_set(err, STATUS_UNAVAILABLE, "the message can't be written: %s.", strerror(errno));
	else if (!start_command(run->config->mail_command, fd, &pid))
		status = err_set(err, STATUS_UNAVAILABLE, "MAIL_COMMAND can't be started.");
	else
		status = wait_for(run, pid, &code, err);
	if (fd >= 0)
		close(fd);
	if (status == STATUS_OK && code != 0)
		status = WIFSIGNALED(code) ? err_set(err, STATUS_UNAVAILABLE, "MAIL_COMMAND was ended by signal %d.",
						     WTERMSIG(code))
					   : err_set(err, STATUS_UNAVAILABLE, "MAIL_COMMAND ended with code %d.",
						     WEXITSTATUS(code));
	return status;
}

enum status task_send_email(struct task_run *run, struct err *err)
{
	const char *field, *wrong = task_send_email_check(run->task->payload, &field);
	struct json_value root, value;
	struct json_fault fault;
	struct user_row user;
	uint64_t id = 0;
	struct buf message;

	if (wrong || !json_check(run->task->payload, JSON_MAX_DEPTH, &root, &fault) ||
	    !json_member(root, STR("user_id"), &value) || !str_to_u64(value.text, INT64_MAX, &id) ||
	    !json_member(root, STR("template"), &value))
		return err_set(err, STATUS_INVALID, "%s: %s.", field, wrong ? wrong : "Input should be JSON");
	const struct mail_template *template = template_of(value);
	enum status status = users_find(run->db, (int64_t)id, &user, err);
	if (status == STATUS_NOT_FOUND || !template)
		return err_set(err, STATUS_INVALID, "user_id: there is no such user.");
	if (status != STATUS_OK)
		return status;
	buf_init(&message, run->arena);
	put_message(&message, run, template, &user);
	if (message.failed)
		return err_set(err, STATUS_NO_MEMORY, "no memory for the message");
	status = *run->config->mail_command ? give_to_command(run, buf_view(&message), err)
					    : put_into_outbox(run, buf_view(&message), err);
	run->result = STR("{\"sent\":true}");
	return status;
}
