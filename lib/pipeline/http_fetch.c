/* libcurl, told to do little by itself: redirects are followed here, one by one, so that each is asked the same
 * questions and credentials stay with the host they are for; proxies of the environment, cookies and .netrc are not
 * used; each address is looked at when it is about to be connected to, behind names and DNS. */
#include "pipeline/http_fetch.h"

#include "base/clock.h"
#include "base/version.h"
#include "pipeline/http_url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CONNECT_MS = 10000,
	LOW_BYTES = 64, /* a second, at least, over */
	LOW_S = 15,
	HEADER_BYTES = 256 * 1024, /* of all headers of an answer */
	HEADERS_ARENA = 1 << 20,
	ASK_MS = 500,
	HOST_SHOWN = 100,
};

struct http_client {
	const struct http_source *source;
	const char *networks;
	bool (*go_on)(void *arg);
	void *arg;
	CURL *curl;
	struct curl_slist *headers; /* the source's, secrets and all */
	struct arena arena;
	/* of the transfer under way */
	struct http_answer *answer;
	size_t header_bytes;
	uint64_t asked_ms;
	bool cancelled, too_large, headers_too_large, no_memory;
	char forbidden[INET6_ADDRSTRLEN]; /* the address; empty: none */
	char error[CURL_ERROR_SIZE];
};

void http_answer_init(struct http_answer *answer)
{
	*answer = (struct http_answer){.retry_after_s = -1};
	buf_init_heap(&answer->body);
	buf_init_heap(&answer->url);
	buf_init_heap(&answer->link);
}

void http_answer_release(struct http_answer *answer)
{
	buf_release(&answer->body);
	buf_release(&answer->url);
	buf_release(&answer->link);
}

/* --- what libcurl asks --- */

static size_t take_body(char *bytes, size_t one, size_t n, void *arg)
{
	struct http_client *client = arg;
	struct buf *body = &client->answer->body;

	n *= one;
	client->too_large = n > (size_t)client->source->page_bytes - body->n;
	if (client->too_large)
		return 0;
	buf_put(body, bytes, n);
	client->no_memory = body->failed;
	return body->failed ? 0 : n;
}

static bool is_header(struct str line, struct str name, struct str *value)
{
	struct str rest = line;

	if (!str_eq_nocase(str_cut(&rest, ':'), name) || !rest.p)
		return false;
	*value = str_trim(rest);
	return true;
}

/* Too long for us: as if there were none. */
static void keep_validator(char out[static HTTP_VALIDATOR_BYTES], struct str value)
{
	bool good = value.n < HTTP_VALIDATOR_BYTES && str_is_utf8(value);

	snprintf(out, HTTP_VALIDATOR_BYTES, "%.*s", good ? (int)value.n : 0, good ? value.p : "");
}

static size_t take_header(char *bytes, size_t one, size_t n, void *arg)
{
	struct http_client *client = arg;
	struct http_answer *answer = client->answer;
	struct str value, line = {bytes, n * one};

	client->header_bytes += line.n;
	client->headers_too_large = client->header_bytes > HEADER_BYTES;
	if (client->headers_too_large)
		return 0;
	if (is_header(line, STR("ETag"), &value)) {
		keep_validator(answer->etag, value);
	} else if (is_header(line, STR("Last-Modified"), &value)) {
		keep_validator(answer->last_modified, value);
	} else if (is_header(line, STR("Link"), &value) && answer->link.n + value.n < HTTP_LINK_BYTES) {
		if (answer->link.n > 0)
			buf_str(&answer->link, STR(", "));
		buf_str(&answer->link, value);
	}
	return line.n;
}

/* libcurl asks for a socket when it has the address. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_client *client = arg;
	const struct sockaddr *to = &address->addr;

	if (purpose == CURLSOCKTYPE_IPCXN && http_address_is_allowed(to, (socklen_t)address->addrlen, client->networks))
		return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	const void *bytes = address->family == AF_INET6
				    ? (const void *)&((const struct sockaddr_in6 *)(const void *)to)->sin6_addr
				    : (const void *)&((const struct sockaddr_in *)(const void *)to)->sin_addr;
	if ((address->family != AF_INET && address->family != AF_INET6) ||
	    !inet_ntop(address->family, bytes, client->forbidden, sizeof(client->forbidden)))
		snprintf(client->forbidden, sizeof(client->forbidden), "no IP");
	return CURL_SOCKET_BAD;
}

static int ask(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	struct http_client *client = arg;
	uint64_t now_ms = clock_mono_ms();

	(void)down_total;
	(void)down;
	(void)up_total;
	(void)up;
	if (now_ms - client->asked_ms >= ASK_MS) {
		client->asked_ms = now_ms;
		client->cancelled = !client->go_on(client->arg);
	}
	return client->cancelled;
}

/* --- a client --- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode started;

static void start_curl(void)
{
	started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool add_header(struct curl_slist **list, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*list, line);

	if (longer)
		*list = longer;
	return longer != NULL;
}

static enum status read_headers(struct http_client *client, struct err *err)
{
	const struct http_source *source = client->source;

	for (int i = 0; i < source->headers_n; i++) {
		const char *line;
		enum status status = http_header_line(&source->headers[i], &client->arena, &line, err);
		if (status != STATUS_OK)
			return status;
		if (!add_header(&client->headers, line))
			return err_set(err, STATUS_NO_MEMORY, "no memory for headers");
	}
	return STATUS_OK;
}

static bool set_options(struct http_client *client)
{
	CURL *curl = client->curl;
	long ms = (long)client->source->timeout_s * 1000;
	CURLcode bad = CURLE_OK;

#define SET(option, value) bad = bad == CURLE_OK ? curl_easy_setopt(curl, option, value) : bad
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
	SET(CURLOPT_USERAGENT, "appcore/" APPCORE_VERSION);
	SET(CURLOPT_CONNECTTIMEOUT_MS, ms < CONNECT_MS ? ms : (long)CONNECT_MS);
	SET(CURLOPT_TIMEOUT_MS, ms);
	SET(CURLOPT_LOW_SPEED_LIMIT, (long)LOW_BYTES);
	SET(CURLOPT_LOW_SPEED_TIME, (long)LOW_S);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, client);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, client);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, client);
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_XFERINFOFUNCTION, ask);
	SET(CURLOPT_XFERINFODATA, client);
	SET(CURLOPT_ERRORBUFFER, client->error);
#undef SET
	return bad == CURLE_OK;
}

enum status http_client_open(struct http_client **out, const struct http_source *source, const char *networks,
			     bool (*go_on)(void *arg), void *arg, struct err *err)
{
	struct http_client *client = calloc(1, sizeof(*client));

	*out = NULL;
	pthread_once(&once, start_curl);
	if (!client)
		return err_set(err, STATUS_NO_MEMORY, "no memory for fetching");
	client->source = source;
	client->networks = networks;
	client->go_on = go_on;
	client->arg = arg;
	arena_init(&client->arena, HEADERS_ARENA);
	enum status status = STATUS_OK;
	client->curl = started == CURLE_OK ? curl_easy_init() : NULL;
	if (!client->curl || !set_options(client))
		status = err_set(err, STATUS_UNAVAILABLE, "libcurl can't be used here");
	if (status == STATUS_OK)
		status = read_headers(client, err);
	if (status == STATUS_OK)
		*out = client;
	else
		http_client_close(client);
	return status;
}

void http_client_close(struct http_client *client)
{
	if (!client)
		return;
	curl_easy_cleanup(client->curl);
	curl_slist_free_all(client->headers);
	arena_release(&client->arena);
	free(client);
}

/* --- a page --- */

/* "api.example.com" */
static struct str host_of(struct str url)
{
	struct str rest = url;

	(void)str_cut(&rest, '/');
	(void)str_cut(&rest, '/');
	struct str host = str_cut(&rest, '/');
	host = str_cut(&host, '?');
	host.n = host.n < HOST_SHOWN ? host.n : HOST_SHOWN;
	return host;
}

static enum status explain(const struct http_client *client, CURLcode code, struct str url, struct err *err)
{
	struct str host = host_of(url);

	if (client->cancelled)
		return err_set(err, STATUS_CANCELLED, "it was cancelled");
	if (client->no_memory || code == CURLE_OUT_OF_MEMORY)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a page of %.*s", STR_ARG(host));
	if (client->too_large)
		return err_set(err, STATUS_INVALID,
			       "A page of %.*s is larger than page_bytes, %lld bytes: ask for smaller pages.",
			       STR_ARG(host), (long long)client->source->page_bytes);
	if (client->headers_too_large)
		return err_set(err, STATUS_INVALID, "%.*s sends more than %d bytes of headers.", STR_ARG(host),
			       HEADER_BYTES);
	if (client->forbidden[0] && code == CURLE_COULDNT_CONNECT)
		return err_set(
			err, STATUS_INVALID,
			"%.*s has the address %s, which is not a public one: add its network to SOURCE_NETWORKS if "
			"that is meant.",
			STR_ARG(host), client->forbidden);
	switch (code) {
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_BAD_CONTENT_ENCODING:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		return err_set(err, STATUS_INVALID, "%.*s can't be read: %.100s.", STR_ARG(host),
			       client->error[0] ? client->error : curl_easy_strerror(code));
	default:
		return err_set(err, STATUS_UNAVAILABLE, "%.*s can't be read: %.100s.", STR_ARG(host),
			       curl_easy_strerror(code));
	}
}

/* The source's headers, if the URL is where they are for, and the conditions. */
static struct curl_slist *list_headers(const struct http_client *client, struct str url, struct str etag,
				       struct str last_modified, bool *failed)
{
	struct curl_slist *list = NULL;
	char line[HTTP_VALIDATOR_BYTES + 32];
	bool good = true;

	if (http_url_is_same_origin(url, client->source->url))
		for (const struct curl_slist *at = client->headers; at && good; at = at->next)
			good = add_header(&list, at->data);
	if (etag.n > 0 && etag.n < HTTP_VALIDATOR_BYTES) {
		snprintf(line, sizeof(line), "If-None-Match: %.*s", STR_ARG(etag));
		good = good && add_header(&list, line);
	}
	if (last_modified.n > 0 && last_modified.n < HTTP_VALIDATOR_BYTES) {
		snprintf(line, sizeof(line), "If-Modified-Since: %.*s", STR_ARG(last_modified));
		good = good && add_header(&list, line);
	}
	*failed = !good;
	return list;
}

/* One hop. */
static enum status get(struct http_client *client, struct str etag, struct str last_modified, struct err *err)
{
	struct http_answer *answer = client->answer;
	struct str url = buf_view(&answer->url);
	char text[HTTP_URL_BYTES + 1];
	curl_off_t after = 0;
	bool failed;

	answer->body.n = answer->link.n = 0;
	answer->etag[0] = answer->last_modified[0] = '\0';
	answer->retry_after_s = -1;
	answer->status = 0;
	client->header_bytes = 0;
	client->cancelled = client->too_large = client->headers_too_large = client->no_memory = false;
	client->forbidden[0] = client->error[0] = '\0';
	if (url.n > HTTP_URL_BYTES)
		return err_set(err, STATUS_INVALID, "A URL of %.*s is too long.", STR_ARG(host_of(url)));
	snprintf(text, sizeof(text), "%.*s", STR_ARG(url));
	struct curl_slist *headers = list_headers(client, url, etag, last_modified, &failed);
	if (failed || curl_easy_setopt(client->curl, CURLOPT_URL, text) != CURLE_OK ||
	    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, headers) != CURLE_OK) {
		curl_slist_free_all(headers);
		return err_set(err, STATUS_NO_MEMORY, "no memory for fetching");
	}
	CURLcode code = curl_easy_perform(client->curl);
	(void)curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	answer->reached |= code != CURLE_COULDNT_CONNECT || !client->forbidden[0];
	if (code != CURLE_OK)
		return explain(client, code, url, err);
	(void)curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &answer->status);
	if (curl_easy_getinfo(client->curl, CURLINFO_RETRY_AFTER, &after) == CURLE_OK && after > 0)
		answer->retry_after_s = (int64_t)after;
	return STATUS_OK;
}

static bool is_redirect(long status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static enum status redirect(struct http_client *client, struct err *err)
{
	struct buf *url = &client->answer->url;
	struct str host = host_of(buf_view(url));
	char *to = NULL;

	if (curl_easy_getinfo(client->curl, CURLINFO_REDIRECT_URL, &to) != CURLE_OK || !to)
		return err_set(err, STATUS_INVALID, "%.*s redirects to nowhere.", STR_ARG(host));
	const char *why = http_url_check(str_of(to));
	if (why)
		return err_set(err, STATUS_INVALID, "%.*s redirects to what %s.", STR_ARG(host), why);
	if (str_starts(buf_view(url), STR("https:")) && !str_starts(str_of(to), STR("https:")))
		return err_set(err, STATUS_INVALID, "%.*s redirects from https to http.", STR_ARG(host));
	url->n = 0;
	buf_str(url, str_of(to));
	return url->failed ? err_set(err, STATUS_NO_MEMORY, "no memory for a URL") : STATUS_OK;
}

enum status http_fetch(struct http_client *client, struct str url, struct str etag, struct str last_modified,
		       struct http_answer *answer, struct err *err)
{
	enum status status;

	client->answer = answer;
	answer->reached = false;
	answer->url.n = 0;
	buf_str(&answer->url, url);
	if (answer->url.failed)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a URL");
	for (int hops = 0;; hops++) {
		status = get(client, etag, last_modified, err);
		if (status != STATUS_OK || !is_redirect(answer->status))
			break;
		if (hops == HTTP_REDIRECTS_MAX)
			return err_set(err, STATUS_INVALID, "%.*s redirects more than %d times.", STR_ARG(host_of(url)),
				       HTTP_REDIRECTS_MAX);
		status = redirect(client, err);
		if (status != STATUS_OK)
			return status;
	}
	bool conditional = etag.n > 0 || last_modified.n > 0;
	if (status != STATUS_OK || answer->status == 200 || (answer->status == 304 && conditional))
		return status;
	bool again = answer->status == 408 || answer->status == 429 || answer->status >= 500;
	return err_set(err, again ? STATUS_UNAVAILABLE : STATUS_INVALID, "%.*s answers %ld.",
		       STR_ARG(host_of(buf_view(&answer->url))), answer->status);
}
