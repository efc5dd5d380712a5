/* appcore config: the settings in force. Scripts read --shell. */
#include "command.h"

int config_main(int argc, char **argv)
{
	bool shell = false, json = false, done;
	const struct option_spec specs[] = {{"--shell", NULL, &shell}, {"--json", NULL, &json}};
	struct config config;
	struct buf out;

	if (!command_options(command_find("config"), &argc, argv, specs, 2, &done))
		return EXIT_USAGE;
	if (done)
		return EXIT_OK;
	if (argc != 1 || (shell && json))
		return command_fail(EXIT_USAGE, "say --shell or --json; see --help.");
	if (!command_load_config(&config))
		return EXIT_USAGE;
	buf_init_heap(&out);
	if (json)
		config_print_json(&config, &out);
	else
		config_print_shell(&config, &out);
	int code = out.failed ? command_fail(EXIT_SYSTEM, "out of memory.") : command_print(buf_view(&out));
	buf_release(&out);
	config_release(&config);
	return code;
}
