/* When certificates end, and what is none. */
#include "unit.h"

#include "base/certificate.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Made with openssl; the second one ends after 2049, which is written in another form. */
static const char SHORT[] = "-----BEGIN CERTIFICATE-----\n"
			    "MIIBbDCCAROgAwIBAgIUOc6SFBYPOlaQAzjGJFcxt5Ql4OEwCgYIKoZIzj0EAwIw\n"
			    "DDEKMAgGA1UEAwwBYTAeFw0yNjExMjIwMTUzMzZaFw0yNjEyMjIwMTUzMzZaMAwx\n"
			    "CjAIBgNVBAMMAWEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARH5gurFVQuO1eH\n"
			    "EEzvNVtrHaZuDTI04ybrfn2lsf7l6ms+PMtW7g6f9OFyKMT4ONcRgx5yb1QyQdfd\n"
			    "jVN9NNqGo1MwUTAdBgNVHQ4EFgQUdoZmVW3sOEmN7Q+JCKBhU9PXi6gwHwYDVR0j\n"
			    "BBgwFoAUdoZmVW3sOEmN7Q+JCKBhU9PXi6gwDwYDVR0TAQH/BAUwAwEB/zAKBggq\n"
			    "hkjOPQQDAgNHADBEAiAEm8VKDe99m6w74K+JydqmFppcKQrtUb5LYoyv+NTpHwIg\n"
			    "eCc2b3xxHkDb3KF7aXWFvtBEAqyh6rAcrArBR5zua1Y=\n"
			    "-----END CERTIFICATE-----\n";
static const char LONG[] = "-----BEGIN CERTIFICATE-----\n"
			   "MIIBcDCCARWgAwIBAgIUIVBf6/tvnFMhzT+m6K/ywKuehTIwCgYIKoZIzj0EAwIw\n"
			   "DDEKMAgGA1UEAwwBYjAgFw0yNjExMjIwMTUzMzZaGA8yMDU5MDkzMDAxNTMzNlow\n"
			   "DDEKMAgGA1UEAwwBYjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNWFCA6AJite\n"
			   "1uv10nlzLSd5E6y99sukS7ul7tq7UjU9TLEeVfpOPT3IfYWG/AFVdQq8hhXifcsn\n"
			   "HYrw6bvPh/2jUzBRMB0GA1UdDgQWBBRnuM8cmSvaj7ujz2yYSC9MCkpGpTAfBgNV\n"
			   "HSMEGDAWgBRnuM8cmSvaj7ujz2yYSC9MCkpGpTAPBgNVHRMBAf8EBTADAQH/MAoG\n"
			   "CCqGSM49BAMCA0kAMEYCIQDZWSo6kjstzckPEJ1W1drtQLbmXu5UJnUKyUgbeRp8\n"
			   "6gIhANEtAqcoAaq18jG33K+epnhZ/JBWDHNwThW8vZOZ7seh\n"
			   "-----END CERTIFICATE-----\n";
enum { SHORT_END = 1797904416 };
static const int64_t LONG_END = INT64_C(2832112416);

static int64_t end_of(const char *pem)
{
	int64_t seconds = 0;

	return certificate_end(str_of(pem), &seconds) ? seconds : -1;
}

static void ends_are_read(void)
{
	char chain[4096];

	CU_ASSERT_EQUAL(end_of(SHORT), SHORT_END);
	CU_ASSERT_EQUAL(end_of(LONG), LONG_END);
	/* The first of a chain counts, whatever stands before it. */
	snprintf(chain, sizeof(chain), "subject=CN = a\r\n%s%s", SHORT, LONG);
	CU_ASSERT_EQUAL(end_of(chain), SHORT_END);
}

static void what_is_none_is_told(void)
{
	static const char *const none[] = {
		"",
		"-----BEGIN CERTIFICATE-----",
		"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\nMIIBMIL/MIH/MA==\n-----END CERTIFICATE-----\n",
		"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
	};

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		CU_ASSERT_EQUAL(end_of(none[i]), -1);
}

/* Every length, and every byte changed: nothing is read behind the end (the sanitizers watch). */
static void damage_is_survived(void)
{
	char text[sizeof(SHORT)];
	int64_t seconds;
	int read = 0;

	for (size_t n = 0; n < sizeof(SHORT); n++) {
		char *copy = malloc(n + 1);
		if (!copy)
			abort();
		memcpy(copy, SHORT, n);
		read += certificate_end((struct str){copy, n}, &seconds);
		free(copy);
	}
	CU_ASSERT_EQUAL(read, 2); /* with and without the last newline */
	for (size_t i = 0; i < sizeof(SHORT) - 1; i++) {
		memcpy(text, SHORT, sizeof(SHORT));
		text[i] = text[i] == '/' ? 'A' : '/';
		read += certificate_end(str_of(text), &seconds);
	}
	CU_ASSERT_TRUE(read > 2);
}

static void files_are_read(void)
{
	char path[512];
	int64_t seconds = 0;

	snprintf(path, sizeof(path), "%s/cert.pem", unit_temp_dir());
	CU_ASSERT_FALSE(certificate_file_end(path, &seconds));
	FILE *file = fopen(path, "we");
	if (!file || fputs(LONG, file) < 0 || fclose(file) != 0)
		abort();
	CU_ASSERT_TRUE(certificate_file_end(path, &seconds));
	CU_ASSERT_EQUAL(seconds, LONG_END);
	CU_ASSERT_FALSE(certificate_file_end(unit_temp_dir(), &seconds)); /* a directory */
	unlink(path);
}

static const struct unit_case CASES[] = {
	{"ends are read", ends_are_read},
	{"what is none is told", what_is_none_is_told},
	{"damage is survived", damage_is_survived},
	{"files are read", files_are_read},
};

int main(void)
{
	return UNIT_RUN("certificate", CASES);
}
