/* URLs: read, joined and compared by libcurl, which also fetches them, so that there is one opinion of what a URL
 * means. */
#include "pipeline/http_url.h"

#include "pipeline/http_source.h"

#include <curl/curl.h>
#include <stdio.h>

/* NULL: it is no URL that can be fetched; *why says why. Ends with curl_url_cleanup. */
static CURLU *read_url(struct str url, const char **why)
{
	char text[HTTP_URL_BYTES + 1], *part = NULL;

	*why = "is too long";
	if (url.n > HTTP_URL_BYTES)
		return NULL;
	*why = "should have no blanks, control characters or others that are not ASCII";
	if (url.n == 0 || !str_is_token(url))
		return NULL;
	*why = "should begin with https:// or http://";
	struct str scheme = url;
	scheme = str_cut(&scheme, ':');
	if (!str_eq_nocase(scheme, STR("https")) && !str_eq_nocase(scheme, STR("http")))
		return NULL;
	memcpy(text, url.p, url.n);
	text[url.n] = '\0';
	*why = "is no URL";
	CURLU *handle = curl_url();
	if (!handle || curl_url_set(handle, CURLUPART_URL, text, 0) != CURLUE_OK ||
	    curl_url_get(handle, CURLUPART_HOST, &part, 0) != CURLUE_OK)
		goto bad;
	curl_free(part);
	*why = "should have no user name and no password: say them by headers";
	if (curl_url_get(handle, CURLUPART_USER, &part, 0) == CURLUE_OK ||
	    curl_url_get(handle, CURLUPART_PASSWORD, &part, 0) == CURLUE_OK) {
		curl_free(part);
		goto bad;
	}
	*why = NULL;
	return handle;
bad:
	curl_url_cleanup(handle);
	return NULL;
}

const char *http_url_check(struct str url)
{
	const char *why;
	CURLU *handle = read_url(url, &why);

	curl_url_cleanup(handle);
	return why;
}

static bool put_url(CURLU *handle, struct buf *out)
{
	char *text = NULL;
	const char *why;

	out->n = 0;
	(void)curl_url_set(handle, CURLUPART_FRAGMENT, NULL, 0);
	if (curl_url_get(handle, CURLUPART_URL, &text, 0) != CURLUE_OK)
		return false;
	buf_str(out, str_of(text));
	curl_free(text);
	why = http_url_check(buf_view(out));
	return !out->failed && !why;
}

bool http_url_join(struct str base, struct str reference, struct buf *out)
{
	char text[HTTP_URL_BYTES + 1];
	const char *why;

	out->n = 0;
	if (reference.n > HTTP_URL_BYTES || (reference.n > 0 && !str_is_token(reference)))
		return false;
	if (reference.n > 0)
		memcpy(text, reference.p, reference.n);
	text[reference.n] = '\0';
	CURLU *handle = read_url(base, &why);
	/* curl takes an empty reference for an error; RFC 3986 for the page itself. */
	bool good = handle && (reference.n == 0 || curl_url_set(handle, CURLUPART_URL, text, 0) == CURLUE_OK) &&
		    put_url(handle, out);
	curl_url_cleanup(handle);
	return good;
}

/* libcurl spells escapes in either case. */
static bool is_param(struct str pair, struct str escaped)
{
	struct str name = str_cut(&pair, '=');

	return str_eq(name, escaped) || (memchr(escaped.p, '%', escaped.n) && str_eq_nocase(name, escaped));
}

bool http_url_set(struct buf *url, struct str param, struct str value)
{
	const char *why;
	char *query = NULL;
	struct buf out;
	bool first = true;

	CURLU *handle = read_url(buf_view(url), &why);
	char *name = curl_easy_escape(NULL, param.p, (int)param.n);
	char *is = value.n > 0 ? curl_easy_escape(NULL, value.p, (int)value.n) : NULL;
	buf_init_heap(&out);
	bool good = handle && name && (is || value.n == 0);
	if (good && curl_url_get(handle, CURLUPART_QUERY, &query, 0) == CURLUE_OK) {
		struct str rest = str_of(query);
		while (rest.p) {
			struct str pair = str_cut(&rest, '&');
			if (pair.n == 0 || is_param(pair, str_of(name)))
				continue;
			if (!first)
				buf_char(&out, '&');
			buf_str(&out, pair);
			first = false;
		}
	}
	if (good) {
		if (!first)
			buf_char(&out, '&');
		buf_str(&out, str_of(name));
		buf_char(&out, '=');
		buf_str(&out, str_of(is));
		buf_char(&out, '\0');
		good = !out.failed && curl_url_set(handle, CURLUPART_QUERY, out.p, 0) == CURLUE_OK &&
		       put_url(handle, url);
	}
	buf_release(&out);
	curl_free(query);
	curl_free(name);
	curl_free(is);
	curl_url_cleanup(handle);
	return good;
}

bool http_url_is_same_origin(struct str a, struct str b)
{
	static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
	const char *why;
	CURLU *x = read_url(a, &why), *y = read_url(b, &why);
	bool same = x && y;

	for (int i = 0; same && i < 3; i++) {
		char *of_x = NULL, *of_y = NULL;
		same = curl_url_get(x, parts[i], &of_x, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		       curl_url_get(y, parts[i], &of_y, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		       str_eq_nocase(str_of(of_x), str_of(of_y));
		curl_free(of_x);
		curl_free(of_y);
	}
	curl_url_cleanup(x);
	curl_url_cleanup(y);
	return same;
}

void http_url_put_shown(struct buf *out, struct str url)
{
	struct str rest = url;

	rest = str_cut(&rest, '#');
	buf_str(out, str_cut(&rest, '?'));
}
