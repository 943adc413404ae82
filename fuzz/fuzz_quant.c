// SPDX-License-Identifier: Apache-2.0
// Quantized weights and moments: any bytes are read or refused; what was read has only ids that exist and finite values.
// First byte: 0 a blob that stands alone, 1 a difference, 2 moments; then the blob. Its checksum, and the hashes in its head,
// are put right first, so that damage reaches the decoders.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/quant_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { TENSORS = 3, MOST = 1 << 20 };
static const gm__quant_shape shape[TENSORS] = {
    {"conv", GM__QUANT_CONV, 600}, {"tokens", GM__QUANT_EMBEDDING, 300}, {"head", GM__QUANT_LINEAR, 257}};

static void require(bool holds) {
    if (!holds) abort();
}

// The checkpoint that differences refer to: fixed ids and centres, the same in every run. Made anew each time, so that the
// driver's count of live blocks holds.
static gm__quant_state *previous_state(void) {
    gm__quant_config c = gm__quant_settings_default().config;
    gm__quant_state *s = NULL;
    require(gm__quant_state_create(shape, sizeof *shape, TENSORS, &c, &s, NULL) == GM_OK);
    for (int i = 0; i < TENSORS; i++)
        for (int b = 0; b < s->part[i].bins; b++)
            s->part[i].centre[b] = gm_bf16_from_f32(((float)b - 7.5f) / 16);
    for (size_t i = 0; i < s->weights; i++) {
        unsigned v = (unsigned)(i * 7919 % 101);
        s->ids[i] = (uint8_t)(v < 90 ? v % 16 : v < 100 ? GM__QUANT_PRUNED : GM__QUANT_PROTECTED);
    }
    require(gm__quant_state_index(s, NULL) == GM_OK);
    for (size_t i = 0; i < s->kept_count; i++) s->kept[i] = gm_bf16_from_f32(1 + (float)i / 64);
    gm__quant_state_seal(s);
    return s;
}

static void put64(uint8_t *to, uint64_t v) {
    for (int i = 0; i < 8; i++) to[i] = (uint8_t)(v >> (8 * i));
}

static void check_state(const gm__quant_state *s) {
    float out[600];
    for (int i = 0; i < TENSORS; i++) {
        const uint8_t *ids = gm__quant_state_ids(s, i);
        for (size_t j = 0; j < shape[i].count; j++)
            require(ids[j] < s->part[i].bins || ids[j] == GM__QUANT_PRUNED || ids[j] == GM__QUANT_PROTECTED);
        gm__quant_values(s, i, out);
        for (size_t j = 0; j < shape[i].count; j++) require(isfinite(out[j]));
    }
}

static void try_weights(uint8_t *blob, size_t bytes, bool difference) {
    gm__quant_state *previous = previous_state(), *state = NULL;
    gm_error err = {0};
    if (bytes >= 72) {
        put64(blob + 24, gm__quant_shapes(shape, sizeof *shape, TENSORS));
        if (difference) put64(blob + 32, gm__quant_state_hash(previous));
        put64(blob + bytes - 8, gm_hash64(blob, bytes - 8, 0));
    }
    if (gm__quant_decode(blob, bytes, "fuzz", shape, TENSORS, previous, false, &state, &err) == GM_OK) check_state(state);
    else require(state == NULL && err.text[0] != '\0');
    gm__quant_state_destroy(state);
    gm__quant_state_destroy(previous);
}

static void try_moments(uint8_t *blob, size_t bytes) {
    static float out[TENSORS][600];
    float *to[TENSORS] = {out[0], out[1], out[2]};
    gm_error err = {0};
    if (bytes >= 32) {
        put64(blob + 16, gm__quant_shapes(shape, sizeof *shape, TENSORS));
        put64(blob + bytes - 8, gm_hash64(blob, bytes - 8, 0));
    }
    if (gm__moment_decode(blob, bytes, "fuzz", shape, TENSORS, false, to, &err) != GM_OK) {
        require(err.text[0] != '\0');
        return;
    }
    for (int i = 0; i < TENSORS; i++)
        for (size_t j = 0; j < shape[i].count; j++) require(isfinite(out[i][j]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes < 1 || bytes > MOST) return 0;
    uint8_t *blob = malloc(bytes > 1 ? bytes - 1 : 1); // exactly as long: the reader may not go beyond
    if (!blob) return 0;
    memcpy(blob, data + 1, bytes - 1);
    if (data[0] % 3 == 2) try_moments(blob, bytes - 1);
    else try_weights(blob, bytes - 1, data[0] % 3 == 1);
    free(blob);
    return 0;
}
