/* REDIS_URL. Sentences name the part that is wrong and never show it: a password with a blank or an "@" in it makes any
 * part look like any other. */
#include "base/redis_url.h"

#include "base/id.h"

enum { PORT_DEFAULT = 6379, PORT_MAX = 65535, DB_MAX = 65535 };

static enum status wrong(struct err *err, const char *what)
{
	return err_set(err, STATUS_INVALID, "REDIS_URL %s.", what);
}

/* Printable ASCII with %-escapes resolved, and a NUL behind. False when it does not fit or an escape is none. */
static bool decode(struct str text, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = (uint8_t)text.p[i];
		if (c == '%') {
			if (text.n - i < 3 || !hex_parse((struct str){text.p + i + 1, 2}, &c, 1) || c == 0)
				return false;
			i += 2;
		} else if (c <= 0x20 || c >= 0x7f) {
			return false;
		}
		if (n + 1 >= size)
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return true;
}

/* Cuts "user:password@" off the front. */
static enum status read_login(struct str *rest, struct redis_url *out, struct err *err)
{
	const char *at = rest->n > 0 ? memrchr(rest->p, '@', rest->n) : NULL;

	if (!at)
		return STATUS_OK;
	struct str login = {rest->p, (size_t)(at - rest->p)};
	*rest = (struct str){at + 1, rest->n - login.n - 1};
	struct str password = login;
	struct str user = str_cut(&password, ':');
	if (!password.p)
		return wrong(err, "wants user:password before the @, or :password");
	if (memchr(password.p, '@', password.n) || memchr(password.p, '/', password.n) ||
	    !decode(user, out->user, sizeof(out->user)) || !decode(password, out->password, sizeof(out->password)))
		return wrong(err, "holds a user or password that is too long, or has characters in it that must be "
				  "written as %-escapes");
	return STATUS_OK;
}

static enum status read_db(struct str text, struct redis_url *out, struct err *err)
{
	uint64_t db = 0;

	if (text.n > 0 && !str_to_u64(text, DB_MAX, &db))
		return wrong(err, "wants a whole number as the database's");
	out->db = (int)db;
	return STATUS_OK;
}

static enum status read_socket(struct str rest, struct redis_url *out, struct err *err)
{
	struct str db = rest;
	struct str path = str_cut(&db, '?');

	if (path.n < 2 || path.p[0] != '/' || !decode(path, out->path, sizeof(out->path)))
		return wrong(err, "wants a socket's absolute path of up to 107 characters behind unix://");
	if (db.p && !str_starts(db, STR("db=")))
		return wrong(err, "knows no parameter but db behind a socket's path");
	return read_db(db.p ? (struct str){db.p + 3, db.n - 3} : db, out, err);
}

static enum status read_address(struct str rest, struct redis_url *out, struct err *err)
{
	struct str db = rest, port;
	struct str address = str_cut(&db, '/');
	struct str host;
	uint64_t number = PORT_DEFAULT;

	if (address.n > 0 && address.p[0] == '[') {
		port = (struct str){address.p + 1, address.n - 1};
		host = str_cut(&port, ']');
		if (!port.p || (port.n > 0 && port.p[0] != ':'))
			return wrong(err, "wants an IPv6 address as [address]:port");
		port = port.n > 0 ? (struct str){port.p + 1, port.n - 1} : (struct str){0};
	} else {
		port = address;
		host = str_cut(&port, ':');
	}
	if (host.n == 0 || !decode(host, out->host, sizeof(out->host)))
		return wrong(err, "names no host");
	if (port.p && (!str_to_u64(port, PORT_MAX, &number) || number == 0))
		return wrong(err, "wants a port from 1 to 65535");
	out->port = (int)number;
	return read_db(db, out, err);
}

enum status redis_url_parse(struct str text, struct redis_url *out, struct err *err)
{
	bool tcp = str_starts(text, STR("redis://")), local = str_starts(text, STR("unix://"));

	*out = (struct redis_url){0};
	if (str_starts(text, STR("rediss://")))
		return wrong(err, "asks for TLS, which this build's Redis client does not have: use a tunnel or a "
				  "private network");
	if (!tcp && !local)
		return wrong(err, "wants the form redis://[user:password@]host:port/db or unix:///path?db=n");
	size_t scheme = tcp ? strlen("redis://") : strlen("unix://");
	struct str rest = {text.p + scheme, text.n - scheme};
	enum status status = read_login(&rest, out, err);
	if (status != STATUS_OK)
		return status;
	return tcp ? read_address(rest, out, err) : read_socket(rest, out, err);
}
