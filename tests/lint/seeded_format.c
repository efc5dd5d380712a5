/* A fault for clang-format: indented with blanks. */
int seeded_format(void);
int seeded_format(void) {
  return 0;
}
