/* How long a program takes to open a model and to have its first token, and what memory it holds by then.
 *
 *   cc -O2 -Icsrc/capi bench/opening.c -Lbuild/release -lrecurlm -o build/opening
 *   LD_LIBRARY_PATH=build/release build/opening DIR
 */
#define _POSIX_C_SOURCE 199309L

#include <recurlm.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static int fail(void) {
  fprintf(stderr, "opening: %s\n", recurlm_message());
  return 1;
}

/* A line of Linux's /proc/self/status. */
static void print_status(const char* name) {
  char line[256];
  FILE* file = fopen("/proc/self/status", "r");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, name, strlen(name)) == 0) printf("%s", line);
  if (file) fclose(file);
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: opening DIR\n");
    return 2;
  }
  const double start = milliseconds();
  recurlm_model* model;
  if (recurlm_model_open(argv[1], &model)) return fail();
  const double opened = milliseconds();
  const int32_t bos = recurlm_bos_id(model);
  const size_t offsets[] = {0, 1};
  recurlm_state* state;
  int32_t token;
  if (recurlm_state_begin(model, NULL, &bos, offsets, 1, 0, &state) || recurlm_state_draw(state, 1, NULL, &token, NULL)) return fail();
  const double drawn = milliseconds();
  printf("open %.2f ms, first token %.2f ms, together %.2f ms\n", opened - start, drawn - opened, drawn - start);
  print_status("VmRSS");
  print_status("RssAnon");
  recurlm_state_free(state);
  recurlm_model_close(model);
  return 0;
}
