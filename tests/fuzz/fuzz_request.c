/* A whole request through the whole application:
 *
 *   POST /predict?query
 *   X-API-Key: harness-key-0123456789
 *   Late: 1                              (the body comes late)
 *   Edge: 00112233445566778899aabbccddeeff   (the identity; a new one when it is left out)
 *
 *   body
 *
 * The path is taken as nginx gives it, decoded. */
#include "app.h"

#include <ctype.h>

enum { HEADERS = 12, NAME = 64 };

struct input {
	char *method, *path, *query;
	char names[HEADERS][NAME];
	char *values[HEADERS];
	int n;
	char *edge;
	bool late;
};

static char *copy(struct str s)
{
	char *text = strndup(s.p ? s.p : "", s.n);

	if (!text)
		abort();
	return text;
}

/* "X-API-Key" becomes "HTTP_X_API_KEY", but for what CGI names otherwise. */
static void take_header(struct input *input, struct str name, struct str value)
{
	char *out = input->names[input->n];
	size_t at = 0;

	if (str_eq_nocase(name, STR("Late"))) {
		input->late = true;
		return;
	}
	if (str_eq_nocase(name, STR("Edge")) && !input->edge) {
		input->edge = copy(value);
		return;
	}
	if (input->n == HEADERS || name.n == 0 || name.n > NAME - 6)
		return;
	if (str_eq_nocase(name, STR("X-Request-ID")))
		name = STR("REQUEST_ID");
	else if (!str_eq_nocase(name, STR("Content-Type")) && !str_eq_nocase(name, STR("Content-Length")))
		at = (size_t)snprintf(out, NAME, "HTTP_");
	for (size_t i = 0; i < name.n; i++)
		out[at++] = (char)(name.p[i] == '-' ? '_' : toupper((unsigned char)name.p[i]));
	out[at] = '\0';
	/* nginx's own: a client's header never gets these names. */
	if (strncmp(out, "EDGE_", 5) == 0)
		return;
	input->values[input->n++] = copy(value);
}

static struct str parse(struct str text, struct input *input)
{
	struct str line = str_cut(&text, '\n');

	input->method = copy(str_cut(&line, ' '));
	input->path = copy(str_cut(&line, '?'));
	input->query = copy(line);
	while (text.n > 0) {
		line = str_cut(&text, '\n');
		if (line.n == 0)
			break;
		struct str name = str_cut(&line, ':');
		take_header(input, name, str_trim(line));
	}
	return text;
}

static bool is(const struct input *input, const char *name, const char *value)
{
	const char *last = "";

	for (int i = 0; i < input->n; i++)
		if (strcmp(input->names[i], name) == 0)
			last = input->values[i];
	return strcmp(last, value) == 0;
}

static void check(struct harness *h, const struct input *input, const struct exchange *x)
{
	char path[64];

	fuzz_check_answer(x);
	demand(x->status != 500 || input->edge, "nothing that a client sends is our fault");
	if (x->status != 201 || !x->req.route || x->req.route->auth != ROUTE_KEY)
		return;
	demand(is(input, "HTTP_X_API_KEY", HARNESS_KEY), "only who has a key writes");
	demand(x->body.n > 60 && str_starts(buf_view(&x->body), STR("{\"prediction_id\":\"")), "a prediction");
	snprintf(path, sizeof(path), "/predictions/%.36s", answer_body(x) + strlen("{\"prediction_id\":\""));
	demand(GET(h, path)->status == 200, "what was acknowledged is there");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct harness *h = fuzz_app();
	struct input input = {0};
	struct str body = parse((struct str){(const char *)data, size}, &input);
	struct exchange *x;
	struct ask ask = {.method = input.method,
			  .path = input.path,
			  .query = input.query,
			  .body = body.n > 0 ? body.p : NULL,
			  .body_n = body.n,
			  .edge_id = input.edge,
			  .late_body = input.late};

	/* Seven pairs fit an ask; the last ones of the input count. */
	int from = input.n > 6 ? input.n - 6 : 0;
	for (int i = from, at = 0; i < input.n; i++) {
		ask.params[at++] = input.names[i];
		ask.params[at++] = input.values[i];
	}
	x = harness_ask(h, &ask);
	struct input shown = input;
	for (int i = 0; i < from; i++)
		shown.names[i][0] = '\0';
	check(h, &shown, x);
	harness_forget(h);
	for (int i = 0; i < input.n; i++)
		free(input.values[i]);
	free(input.method);
	free(input.path);
	free(input.query);
	free(input.edge);
	return 0;
}
