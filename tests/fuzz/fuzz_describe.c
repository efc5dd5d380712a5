/* The manifest that is made of a stranger's model file: it is JSON, the same each time, and says the file's own hash.
 */
#include "fuzz.h"

#include "base/json.h"
#include "model/manifest.h"
#include "model/xgboost.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str file = {(const char *)data, n};
	struct manifest *manifest = NULL;
	struct json_value root;
	struct json_fault fault;
	struct buf one, other;
	struct err err = {0};

	buf_init_heap(&one);
	buf_init_heap(&other);
	enum status status = xgboost_describe(file, STR("model.json"), &one, &err);
	demand(xgboost_describe(file, STR("model.json"), &other, NULL) == status, "the same file ends the same");
	if (status == STATUS_OK) {
		demand(str_eq(buf_view(&one), buf_view(&other)), "and gives the same manifest");
		demand(json_check(buf_view(&one), JSON_MAX_DEPTH, &root, &fault), "a manifest is JSON");
		if (manifest_parse(&manifest, buf_view(&one), &err) != STATUS_OK)
			demand(err.text[0] != '\0', "what is refused is refused with a sentence");
	} else {
		demand(err.text[0] != '\0', "what is refused is refused with a sentence");
	}
	manifest_free(manifest);
	buf_release(&one);
	buf_release(&other);
	return 0;
}
