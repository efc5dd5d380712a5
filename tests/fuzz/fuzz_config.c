/* A .env file: settings that are accepted keep their bounds, print as JSON and for a shell, and what is printed for a
 * shell reads back as the same settings. */
#include "fuzz.h"

#include "../unit/unit.h"
#include "base/config.h"
#include "base/json.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static char path[512];

static void write_file(const void *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	demand(fd >= 0 && write(fd, p, n) == (ssize_t)n && close(fd) == 0, "the file can be written");
}

static void check_problems(const struct config_problems *problems)
{
	int lines = 0;

	for (size_t i = 0; i < problems->text.n; i++)
		lines += problems->text.p[i] == '\n';
	demand(lines >= problems->n, "every problem is a line");
	demand((problems->n == 0) == (problems->text.n == 0), "there is a text when there is a problem");
}

static void check_bounds(const struct config *config)
{
	demand(config->https_port >= 1 && config->https_port <= 65535, "ports are ports");
	demand(config->direct_port + config->instances <= 65535, "instances have ports");
	demand(config->instances >= 1 && config->instances <= 32, "instances are bounded");
	demand(config->max_body_bytes >= 0 && config->max_body_bytes <= 1 << 30, "bodies are bounded");
	demand(strncmp(config->database_url, "sqlite:///", 10) == 0 ||
		       strncmp(config->database_url, "postgres", 8) == 0,
	       "a database that is known");
	demand(!config_is_production(config) || config_lacks_key(config) || strlen(config->api_key) >= 16,
	       "production has a key, or lacks one and says so");
	demand(*config->instance_id && strlen(config->instance_id) <= 31, "an instance has a name");
	demand(!*config->tls_certificate == !*config->tls_key, "a certificate and its key");
}

/* Whether .env can hold the printed text: it joins no quoted parts, and a line ends at its end. */
static bool is_plain(const struct buf *shell, size_t settings)
{
	size_t quotes = 0, lines = 0;

	for (size_t i = 0; i < shell->n; i++) {
		quotes += shell->p[i] == '\'';
		lines += shell->p[i] == '\n';
	}
	return quotes == 2 * settings && lines == settings;
}

static void read_back(const struct buf *shell)
{
	struct config config;
	struct config_problems problems;
	struct buf again;

	write_file(shell->p, shell->n);
	demand(config_load(&config, path, &problems), "what was printed can be read");
	buf_init_heap(&again);
	config_print_shell(&config, &again);
	demand(str_eq(buf_view(&again), buf_view(shell)), "what was printed reads back");
	buf_release(&again);
	config_release(&config);
	config_problems_release(&problems);
}

/* How many settings are printed when none is set. */
static size_t count_printed(void)
{
	struct config config;
	struct config_problems problems;
	struct buf shell;
	size_t lines = 0;

	write_file("", 0);
	demand(config_load(&config, path, &problems), "defaults are good");
	buf_init_heap(&shell);
	config_print_shell(&config, &shell);
	for (size_t i = 0; i < shell.n; i++)
		lines += shell.p[i] == '\n';
	demand(is_plain(&shell, lines) && lines > 40, "defaults are plain");
	buf_release(&shell);
	config_release(&config);
	config_problems_release(&problems);
	return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char *none[] = {NULL};
	static size_t printed;
	struct config config;
	struct config_problems problems;
	struct buf shell, json;
	struct json_value root;
	struct json_fault fault;

	if (!path[0]) {
		snprintf(path, sizeof(path), "%s/.env", unit_temp_dir());
		environ = none;
		printed = count_printed();
	}
	write_file(data, size);
	bool good = config_load(&config, path, &problems);
	check_problems(&problems);
	demand(good == (problems.n == 0), "good means no problem");
	buf_init_heap(&shell);
	buf_init_heap(&json);
	if (good) {
		check_bounds(&config);
		config_print_json(&config, &json);
		demand(json_check(buf_view(&json), JSON_MAX_DEPTH, &root, &fault), "JSON is JSON");
		config_print_shell(&config, &shell);
		if (!config_is_production(&config) && is_plain(&shell, printed))
			read_back(&shell);
	}
	buf_release(&shell);
	buf_release(&json);
	config_release(&config);
	config_problems_release(&problems);
	return 0;
}
