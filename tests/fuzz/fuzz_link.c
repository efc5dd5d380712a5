/* Link headers from strangers, and where they lead: what is found lies between angle brackets of the header, and joined
 * with a page's URL it is one that can be fetched, or none. Other addresses than public ones stay refused. */
#include "pipeline/http_url.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str header = {(const char *)data, size}, next;
	struct buf url;

	if (size > 1u << 14)
		return 0;
	if (http_link_next(header, &next)) {
		demand(next.p > header.p && next.p + next.n < header.p + header.n, "it lies within the header");
		demand(next.p[-1] == '<' && next.p[next.n] == '>', "between brackets");
		demand(next.n == 0 || !memchr(next.p, '>', next.n), "and has none itself");
		header = next;
	}
	buf_init_heap(&url);
	if (http_url_join(STR("https://a.example/x/y?z=1"), header, &url)) {
		demand(http_url_check(buf_view(&url)) == NULL, "it can be fetched");
		demand(http_url_is_same_origin(buf_view(&url), buf_view(&url)), "and is itself");
		if (http_url_set(&url, STR("p"), header))
			demand(http_url_check(buf_view(&url)) == NULL, "also with a parameter");
	}
	buf_release(&url);
	return 0;
}
