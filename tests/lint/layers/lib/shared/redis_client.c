/* A fault for check_layers.sh: the Redis client outside of redis.c. */
#include <hiredis/hiredis.h>
