// SPDX-License-Identifier: Apache-2.0
// kernel: what the files of this folder share. Names end in the level that runs them.
#ifndef GAMUT_KERNEL_PRIVATE_H
#define GAMUT_KERNEL_PRIVATE_H

#include <gamut/kernel.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define GM__X86 1
#else
#define GM__X86 0
#endif

enum { GM__PANEL = 16, GM__FLAT_INPUTS = 4 }; // outputs in a panel; most inputs of flat weights (kernel.h)

static inline int gm__panels_of(int outputs) { return (outputs + GM__PANEL - 1) / GM__PANEL; }

// Elements from the start of a panel to active tap (y, x): the centre crop of the stored taps.
static inline size_t gm__tap_offset(const gm_panels *w, const gm_conv *g, int y, int x) {
    const int oy = (w->r - g->r) / 2, ox = (w->s - g->s) / 2;
    return (size_t)((y + oy) * w->s + x + ox) * w->tap_stride;
}

#define GM__CONV_ARGS                                                                              \
    const gm_conv *g, const void *x, const gm_panels *w, const gm_epilogue *e, void *y, void *scratch
#define GM__DGRAD_ARGS                                                                             \
    const gm_conv *g, const void *dy, const gm_panels *wt, bool accumulate, void *dx, void *scratch
#define GM__WGRAD_ARGS                                                                             \
    const gm_conv *g, const void *x, const void *dy, const gm_panels *w, float *dw, int c0, int c1, \
        int p0, int p1, void *scratch

// Portable, every type (ref/dense_ref.c).
void gm__conv_ref(gm_dtype type, GM__CONV_ARGS);
void gm__conv_dgrad_ref(gm_dtype type, GM__DGRAD_ARGS);
void gm__conv_wgrad_ref(gm_dtype type, GM__WGRAD_ARGS);

#if GM__X86
extern bool gm__bf16_pairs; // the processor has AVX-512 BF16; set before the first kernel runs
// bf16 and int8 with the processor's dot products (x86/dense_bf16_*.c, x86/dense_int8_*.c).
void gm__conv_bf16_avx512(GM__CONV_ARGS);
void gm__conv_dgrad_bf16_avx512(GM__DGRAD_ARGS);
void gm__conv_wgrad_bf16_avx512(GM__WGRAD_ARGS);
void gm__conv_i8_avx512(GM__CONV_ARGS);
void gm__conv_bf16_amx(GM__CONV_ARGS);
void gm__conv_dgrad_bf16_amx(GM__DGRAD_ARGS);
void gm__conv_wgrad_bf16_amx(GM__WGRAD_ARGS);
void gm__conv_i8_amx(GM__CONV_ARGS);
size_t gm__conv_scratch_bf16(const gm_conv *g);
size_t gm__conv_scratch_i8(const gm_conv *g);
#endif

// Packing (panels.c).
void gm__pack_ref(const gm_panels *master, gm_panels *dst, int p0, int p1);
void gm__pack_t_ref(const gm_panels *master, gm_panels *dst, int p0, int p1);

#endif
