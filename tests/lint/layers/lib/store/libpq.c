/* A fault for check_layers.sh: PostgreSQL outside of its engine. */
#include <libpq-fe.h>
