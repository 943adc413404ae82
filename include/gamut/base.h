// SPDX-License-Identifier: Apache-2.0
// base: status and errors, memory, threads, random numbers, clocks, log, files, progress, CPU features.
#ifndef GAMUT_BASE_H
#define GAMUT_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#if defined(__GNUC__)
#define GM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define GM_API __attribute__((visibility("default")))
#else
#define GM_PRINTF(fmt, args)
#define GM_API
#endif

// ---------------------------------------------------------------------------------------------
// Status and errors. Numbers are pinned: never renumber, only append.
#define GM_STATUS_LIST(X)                                                                          \
    X(GM_OK, 0, "success")                                                                         \
    X(GM_ERR_ARGUMENT, 1, "invalid argument")                                                      \
    X(GM_ERR_MEMORY, 2, "out of memory")                                                           \
    X(GM_ERR_IO, 3, "input or output failed")                                                      \
    X(GM_ERR_FORMAT, 4, "malformed file")                                                          \
    X(GM_ERR_NOT_FOUND, 5, "not found")                                                            \
    X(GM_ERR_RANGE, 6, "value out of range")                                                       \
    X(GM_ERR_UNSUPPORTED, 7, "not supported")                                                      \
    X(GM_ERR_STATE, 8, "not possible in this state")                                               \
    X(GM_ERR_NUMERIC, 9, "numeric failure (NaN, infinity or divergence)")                          \
    X(GM_ERR_INTERRUPTED, 10, "interrupted")

typedef enum gm_status {
#define GM_STATUS_ENUM(name, number, text) name = number,
    GM_STATUS_LIST(GM_STATUS_ENUM)
#undef GM_STATUS_ENUM
} gm_status;

// Filled by the function that fails; text says what was wrong, where, and what to do.
typedef struct gm_error {
    gm_status status;
    char text[256];
} gm_error;

// Fills err (may be NULL) and returns status, so that `return gm_fail(err, GM_ERR_IO, "...")` works.
GM_API gm_status gm_fail(gm_error *err, gm_status status, const char *format, ...) GM_PRINTF(3, 4);
// The name of a status ("GM_ERR_IO") and its sentence.
GM_API const char *gm_status_name(gm_status status);
GM_API const char *gm_status_text(gm_status status);

// ---------------------------------------------------------------------------------------------
// Memory. All blocks are aligned to 64 bytes and zeroed. NULL on failure (also for overflow).
GM_API void *gm_alloc(size_t count, size_t size);
GM_API void gm_free(void *block); // NULL allowed
// Grows or shrinks; the new part is zeroed; the old block stays valid on failure.
GM_API void *gm_realloc(void *block, size_t old_count, size_t new_count, size_t size);
// Test hook: the n-th allocation from now fails (1 = next), 0 = never.
GM_API void gm_alloc_fail_at(long n);
GM_API size_t gm_alloc_live(void); // blocks alive now, for leak tests

// Checked arithmetic: false on overflow (result then unspecified).
GM_API bool gm_mul_size(size_t a, size_t b, size_t *result);
GM_API bool gm_add_size(size_t a, size_t b, size_t *result);

static inline int gm_round_up(int v, int multiple) { return (v + multiple - 1) / multiple * multiple; }
static inline int gm_min(int a, int b) { return a < b ? a : b; }
static inline int gm_max(int a, int b) { return a > b ? a : b; }

// ---------------------------------------------------------------------------------------------
// Element types.
typedef enum gm_dtype { GM_F32 = 0, GM_BF16 = 1, GM_I8 = 2, GM_U8 = 3, GM_I32 = 4, GM_I64 = 5 } gm_dtype;
GM_API size_t gm_dtype_size(gm_dtype type);
GM_API const char *gm_dtype_name(gm_dtype type); // "f32", "bf16", ...
typedef uint16_t gm_bf16;                        // upper half of an IEEE f32
static inline float gm_bf16_to_f32(gm_bf16 v) {
    union { uint32_t u; float f; } x = {.u = (uint32_t)v << 16};
    return x.f;
}
// Rounds to nearest even; NaN stays (quiet) NaN.
static inline gm_bf16 gm_bf16_from_f32(float v) {
    union { float f; uint32_t u; } x = {.f = v};
    if ((x.u & 0x7fffffffu) > 0x7f800000u) return (gm_bf16)((x.u >> 16) | 0x40u);
    return (gm_bf16)((x.u + 0x7fffu + ((x.u >> 16) & 1u)) >> 16);
}

// ---------------------------------------------------------------------------------------------
// CPU features. A level includes those below it. Level GM_CPU_AMX needs the OS's permission too.
typedef enum gm_cpu_level { GM_CPU_REF = 0, GM_CPU_AVX2 = 1, GM_CPU_AVX512 = 2, GM_CPU_AMX = 3 } gm_cpu_level;
// What the machine and OS offer (AVX512 = F, BW, VL, DQ and VNNI together; AMX = tile, bf16, int8, and AVX512's BF16).
GM_API gm_cpu_level gm_cpu_detected(void);
// The level in use: detected, forced down by GAMUT_CPU=ref|avx2|avx512|amx or gm_cpu_force.
GM_API gm_cpu_level gm_cpu_active(void);
GM_API void gm_cpu_force(gm_cpu_level level); // never above the detected one
// Whether a level (at most the detected one counts) multiplies bf16 by instructions of its own: AMX, or AVX-512 with BF16 (Cascade Lake and Ice Lake
// have none). Elsewhere bf16 works through f32 and is slower than it.
GM_API bool gm_cpu_bf16(gm_cpu_level level);
GM_API const char *gm_cpu_level_name(gm_cpu_level level);
GM_API const char *gm_cpu_model(void); // as /proc/cpuinfo names it

// ---------------------------------------------------------------------------------------------
// Threads. task gets contiguous unit ranges [begin,end) and the worker's number 0..threads-1.
// Ranges depend on the thread count; results must not.
typedef void gm_task(void *context, int begin, int end, int worker);
GM_API int gm_threads(void);
GM_API void gm_threads_set(int threads); // 0 = all that the process may use
GM_API void gm_parallel(int units, gm_task *task, void *context);
// One scratch block a worker, 64-byte aligned. Reserve when a plan is made, use in the hot path.
// Reserve only grows, keeps no content, and must not run beside gm_parallel.
GM_API gm_status gm_scratch_reserve(size_t bytes_per_worker, gm_error *err);
GM_API void *gm_scratch(int worker);
GM_API void gm_scratch_release(void); // frees all (at exit, for leak checkers)
// The calling thread works beside the others from now on, until alone is false: gm_threads is 1 for it, gm_parallel stays on
// it, and its scratch is its own (freed at the end). For a thread in the background that runs a walker while another one
// trains.
GM_API void gm_thread_alone(bool alone);

// ---------------------------------------------------------------------------------------------
// Random numbers: counter based (Philox 4x32-10 or equal quality). A stream is named by a key, so
// the same (seed, a, b, purpose) always gives the same numbers, whatever was drawn before.
typedef struct gm_rng {
    uint64_t key[2];
    uint64_t counter;
    uint32_t block[4];
    int left;
} gm_rng;
// purposes: one number per use, so that streams never overlap
enum { GM_RNG_INIT = 1, GM_RNG_SUBNET = 2, GM_RNG_AUGMENT = 3, GM_RNG_SHUFFLE = 4, GM_RNG_DROPOUT = 5,
       GM_RNG_SPLIT = 6, GM_RNG_CALIBRATE = 7, GM_RNG_SEARCH = 8, GM_RNG_TEST = 9, GM_RNG_USER = 10 };
GM_API gm_rng gm_rng_keyed(uint64_t seed, uint64_t a, uint64_t b, uint32_t purpose);
GM_API uint32_t gm_rng_u32(gm_rng *rng);
GM_API uint64_t gm_rng_u64(gm_rng *rng);
GM_API uint32_t gm_rng_below(gm_rng *rng, uint32_t n); // uniform in [0,n), unbiased; n >= 1
GM_API float gm_rng_uniform(gm_rng *rng);              // [0,1), 24 bits
GM_API float gm_rng_normal(gm_rng *rng);               // standard normal
GM_API double gm_rng_gamma(gm_rng *rng, double shape); // scale 1, so mean = variance = shape; shape > 0
GM_API uint64_t gm_hash64(const void *data, size_t bytes, uint64_t seed); // XXH64

// ---------------------------------------------------------------------------------------------
// Clocks. Code that waits or measures takes one; a simulated clock is a struct of the caller's.
typedef struct gm_clock {
    double (*now)(void *self);                 // seconds, monotonic
    void (*sleep)(void *self, double seconds); // until now() has advanced
    void *self;
} gm_clock;
GM_API const gm_clock *gm_clock_system(void);
GM_API double gm_now(void); // gm_clock_system's now
GM_API double gm_thread_seconds(void); // of processor time that the calling thread has used

// ---------------------------------------------------------------------------------------------
// Log (standard error) and progress.
typedef enum gm_log_level { GM_LOG_ERROR, GM_LOG_WARN, GM_LOG_INFO, GM_LOG_DEBUG } gm_log_level;
GM_API void gm_log_set(gm_log_level level); // default INFO
GM_API void gm_log(gm_log_level level, const char *format, ...) GM_PRINTF(2, 3);

// A bar with time left on a terminal; a plain line at most every 10 s when piped; silent when quiet.
typedef struct gm_progress gm_progress;
GM_API gm_status gm_progress_create(const char *title, uint64_t total, gm_progress **out, gm_error *err);
// note: a short text shown behind the bar, e.g. "loss 0.31, 12,400 images/s"; may be NULL
GM_API void gm_progress_update(gm_progress *p, uint64_t done, const char *note);
GM_API void gm_progress_destroy(gm_progress *p); // ends the line
GM_API void gm_progress_quiet(bool quiet);       // for all

// ---------------------------------------------------------------------------------------------
// Files. Written whole or not at all (DESIGN decision 7): write beside, fsync, rename, fsync folder.
typedef struct gm_writer gm_writer;
GM_API gm_status gm_writer_open(const char *path, gm_writer **out, gm_error *err);
GM_API gm_status gm_writer_write(gm_writer *w, const void *data, size_t bytes, gm_error *err);
// Commits (on error the old file stays) and frees w in every case.
GM_API gm_status gm_writer_commit(gm_writer *w, gm_error *err);
GM_API void gm_writer_abort(gm_writer *w); // NULL allowed
GM_API gm_status gm_file_write(const char *path, const void *data, size_t bytes, gm_error *err);
// Reads a regular file of at most max_bytes; *data is owned by the caller (gm_free), ends with a NUL
// byte that is not counted in *bytes.
GM_API gm_status gm_file_read(const char *path, size_t max_bytes, uint8_t **data, size_t *bytes, gm_error *err);
// As gm_file_read, but expands gzip when the name ends in .gz (max_bytes bounds the expanded size).
GM_API gm_status gm_file_read_gz(const char *path, size_t max_bytes, uint8_t **data, size_t *bytes, gm_error *err);
// Removes a file and syncs its folder. Removing one that is not there is fine.
GM_API gm_status gm_file_remove(const char *path, gm_error *err);
GM_API bool gm_path_exists(const char *path);
GM_API bool gm_path_is_folder(const char *path);
GM_API gm_status gm_folder_create(const char *path, gm_error *err); // with parents; existing is fine
// Folders searched for data sets: $GAMUT_DATA (colon separated), else ./build/data, ../shared/data,
// /usr/share/datasets. Calls visit for each until it returns true; returns whether one did.
GM_API bool gm_data_folders(bool (*visit)(void *context, const char *folder), void *context);
// SIGINT/SIGTERM: long work polls this and leaves whole files.
GM_API void gm_interrupt_install(void);
GM_API bool gm_interrupted(void);

GM_API const char *gm_version(void); // "0.1.0"

#endif
