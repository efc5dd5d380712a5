/* What Redis runs: one value for each client, "limit:<installation>:<hex of the id>", which expires with its window.
 *
 * It holds how many requests are in the window (4 bytes), then the cells of limit.c, oldest first: time (6 bytes,
 * milliseconds) and count (4 bytes). A string that the script cuts and appends to costs one GET and one SET, whatever
 * the limit; a sorted set would cost four commands and ten times the memory. */
#include "shared/limit_redis.h"

/* KEYS: one or two clients for each group. ARGV: the window in ms, then for each group how many ask, the first client's
 * limit, the second's (0: there is none), as 32 bits each. The answer, likewise: for each group how many passed, then
 * for each client what remains after them and, when not all passed and this client is the reason, in how many ms the
 * next would (else the window).
 *
 * The clock may go back (a failover): a newest time ahead by more than a window is no time of this clock. 1010 is
 * SHM_LIMIT_CELLS cells. TIME makes the script differ from run to run: its effects are what is replicated (the only
 * way since Redis 7, the default since 5). */
/* clang-format off */
const char limit_redis_script[] =
	"local unpack, pack, floor = struct.unpack, struct.pack, math.floor\n"
	"local t = redis.call('TIME')\n"
	"local now, window = t[1] * 1000 + floor(t[2] / 1000), tonumber(ARGV[1])\n"
	/* What is in the window: the value, where the cells that count begin, their sum. */
	"local function look(key)\n"
	"  local s = redis.call('GET', key)\n"
	"  if not s then return '', 5, 0 end\n"
	"  local size, at, used = #s, 5, unpack('<I4', s)\n"
	"  if unpack('<I6', s, size - 9) > now + window then return s, size + 1, 0 end\n"
	"  while at <= size do\n"
	"    local ms, c = unpack('<I6I4', s, at)\n"
	"    if ms + window > now then break end\n"
	"    used, at = used - c, at + 10\n"
	"  end\n"
	"  return s, at, used\n"
	"end\n"
	/* Counts m more; the new value. */
	"local function save(key, s, at, used, limit, m)\n"
	"  local ms, last, c = now, #s, m\n"
	"  if at <= last then\n"
	"    local newest, count = unpack('<I6I4', s, last - 9)\n"
	"    local width = limit > 100 and math.max(math.ceil(window / 100), 1) or 1\n"
	"    if newest > ms then ms = newest end\n"
	"    if floor(newest / width) == floor(ms / width) or last + 1 - at >= 1010 then\n"
	"      last, c = last - 10, count + m\n"
	"    end\n"
	"  end\n"
	"  s = pack('<I4', used + m) .. s:sub(at, last) .. pack('<I6I4', ms, c)\n"
	"  redis.call('SET', key, s, 'PX', math.max(ms - now + window, 1))\n"
	"  return s\n"
	"end\n"
	/* Until so many of the oldest have left that one more may pass. */
	"local function wait(s, at, used, limit)\n"
	"  if used < limit then return window end\n"
	"  local go = used - limit + 1\n"
	"  while at < #s do\n"
	"    local ms, c = unpack('<I6I4', s, at)\n"
	"    if c >= go then return ms + window - now end\n"
	"    go, at = go - c, at + 10\n"
	"  end\n"
	"  return window\n"
	"end\n"
	"local out, k = {}, 1\n"
	"for g = 2, #ARGV do\n"
	"  local n, l1, l2 = unpack('<I4I4I4', ARGV[g])\n"
	"  local k1, k2 = KEYS[k], KEYS[k + 1]\n"
	"  local s1, f1, u1 = look(k1)\n"
	"  local m, s2, f2, u2 = math.min(n, math.max(l1 - u1, 0))\n"
	"  k = k + 1\n"
	"  if l2 > 0 then\n"
	"    s2, f2, u2 = look(k2)\n"
	"    m, k = math.min(m, math.max(l2 - u2, 0)), k + 1\n"
	"  end\n"
	"  if m > 0 then\n"
	"    s1, f1, u1 = save(k1, s1, f1, u1, l1, m), 5, u1 + m\n"
	"    if l2 > 0 then s2, f2, u2 = save(k2, s2, f2, u2, l2, m), 5, u2 + m end\n"
	"  end\n"
	"  local w1, w2 = window, window\n"
	"  if m < n then\n"
	"    w1 = wait(s1, f1, u1, l1)\n"
	"    if l2 > 0 then w2 = wait(s2, f2, u2, l2) end\n"
	"  end\n"
	"  out[g - 1] = pack('<I4I4I4', m, math.max(l1 - u1, 0), w1)\n"
	"  if l2 > 0 then out[g - 1] = out[g - 1] .. pack('<I4I4', math.max(l2 - u2, 0), w2) end\n"
	"end\n"
	"return table.concat(out)\n";
/* clang-format on */

_Static_assert(LIMIT_EXACT == 100, "the script says 100");

/* A window of a second, and a group: one asks, of 4294967295. */
const struct str limit_redis_probe[LIMIT_REDIS_PROBE_ARGS] = {
	{"1000", 4},
	{"\1\0\0\0\377\377\377\377\0\0\0", 12},
};
