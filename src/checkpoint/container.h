// SPDX-License-Identifier: Apache-2.0
// The checkpoint file (docs/format-checkpoint.md): header, blocks, directory, trailer.
#ifndef GAMUT_CHECKPOINT_CONTAINER_H
#define GAMUT_CHECKPOINT_CONTAINER_H

#include <gamut/checkpoint.h>

#include "checkpoint/lossless.h"
#include "checkpoint/quant.h"

enum {
    GM__FILE_VERSION = 2,
    GM__HEADER_BYTES = 64,
    GM__TRAILER_BYTES = 32,
    GM__FLAG_DELTA = 1,
    GM__MOST_SECTIONS = GM_MAX_TENSORS + 64
};
extern const uint8_t gm__file_magic[8], gm__file_end[8];
// Largest image and largest file that are read.
static const uint64_t gm__most_bytes = (uint64_t)16 << 30;

typedef enum gm__section_kind {
    GM__SECTION_HEAD = 1,    // the image's first bytes: safetensors' length and header
    GM__SECTION_NOTE = 2,    // the writer's JSON
    GM__SECTION_TENSOR = 3,  // a tensor of the image, exact
    GM__SECTION_DROPPED = 4, // a tensor of the image that is restored as zeros
    GM__SECTION_QUANT = 5,         // what the quantizer made of the tensors of kind 6, in their order
    GM__SECTION_QUANT_TENSOR = 6,
    GM__SECTION_MOMENTS = 7, // the same for tensors of the optimizer, of kind 8
    GM__SECTION_MOMENT_TENSOR = 8,
    GM__SECTION_KINDS = 9
} gm__section_kind;

static inline bool gm__section_is_tensor(int kind) {
    return kind == GM__SECTION_TENSOR || kind == GM__SECTION_DROPPED || kind == GM__SECTION_QUANT_TENSOR ||
           kind == GM__SECTION_MOMENT_TENSOR;
}
// Its bytes are in the file, as blocks: these have a checksum in the directory. Of the others the blobs have one.
static inline bool gm__section_has_blocks(int kind) { return !gm__section_is_tensor(kind) || kind == GM__SECTION_TENSOR; }
static inline bool gm__section_is_of_image(int kind) { return kind == GM__SECTION_HEAD || gm__section_is_tensor(kind); }

// XXH3-128 of the decoded bytes
typedef struct gm__hash128 {
    uint64_t low, high;
} gm__hash128;
gm__hash128 gm__hash128_of(const void *data, size_t bytes);

typedef struct gm__section {
    uint8_t kind, role; // gm_checkpoint_role
    uint8_t width;      // bytes of an element
    uint8_t detail;     // GM__SECTION_QUANT_TENSOR: gm__quant_kind; else 0
    uint32_t blocks;
    uint64_t decoded;   // bytes
    gm__hash128 hash;
    uint64_t stored;    // bytes of its blocks in the file
    gm__block *block;   // in the directory's array
} gm__section;

typedef struct gm__directory {
    gm_checkpoint_info info;
    uint32_t flags;
    int sections;
    gm__section *section; // owned
    gm__block *block;     // owned, of all sections
    int quant, moments;   // numbers of the sections with blobs; 0: none
    uint64_t blocks_end;  // of the stored bytes, from the start of the file
} gm__directory;

// --- container_write.c
enum { GM__LITTLE = 64 }; // exact tensors of less than this part of the image are not worth the memory for a difference
typedef struct gm__pack {
    const uint8_t *image;
    size_t bytes;
    bool delta;               // a difference to the parent: to its image, its state, or both
    gm_tensor_image **parent; // of gm__parent_make, released when the file is there: memory for the next one; NULL, or to NULL: none
    const gm__quant_state *parent_state; // of the parent; NULL: none
    const gm__quant_state *last;         // of the checkpoint before, be it the parent or not; NULL: none
    uint64_t number, parent_number, parent_identity;
    uint64_t resumed; // the checkpoint that training went on from as it was restored; 0: none
    bool early;       // that restore came before the weights had settled since the one before it
    const char *note; // may be NULL
    const gm_checkpoint_settings *settings;
    bool followed; // another may become a difference to this one
} gm__pack;
typedef struct gm__packed {
    gm_checkpoint_info info;
    gm__quant_state *state; // what the quantized tensors decode to, or NULL; the caller's
    gm_tensor_image *parent; // for the next one, when followed and worth it, else NULL; the caller's
} gm__packed;
gm_status gm__container_write(const char *path, const gm__pack *pack, gm__packed *out, gm_error *err);

// --- container_read.c
// Reads header, directory and trailer and checks everything that can be checked without the blocks. read: fills `to` with
// bytes of the file.
typedef struct gm__source {
    gm_status (*read)(const struct gm__source *self, uint64_t at, void *to, size_t bytes, gm_error *err);
    const void *data; // of what read works on
    int fd;
    uint64_t bytes;
    const char *what; // names it in errors
} gm__source;
gm__source gm__source_memory(const uint8_t *data, size_t bytes, const char *what);
// Regular files only.
gm_status gm__source_open(const char *path, gm__source *out, gm_error *err);
void gm__source_close(gm__source *s);
gm_status gm__directory_read(const gm__source *s, gm__directory *out, gm_error *err);
void gm__directory_fini(gm__directory *d);
// Decodes the image, every checksum checked. parent: the image of the checkpoint with the identity that d names, when it
// names one, and its state (NULL: nothing of it was quantized). *state: of this one, or NULL.
gm_status gm__container_decode(const gm__source *s, const gm__directory *d, const uint8_t *parent, size_t parent_bytes,
                               const gm__quant_state *parent_state, uint8_t **image, size_t *bytes,
                               gm__quant_state **state, gm_error *err);

// --- container_roles.c
gm_checkpoint_role gm__role_of(const gm_tensor_info *t, bool state); // state: names are those of a training state
bool gm__names_are_state(const gm_tensor_file *f);
bool gm__is_real(gm_dtype type);

// --- container_parent.c
// An image of those tensors of a checkpoint (which is one of so many bytes) that the next one may be a difference to. weights: theirs among
// them, because they were stored exactly. NULL: not worth it, or no memory; then exact tensors of the next one stand alone.
gm_tensor_image *gm__parent_make(const gm_tensor_file *image, uint64_t bytes, bool weights);
// The tensor of the parent that t can be a difference to; NULL: none.
const gm_tensor_info *gm__parent_tensor(const gm_tensor_file *parent, const gm_tensor_info *t);

#endif
