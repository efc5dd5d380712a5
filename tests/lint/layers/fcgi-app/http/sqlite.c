/* A fault for check_layers.sh: SQLite outside of lib/store. */
#include <sqlite3.h>
