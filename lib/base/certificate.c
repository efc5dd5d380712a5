/* A walk through the outermost fields of a certificate in DER (X.690): tag, length, content, one after the other.
 *
 * Certificate ::= SEQUENCE { TBSCertificate SEQUENCE { [0] version OPTIONAL, serialNumber INTEGER, signature SEQUENCE,
 * issuer SEQUENCE, validity SEQUENCE { notBefore, notAfter }, … }, … } */
#include "base/certificate.h"

#include "base/clock.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILE_BYTES = 256 * 1024 };
enum { DER_INTEGER = 0x02, DER_UTC_TIME = 0x17, DER_TIME = 0x18, DER_SEQUENCE = 0x30, DER_VERSION = 0xa0 };

/* The next field of *in, which goes on behind it. False: there is none. */
static bool take(struct str *in, unsigned *tag, struct str *content)
{
	const unsigned char *p = (const unsigned char *)in->p;

	if (in->n < 2)
		return false;
	size_t n = p[1], at = 2;
	if (n > 0x80) {
		size_t digits = n - 0x80;
		if (digits > 3 || in->n < 2 + digits)
			return false;
		for (n = 0; at < 2 + digits; at++)
			n = n << 8 | p[at];
	} else if (n == 0x80) {
		return false;
	}
	if (n > in->n - at)
		return false;
	*tag = p[0];
	*content = (struct str){in->p + at, n};
	*in = (struct str){in->p + at + n, in->n - at - n};
	return true;
}

static bool take_this(struct str *in, unsigned wanted, struct str *content)
{
	unsigned tag;

	return take(in, &tag, content) && tag == wanted;
}

/* YYMMDDHHMMSSZ, of 1950 to 2049, or YYYYMMDDHHMMSSZ. */
static bool read_time(unsigned tag, struct str text, int64_t *seconds)
{
	char iso[32];
	int64_t us;
	bool utc = tag == DER_UTC_TIME;

	if ((!utc && tag != DER_TIME) || text.n != (utc ? 13 : 15) || text.p[text.n - 1] != 'Z')
		return false;
	const char *rest = text.p + (utc ? 2 : 4), *century = !utc ? "" : text.p[0] < '5' ? "20" : "19";
	snprintf(iso, sizeof(iso), "%s%.*s-%.2s-%.2sT%.2s:%.2s:%.2sZ", century, utc ? 2 : 4, text.p, rest, rest + 2,
		 rest + 4, rest + 6, rest + 8);
	if (!clock_parse_iso(str_of(iso), &us))
		return false;
	*seconds = us / 1000000;
	return true;
}

static bool read_der(struct str der, int64_t *seconds)
{
	struct str certificate, body, field, validity;
	unsigned tag;

	if (!take_this(&der, DER_SEQUENCE, &certificate) || !take_this(&certificate, DER_SEQUENCE, &body))
		return false;
	if (!take(&body, &tag, &field) || (tag == DER_VERSION && !take(&body, &tag, &field)) || tag != DER_INTEGER)
		return false;
	for (int i = 0; i < 3; i++) /* signature, issuer, validity */
		if (!take_this(&body, DER_SEQUENCE, &validity))
			return false;
	for (int i = 0; i < 2; i++) /* notBefore, notAfter */
		if (!take(&validity, &tag, &field))
			return false;
	return read_time(tag, field, seconds);
}

bool certificate_end(struct str pem, int64_t *seconds)
{
	static const char BEGIN[] = "-----BEGIN CERTIFICATE-----", END[] = "-----END CERTIFICATE-----";
	const char *from = memmem(pem.p, pem.n, BEGIN, sizeof(BEGIN) - 1);

	if (!from)
		return false;
	from += sizeof(BEGIN) - 1;
	const char *to = memmem(from, (size_t)(pem.p + pem.n - from), END, sizeof(END) - 1);
	if (!to)
		return false;
	size_t size = (size_t)(to - from), n = 0;
	unsigned char *der = malloc(size + 1);
	bool good = der &&
		    sodium_base642bin(der, size + 1, from, size, " \t\r\n", &n, NULL, sodium_base64_VARIANT_ORIGINAL) ==
			    0 &&
		    read_der((struct str){(const char *)der, n}, seconds);
	free(der);
	return good;
}

bool certificate_file_end(const char *path, int64_t *seconds)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char *text = fd >= 0 ? malloc(FILE_BYTES) : NULL;
	size_t n = 0;

	while (text && n < FILE_BYTES) {
		ssize_t got = read(fd, text + n, FILE_BYTES - n);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	if (fd >= 0)
		close(fd);
	bool good = text && certificate_end((struct str){text, n}, seconds);
	free(text);
	return good;
}
