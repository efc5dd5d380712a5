/* JSON from strangers: what the check lets pass must be read, written and built into a tree without a fault, and what
 * is written must pass the check again. */
#include "base/json.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An input must end here by a crash: libFuzzer keeps what crashes. */
static void demand(bool holds, const char *what)
{
	if (!holds) {
		fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

static void visit_number(struct json_value value, struct buf *out)
{
	double number, of_text, again;

	bool finite = json_number(value, &number);
	demand(json_number_of_text(value.text, &of_text), "a number is a number in text, too");
	demand(finite == (bool)isfinite(of_text), "both ways agree on what is finite");
	if (!finite)
		return;
	demand(memcmp(&number, &of_text, sizeof(number)) == 0, "both ways read the same");
	char *text = strndup(value.text.p, value.text.n);
	double reference = strtod(text, NULL);
	free(text);
	demand(memcmp(&number, &reference, sizeof(number)) == 0, "the C library reads the same");
	out->n = 0;
	json_put_double(out, number);
	demand(json_number((struct json_value){JSON_NUMBER, buf_view(out)}, &again), "what was written is finite");
	demand(memcmp(&number, &again, sizeof(number)) == 0, "a double reads back");
}

static void visit_string(struct json_value value, struct arena *arena, struct buf *out)
{
	struct json_value root;
	struct json_fault fault;
	struct str text = json_string(value, arena);

	if (!text.p)
		return; /* the arena is full */
	demand(str_is_utf8(text), "an unescaped string is UTF-8");
	out->n = 0;
	json_put_string(out, text);
	demand(json_check(buf_view(out), 0, &root, &fault), "a written string passes the check");
	demand(str_eq(json_string(root, arena), text) || arena->used > arena->limit / 2, "a string reads back");
}

static void visit(struct json_value value, struct arena *arena, struct buf *out)
{
	struct json_iter iter;
	struct json_value key, member, found;

	if (value.type == JSON_NUMBER)
		visit_number(value, out);
	if (value.type == JSON_STRING)
		visit_string(value, arena, out);
	json_iter_init(&iter, value);
	for (size_t n = 0; json_next(&iter, &key, &member); n++) {
		if (iter.object) {
			visit_string(key, arena, out);
			struct str name = json_string(key, arena);
			if (name.p && n < 64) {
				demand(json_member(value, name, &found), "a member is found by its name");
				demand(found.text.p == member.text.p, "and no other of that name");
			}
		}
		visit(member, arena, out);
	}
}

static void write_again(struct json_value root, struct buf *out)
{
	struct json_value again;
	struct json_fault fault;
	struct buf twice;

	out->n = 0;
	json_put_value(out, root);
	demand(json_check(buf_view(out), JSON_MAX_DEPTH, &again, &fault), "a written value passes the check");
	demand(again.text.n == out->n, "and has no blanks around it");
	buf_init_heap(&twice);
	json_put_value(&twice, again);
	demand(str_eq(buf_view(out), buf_view(&twice)), "a compact value stays as it is");
	buf_release(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_value root;
	struct json_fault fault = {0};
	struct arena arena;
	struct buf out;
	struct str text = {(const char *)data, size};

	buf_init_heap(&out);
	if (!json_check(text, JSON_MAX_DEPTH, &root, &fault)) {
		demand(fault.offset <= size && strlen(fault.reason) > 0, "a fault has a place and a reason");
		demand(str_is_utf8(str_of(fault.reason)), "a reason can be shown");
		double number;
		(void)!json_number_of_text(text, &number);
		json_put_string(&out, text);
		demand(json_check(buf_view(&out), 0, &root, &fault), "any bytes can be written as a string");
		buf_release(&out);
		return 0;
	}
	demand(str_is_utf8(text), "what passes is UTF-8");
	arena_init(&arena, 1u << 20);
	visit(root, &arena, &out);
	write_again(root, &out);
	struct json_object *tree = json_tree(root);
	demand((tree != NULL) == (root.type != JSON_NULL), "json-c takes what passes");
	json_object_put(tree);
	arena_release(&arena);
	buf_release(&out);
	return 0;
}
