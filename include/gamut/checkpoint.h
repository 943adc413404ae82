// SPDX-License-Identifier: Apache-2.0
// checkpoint: a history of training states (or of any safetensors files) at a fraction of their size, never lost.
// A checkpoint holds one safetensors file, the IMAGE. docs/format-checkpoint.md has the format, docs/checkpoints.md the use.
#ifndef GAMUT_CHECKPOINT_H
#define GAMUT_CHECKPOINT_H

#include <gamut/model.h>
#include <gamut/tensor.h>

enum { GM_CHECKPOINT_NOTE = 2048 };

// --- how tensors are told apart: by the names that training states and model files use
typedef enum gm_checkpoint_role {
    GM_CHECKPOINT_WEIGHTS = 0,   // params/NAME; in a file without such names every float tensor but norms.*
    GM_CHECKPOINT_OPTIMIZER = 1, // momentum/NAME, second_moment/NAME
    GM_CHECKPOINT_OTHER = 2      // everything else: average/NAME, teacher/NAME, marks, losses, norms.*
} gm_checkpoint_role;
enum { GM_CHECKPOINT_ROLES = 3 };

// What is known of a checkpoint without decoding it.
typedef struct gm_checkpoint_info {
    uint64_t number;   // within its folder, from 1; 0: a file on its own
    uint64_t parent;   // the number that it is a difference to; 0: it stands alone
    uint64_t identity, parent_identity; // XXH3-64 of the directory, which holds the hashes of everything else
    uint64_t bytes;       // of the file
    uint64_t image_bytes; // of the safetensors file that it holds
    uint64_t raw[GM_CHECKPOINT_ROLES], stored[GM_CHECKPOINT_ROLES]; // bytes before and after, by role
    int tensors, dropped, quantized;
    char note[GM_CHECKPOINT_NOTE]; // a JSON object of the writer's, "" when there is none
} gm_checkpoint_info;
// Whole file; weights alone. 0 when there is nothing to divide.
GM_API double gm_checkpoint_ratio(const gm_checkpoint_info *info);
GM_API double gm_checkpoint_ratio_weights(const gm_checkpoint_info *info);

// ---------------------------------------------------------------------------------------------
// Settings of what is written.
typedef enum gm_checkpoint_mode { GM_CHECKPOINT_LOSSLESS = 0, GM_CHECKPOINT_QUANTIZED = 1 } gm_checkpoint_mode;
// The optimizer's state of a quantized checkpoint: exact, not at all (restored as zeros), rounded to a few bits.
typedef enum gm_checkpoint_optimizer { GM_CHECKPOINT_KEEP = 0, GM_CHECKPOINT_DROP = 1, GM_CHECKPOINT_ROUND = 2 }
    gm_checkpoint_optimizer;

// Measures weights that a checkpoint would restore. Called on the thread that writes.
typedef struct gm_checkpoint_quality {
    // A checkpoint is due: image has all tensors as they are.
    gm_status (*begin)(void *self, const gm_tensor_file *image, gm_error *err);
    // The tensor of this name has these values now, as many as before; they are gone when this returns.
    gm_status (*put)(void *self, const char *name, const float *weights, gm_error *err);
    // With tensors as they were put last, everything else as in image. figure[0..figures-1]: lower is better (losses); the one
    // that rises most decides.
    gm_status (*measure)(void *self, double *figure, gm_error *err);
    int figures; // 1 to 8
    void *self;
    void (*end)(void *self); // nothing more is measured for this checkpoint; NULL: nothing to let go of
} gm_checkpoint_quality;

typedef struct gm_checkpoint_settings {
    gm_checkpoint_mode mode;           // default lossless
    gm_checkpoint_optimizer optimizer; // of quantized ones; default keep
    const gm_checkpoint_quality *quality; // of quantized ones: looks for the smallest configuration within max_drop; NULL:
                                          // `config` as it is
    double max_drop; // largest relative rise of a figure; default 0.01
    double distortion; // the squared error of the weights is at most this many times their squared movement since the last
                       // checkpoint; 0: as large as max_drop allows; default 0
    double stick;    // a weight keeps its centre while it lies within this share of the neighbouring bin: smaller differences,
                     // more error; 0: the nearest always, 0.5 at most; default 0.15
    int most_trials; // configurations measured for one checkpoint; 0: as many as the search asks for; default 0
    char config[64]; // default "": the quantizer's; "bins=8 embedding=16 prune=0.3 protect=0.0005 by=sensitivity"
    char coder[16];  // default "": rans; or paper, rle, huffman
    int level;      // zstd, 1 to 19; default 1: higher ones are several times slower and hardly smaller
    int full_every; // a checkpoint that stands alone after so many differences; 1: always; default 8
    int keep_last;  // the newest so many stay; 0: all; default 0
    int keep_every; // and every so-manieth; 0: none beside those; default 0
} gm_checkpoint_settings;
GM_API gm_checkpoint_settings gm_checkpoint_settings_default(void);

// ---------------------------------------------------------------------------------------------
// One file. Images are owned by the caller (gm_free).
// number 0, stands alone: what `gamut eval FILE.gmc` reads.
GM_API gm_status gm_checkpoint_file_write(const char *path, const uint8_t *image, size_t bytes,
                                          const gm_checkpoint_settings *s, const char *note, gm_checkpoint_info *out,
                                          gm_error *err);
// Checks every checksum. The file must stand alone.
GM_API gm_status gm_checkpoint_file_read(const char *path, uint8_t **image, size_t *bytes, gm_checkpoint_info *out,
                                         gm_error *err);
GM_API gm_status gm_checkpoint_file_info(const char *path, gm_checkpoint_info *out, gm_error *err);
GM_API bool gm_checkpoint_is_file(const char *path); // has the first bytes of one
// From now on gm_model_load reads model files out of checkpoint files too. Called once, at the start of a program.
GM_API void gm_checkpoint_enable_models(void);

// ---------------------------------------------------------------------------------------------
// The store: a folder of checkpoints NNNNNNNN.gmc and a list of them, manifest.json. The files are the truth: a manifest
// that is lost is written again, one that names a file that is not there tells `verify` what was lost.
typedef struct gm_checkpoint_list {
    int count;
    gm_checkpoint_info *item; // ascending numbers; owned
    char (*problem)[160];     // of each: "" or why it cannot be read; owned
    int missing;              // named by the manifest, and not there
    uint64_t *missing_number; // owned
} gm_checkpoint_list;
GM_API gm_status gm_checkpoint_list_read(const char *folder, gm_checkpoint_list *out, gm_error *err);
GM_API void gm_checkpoint_list_fini(gm_checkpoint_list *list);
// Decodes checkpoint `number`, or the newest whole one (number 0; each damaged one that is passed over is a warning in the
// log). GM_ERR_NOT_FOUND: the folder holds none. Safe while another process writes or prunes.
GM_API gm_status gm_checkpoint_load(const char *folder, uint64_t number, uint8_t **image, size_t *bytes,
                                    gm_checkpoint_info *out, gm_error *err);
// Removes what the rule does not keep; never the newest whole one, never what a kept one needs. damaged: also those that
// cannot be decoded. Takes the folder's lock.
GM_API gm_status gm_checkpoint_prune(const char *folder, int keep_last, int keep_every, bool damaged, int *removed,
                                     uint64_t *bytes, gm_error *err);
// Removes all of them and the manifest.
GM_API gm_status gm_checkpoint_clear(const char *folder, gm_error *err);

// ---------------------------------------------------------------------------------------------
// The writer of a store: one a folder at a time (GM_ERR_STATE otherwise). A save takes hold of the image and returns; a thread of
// the writer's own compresses, writes and lets go of it. Of the last checkpoint the weights are held, which the next is a difference to: a copy
// of them, or where they were quantized a byte for each.
typedef struct gm_checkpoint_writer gm_checkpoint_writer;
GM_API gm_status gm_checkpoint_writer_create(const char *folder, const gm_checkpoint_settings *s,
                                             gm_checkpoint_writer **out, gm_error *err);
// The newest checkpoint that is whole, as it was decoded when the writer was made: the caller's to release. Until the first save, and
// once; NULL: there was none, or it was asked for. out may be NULL.
GM_API gm_tensor_image *gm_checkpoint_writer_newest(gm_checkpoint_writer *w, gm_checkpoint_info *out);
// Waits for the save before; if that failed, its error is returned and nothing new is begun (the next call begins anew).
// note: a JSON object or NULL.
GM_API gm_status gm_checkpoint_writer_save(gm_checkpoint_writer *w, gm_tensor_image *image, const char *note, gm_error *err);
// For the saves to come, in place of that of the settings.
GM_API void gm_checkpoint_writer_bound(gm_checkpoint_writer *w, double max_drop);
// The weights to be saved from now on went on from the newest checkpoint (as they do when a writer finds one at its creation):
// where that checkpoint came soon after a restore itself, quantized ones are rounded at random, so that what they have moved by is not lost
// at the next one (docs/checkpoint-quantizer.md).
GM_API void gm_checkpoint_writer_resumed(gm_checkpoint_writer *w);
// Until the last save is on disk; its error. out (may be NULL): what was written last.
GM_API gm_status gm_checkpoint_writer_wait(gm_checkpoint_writer *w, gm_checkpoint_info *out, gm_error *err);
// Seconds that callers of save were kept waiting, and of processor time that the thread worked. After a wait.
GM_API void gm_checkpoint_writer_seconds(const gm_checkpoint_writer *w, double *waited, double *worked);
GM_API void gm_checkpoint_writer_destroy(gm_checkpoint_writer *w); // waits; NULL allowed

#endif
