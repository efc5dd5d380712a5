/* Which addresses sources may have. A name can lead anywhere, and to another place a moment later, so this is asked of
 * the address that is about to be connected to. Special networks are those of IANA's registries (RFC 6890); of IPv6
 * only what is handed out as global unicast (2000::/3) is taken for public. */
#include "pipeline/http_url.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

struct network {
	uint8_t address[16];
	unsigned bits;
};

/* clang-format off */
static const struct network PRIVATE_4[] = {
	{{0}, 8}, {{10}, 8}, {{100, 64}, 10}, {{127}, 8}, {{169, 254}, 16}, {{172, 16}, 12}, {{192, 0, 0}, 24},
	{{192, 0, 2}, 24}, {{192, 88, 99}, 24}, {{192, 168}, 16}, {{198, 18}, 15}, {{198, 51, 100}, 24},
	{{203, 0, 113}, 24}, {{224}, 4}, {{240}, 4},
};
/* Protocol assignments with Teredo, documentation, 6to4, documentation. */
static const struct network PRIVATE_6[] = {
	{{0x20, 0x01}, 23}, {{0x20, 0x01, 0x0d, 0xb8}, 32}, {{0x20, 0x02}, 16}, {{0x3f, 0xff}, 20},
};
static const struct network GLOBAL_6 = {{0x20}, 3};
static const struct network MAPPED = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96};
static const struct network NAT64 = {{0, 0x64, 0xff, 0x9b}, 96};
/* clang-format on */

static bool is_in(const uint8_t *address, const struct network *network)
{
	unsigned bytes = network->bits / 8, rest = network->bits % 8;

	if (memcmp(address, network->address, bytes) != 0)
		return false;
	return rest == 0 || (uint8_t)((address[bytes] ^ network->address[bytes]) >> (8 - rest)) == 0;
}

/* "10.0.0.0/8", "::1". Neither NULs nor long texts get here: the setting was checked. */
static bool read_network(struct str text, struct network *out, int *family)
{
	char address[INET6_ADDRSTRLEN];
	uint64_t bits;
	struct str rest = text;
	struct str host = str_cut(&rest, '/');

	if (host.n == 0 || host.n >= sizeof(address))
		return false;
	memcpy(address, host.p, host.n);
	address[host.n] = '\0';
	*family = memchr(host.p, ':', host.n) ? AF_INET6 : AF_INET;
	unsigned most = *family == AF_INET6 ? 128 : 32;
	if (inet_pton(*family, address, out->address) != 1)
		return false;
	out->bits = most;
	if (rest.p && !str_to_u64(rest, most, &bits))
		return false;
	if (rest.p)
		out->bits = (unsigned)bits;
	return true;
}

static bool is_listed(int family, const uint8_t *address, const char *networks)
{
	struct str rest = str_of(networks);
	struct network network;
	int its;

	while (rest.p) {
		struct str entry = str_trim(str_cut(&rest, ','));
		if (str_eq(entry, STR("all")))
			return true;
		network = (struct network){{0}, 0};
		if (read_network(entry, &network, &its) && its == family && is_in(address, &network))
			return true;
	}
	return false;
}

static bool is_any_of(const uint8_t *address, const struct network *networks, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_in(address, &networks[i]))
			return true;
	return false;
}

static bool is_allowed_4(const uint8_t *address, const char *networks)
{
	return !is_any_of(address, PRIVATE_4, sizeof(PRIVATE_4) / sizeof(PRIVATE_4[0])) ||
	       is_listed(AF_INET, address, networks);
}

bool http_address_is_allowed(const struct sockaddr *address, socklen_t n, const char *networks)
{
	if (address->sa_family == AF_INET && n >= sizeof(struct sockaddr_in)) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
		return is_allowed_4((const uint8_t *)&in->sin_addr, networks);
	}
	if (address->sa_family != AF_INET6 || n < sizeof(struct sockaddr_in6))
		return false;
	const uint8_t *bytes = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr;
	if (is_in(bytes, &MAPPED) || is_in(bytes, &NAT64))
		return is_allowed_4(bytes + 12, networks);
	if (is_in(bytes, &GLOBAL_6) && !is_any_of(bytes, PRIVATE_6, sizeof(PRIVATE_6) / sizeof(PRIVATE_6[0])))
		return true;
	return is_listed(AF_INET6, bytes, networks);
}
