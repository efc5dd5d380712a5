/* A fault for check_layers.sh: SQL in a handler. */
const char *seeded = "SELECT id FROM predictions";
