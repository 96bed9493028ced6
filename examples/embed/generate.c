/* Continues a text: generate MODEL PROMPT [SEED] */
#include <recurlm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(void) {
  fprintf(stderr, "generate: %s\n", recurlm_message());
  return 1;
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: generate MODEL PROMPT [SEED]\n");
    return 2;
  }
  if (recurlm_abi() != RECURLM_ABI) {
    fprintf(stderr, "generate: the library has ABI %d, this program was built for %d\n", (int)recurlm_abi(), RECURLM_ABI);
    return 1;
  }

  recurlm_model* model;
  if (recurlm_model_open(argv[1], &model) != RECURLM_OK) return fail();

  recurlm_options options;
  recurlm_options_init(&options);
  options.temperature = 0.8;
  options.max_tokens = 200;
  options.seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;

  recurlm_generation* generation;
  if (recurlm_generation_begin(model, argv[2], strlen(argv[2]), &options, &generation) != RECURLM_OK) return fail();
  recurlm_model_close(model); /* the generation keeps it alive */

  const char* piece;
  size_t length;
  recurlm_status status;
  while ((status = recurlm_generation_next(generation, &piece, &length)) == RECURLM_OK && piece) {
    fwrite(piece, 1, length, stdout);
    fflush(stdout);
  }
  recurlm_generation_end(generation);
  return status == RECURLM_OK ? 0 : fail();
}
