// SPDX-License-Identifier: Apache-2.0
// The parts of a blob (docs/format-checkpoint-quant.md).
#ifndef GAMUT_CHECKPOINT_QUANT_BLOB_H
#define GAMUT_CHECKPOINT_QUANT_BLOB_H

#include "checkpoint/quant_private.h"
#include "checkpoint/quant_range.h"
#include "checkpoint/quant_rans.h"

// --- quant_side.c: codebooks and protected values, in the range-coded part.
void gm__codebooks_put(gm__range_writer *w, const gm__quant_state *s, const gm__quant_state *previous);
bool gm__codebooks_get(gm__range_reader *r, gm__quant_state *s, const gm__quant_state *previous); // false: not finite
void gm__kept_put(gm__range_writer *w, const gm__quant_state *s, const gm__quant_state *previous);
bool gm__kept_get(gm__range_reader *r, gm__quant_state *s, const gm__quant_state *previous);

// --- quant_tables.c: which distribution codes the ids of a tensor after a previous id. Tensors that behave alike share.
enum { GM__TABLE_ROWS = 15 }; // at most, a context
typedef struct gm__tables {
    int tensors, contexts; // contexts: GM__QUANT_LEVELS, or 1 without a previous checkpoint
    int levels;            // centres of the tensor that has most
    int rows[GM__QUANT_LEVELS];
    uint16_t (*f)[GM__QUANT_LEVELS]; // [contexts * GM__TABLE_ROWS]
    uint8_t favourite[GM__QUANT_LEVELS][GM__TABLE_ROWS]; // of each row, for writing
    uint8_t *use;                    // [tensors][contexts]: 0 none, else 1 + row of the context
} gm__tables;
gm_status gm__tables_init(gm__tables *t, const gm__quant_state *s, bool difference, gm_error *err);
void gm__tables_fini(gm__tables *t);
gm_status gm__tables_choose(gm__tables *t, const gm__counts *counts, gm_error *err);
void gm__tables_put(gm__range_writer *w, const gm__tables *t);
bool gm__tables_get(gm__range_reader *r, gm__tables *t);

// --- quant_ids.c: ids by rANS, in chunks.
int gm__ids_chunks(const gm__quant_state *s);
// data: all chunks, one after another (gm_free); size: one a chunk (gm_free).
gm_status gm__ids_encode(const gm__quant_state *s, const gm__quant_state *previous, const gm__tables *t, bool parallel,
                         uint8_t **data, uint32_t **size, gm_error *err);
// Sets s->ids; false: corrupt.
gm_status gm__ids_decode(gm__quant_state *s, const gm__quant_state *previous, const gm__tables *t, const uint8_t *data,
                         const uint32_t *size, bool parallel, bool *whole, gm_error *err);

// --- quant_paper.c: the published coders and their ablations, as one piece. data: gm_free.
gm_status gm__paper_encode(const gm__quant_state *s, const gm__quant_state *previous, gm__quant_coder coder, uint8_t **data,
                           size_t *bytes, gm_error *err);
gm_status gm__paper_decode(gm__quant_state *s, const gm__quant_state *previous, gm__quant_coder coder, const uint8_t *data,
                           size_t bytes, bool *whole, gm_error *err);

#endif
