/* A fault for check_layers.sh: a statement in a handler. */
int seeded(void) { return db_prepare(0, 0, 0, 0); }
