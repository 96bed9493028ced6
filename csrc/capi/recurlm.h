/* recurlm: run recurrent language models, in plain C.
 *
 * Every function that can fail returns a recurlm_status; recurlm_message() then says why, in a sentence. Nothing is printed, and
 * nothing aborts. Strings are UTF-8; those that come in with a length need no zero at the end and may hold one.
 *
 * Ownership: what a function makes (`recurlm_..._open`, `_make`, `_begin`, `_copy`, ...) is the caller's, who gives it back with the function
 * named for it; null may be given back too. A state or a generation keeps its model alive: they can be freed in any order.
 *
 * Threads: a model never changes, and any number of threads may use it at once. A state or a generation is for one call at a time.
 * recurlm_message() is that of the calling thread. Results do not depend on the number of threads.
 */
#ifndef RECURLM_H
#define RECURLM_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && !defined(RECURLM_STATIC)
#ifdef RECURLM_BUILDING
#define RECURLM_API __declspec(dllexport)
#else
#define RECURLM_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define RECURLM_API __attribute__((visibility("default")))
#else
#define RECURLM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define RECURLM_VERSION "0.1.0"
/* Rises with every change that a program compiled before could not run with. */
#define RECURLM_ABI 1

/* The RECURLM_VERSION and RECURLM_ABI that the library was built from. */
RECURLM_API const char* recurlm_version(void);
RECURLM_API int32_t recurlm_abi(void);

typedef enum recurlm_status {
  RECURLM_OK = 0,
  RECURLM_INVALID_ARGUMENT = 1, /* an argument is not possible */
  RECURLM_IO_ERROR = 2,         /* a file could not be read */
  RECURLM_DAMAGED_FILE = 3,     /* a file is not what it should be, or of a kind that runs in Python only */
  RECURLM_UNKNOWN_TEXT = 4,     /* a text has characters that the vocabulary has not, or is not UTF-8 */
  RECURLM_NOT_FINITE = 5,       /* the model's output is no number */
  RECURLM_OUT_OF_MEMORY = 6,
  RECURLM_INTERNAL_ERROR = 7
} recurlm_status;

/* Why the last call of this thread that failed did so; empty where none has. Valid until the next call that fails. */
RECURLM_API const char* recurlm_message(void);

/* How many threads calls may use; at first as many as the environment says (RECURLM_NUM_THREADS, OMP_NUM_THREADS), or the cores. */
RECURLM_API recurlm_status recurlm_set_threads(int32_t threads);

/* Models ---------------------------------------------------------------------------------------------------------------------- */

typedef struct recurlm_model recurlm_model;

/* The language model in `folder`, as LanguageModel.save wrote it. */
RECURLM_API recurlm_status recurlm_model_open(const char* folder, recurlm_model** model);
RECURLM_API void recurlm_model_close(recurlm_model* model);

/* Ids are from 0 to below this. */
RECURLM_API int64_t recurlm_vocabulary_size(const recurlm_model* model);
/* The id that opens every text, and the one that closes it. */
RECURLM_API int32_t recurlm_bos_id(const recurlm_model* model);
RECURLM_API int32_t recurlm_end_id(const recurlm_model* model);

/* Ids of a text, without <bos>. `count` is how many there are; where `capacity` is less, `ids` is not written (and may be null), and
 * the status is RECURLM_OK all the same. */
RECURLM_API recurlm_status recurlm_encode(const recurlm_model* model, const char* text, size_t length, int32_t* ids,
                                          size_t capacity, size_t* count);
/* The text of ids, likewise: `length` is that of the whole, without a zero at the end. */
RECURLM_API recurlm_status recurlm_decode(const recurlm_model* model, const int32_t* ids, size_t count, char* text,
                                          size_t capacity, size_t* length);

/* Log-probability of each text in nats, from its first token on; with `end` that of its end too. The bits are the same for a text
 * alone and among others. */
RECURLM_API recurlm_status recurlm_score(const recurlm_model* model, const char* const* texts, const size_t* lengths, size_t count,
                                         int32_t end, double* log_probs);

/* Generating text ------------------------------------------------------------------------------------------------------------- */

typedef struct recurlm_options {
  size_t size;              /* of this struct, as recurlm_options_init sets it: later versions may append to it */
  int64_t max_tokens;       /* 200 */
  uint64_t seed;            /* 0; below 2^63. The same seed gives the same text */
  double temperature;       /* 1; 0 takes the most probable token */
  int64_t top_k;            /* 0: all */
  double top_p;             /* 1 */
  double min_p;             /* 0 */
  double repetition_penalty; /* 1 */
  double presence_penalty;   /* 0: taken from the logits of tokens that were drawn before */
  double frequency_penalty;  /* 0: the same, as often as each was drawn */
} recurlm_options;

RECURLM_API void recurlm_options_init(recurlm_options* options);

typedef struct recurlm_generation recurlm_generation;

/* Begin a text that continues `prompt`; null options are those of recurlm_options_init. */
RECURLM_API recurlm_status recurlm_generation_begin(const recurlm_model* model, const char* prompt, size_t length,
                                                    const recurlm_options* options, recurlm_generation** generation);
/* More of the text: `piece`, of `length` bytes and a zero behind them, is valid until the next call with this generation. At the end
 * it is null. */
RECURLM_API recurlm_status recurlm_generation_next(recurlm_generation* generation, const char** piece, size_t* length);
RECURLM_API void recurlm_generation_end(recurlm_generation* generation);

/* Token by token -------------------------------------------------------------------------------------------------------------- */

/* Where each of some streams stands: what the model carries from token to token, and the token that it reads next. */
typedef struct recurlm_state recurlm_state;

/* What a model has come to after prompts, at most so many bytes of it: a prompt that goes on from one that is kept is read from there
 * on, to the same bits. Any number of threads may use it at once, with the model that it was made for. */
typedef struct recurlm_cache recurlm_cache;
RECURLM_API recurlm_status recurlm_cache_make(const recurlm_model* model, size_t bytes, recurlm_cache** cache);
RECURLM_API void recurlm_cache_free(recurlm_cache* cache);

/* Streams that have read their prompts. Prompt i is ids[offsets[i]] to ids[offsets[i + 1]], not empty; it begins with <bos>. The cache
 * may be null. */
RECURLM_API recurlm_status recurlm_state_begin(const recurlm_model* model, recurlm_cache* cache, const int32_t* ids,
                                               const size_t* offsets, size_t streams, uint64_t seed, recurlm_state** state);
RECURLM_API recurlm_status recurlm_state_copy(const recurlm_state* state, recurlm_state** copy);
/* Some of the streams, in this order; one that is named twice goes on twice. */
RECURLM_API recurlm_status recurlm_state_select(const recurlm_state* state, const size_t* streams, size_t count,
                                                recurlm_state** chosen);
/* The streams of at least one state, one after another: each goes on as it would have alone. */
RECURLM_API recurlm_status recurlm_state_join(const recurlm_state* const* states, size_t count, recurlm_state** joined);
/* Begin another text in place of a stream: `ids`, not empty, begin with <bos>. */
RECURLM_API recurlm_status recurlm_state_reset(recurlm_state* state, size_t stream, const int32_t* ids, size_t count, uint64_t seed);
RECURLM_API void recurlm_state_free(recurlm_state* state);
RECURLM_API size_t recurlm_state_streams(const recurlm_state* state);

/* Draw the next `count` tokens of each stream, as options (but for max_tokens and seed) say: `ids`, (streams, count), and, where it
 * is not null, `log_probs`, the model's own of these. */
RECURLM_API recurlm_status recurlm_state_draw(recurlm_state* state, size_t count, const recurlm_options* options, int32_t* ids,
                                              float* log_probs);
/* Go on with given tokens, (streams, count); `log_probs` of each given what came before it, and the most probable in its place,
 * both (streams, count), or null. */
RECURLM_API recurlm_status recurlm_state_read(recurlm_state* state, const int32_t* ids, size_t count, float* log_probs,
                                              int32_t* predictions);

/* The most probable texts ----------------------------------------------------------------------------------------------------- */

typedef struct recurlm_beam_options {
  size_t size;           /* of this struct, as recurlm_beam_options_init sets it */
  int64_t max_tokens;    /* 200 */
  int64_t width;         /* 4: texts that are followed side by side */
  int64_t best;          /* 1: how many are wanted, at most width */
  double length_penalty; /* 0: alpha of Wu et al. (2016); n tokens are scored log_prob / ((5 + n) / 6)^alpha */
} recurlm_beam_options;

RECURLM_API void recurlm_beam_options_init(recurlm_beam_options* options);

/* What a search has found, the best first. */
typedef struct recurlm_beams recurlm_beams;

/* Of one of them; the pointers are valid as long as the recurlm_beams. */
typedef struct recurlm_beam {
  const char* text;       /* what continues the prompt, with a zero behind it */
  size_t length;
  double score;
  const float* log_probs; /* of each token, with that of the end where it has ended */
  size_t tokens;
  int32_t ended;          /* whether the model ended it, or it was cut off */
} recurlm_beam;

/* The most probable continuations of `prompt` that a beam search finds; null options are those of recurlm_beam_options_init. */
RECURLM_API recurlm_status recurlm_beams_search(const recurlm_model* model, const char* prompt, size_t length,
                                                const recurlm_beam_options* options, recurlm_beams** beams);
RECURLM_API size_t recurlm_beams_count(const recurlm_beams* beams);
RECURLM_API recurlm_status recurlm_beams_get(const recurlm_beams* beams, size_t place, recurlm_beam* beam);
RECURLM_API void recurlm_beams_free(recurlm_beams* beams);

/* Classifying ----------------------------------------------------------------------------------------------------------------- */

/* Like a model it never changes, and any number of threads may use it at once. */
typedef struct recurlm_classifier recurlm_classifier;

/* The classifier of texts or of ids in `folder`, as SequenceClassifier.save wrote it, or recurlm.interop.export_classifier. */
RECURLM_API recurlm_status recurlm_classifier_open(const char* folder, recurlm_classifier** classifier);
RECURLM_API void recurlm_classifier_close(recurlm_classifier* classifier);
/* Whether it reads texts (recurlm_classify); else it reads ids (recurlm_classify_ids). */
RECURLM_API int32_t recurlm_classifies_texts(const recurlm_classifier* classifier);
/* Whether every id of a sequence is classified, as a tagger does; else the sequence as a whole. */
RECURLM_API int32_t recurlm_classifies_steps(const recurlm_classifier* classifier);

RECURLM_API size_t recurlm_classes(const recurlm_classifier* classifier);
/* What class `place` is called: `label`, of `length` bytes and a zero behind them, is valid as long as the classifier. One that is no
 * text is as JSON writes it. */
RECURLM_API recurlm_status recurlm_class_label(const recurlm_classifier* classifier, size_t place, const char** label, size_t* length);

/* Log-probability of each class, (count, classes), for texts. The bits are the same for a text alone and among others. */
RECURLM_API recurlm_status recurlm_classify(const recurlm_classifier* classifier, const char* const* texts, const size_t* lengths,
                                            size_t count, float* log_probs);
/* The same for sequences of ids, where it reads those: sequence i is ids[offsets[i]] to ids[offsets[i + 1]]. A tagger's log-probabilities
 * are those of each id, (offsets[count] - offsets[0], classes). Of a SequenceClassifier 0 is padding, and ids above those that it was
 * trained on are one unknown id. */
RECURLM_API recurlm_status recurlm_classify_ids(const recurlm_classifier* classifier, const int32_t* ids, const size_t* offsets,
                                                size_t count, float* log_probs);

#ifdef __cplusplus
}
#endif

#endif /* RECURLM_H */
