// SPDX-License-Identifier: Apache-2.0
// Attention of one sequence, portable. Every output row gathers its sum in f32 blocks of at most 64 channels.
#include "kernel/ref/block.h"
#include "kernel/vector_fill.h"

static float dot(gm_dtype t, int count, const void *a, const void *b) {
    float u[GM__BLOCK], v[GM__BLOCK], sum = 0;
    for (int k = 0; k < count; k += GM__BLOCK) {
        int part = gm_min(GM__BLOCK, count - k);
        gm__load(t, gm__at(t, a, 0, 0, k), part, u);
        gm__load(t, gm__at(t, b, 0, 0, k), part, v);
        for (int i = 0; i < part; i++) sum += u[i] * v[i];
    }
    return sum;
}

// out = sum over j in [begin,end) of weight[j*step] * rows[j], one head wide
static void weighted_rows(gm_dtype t, int head_dim, const float *weight, ptrdiff_t step, int begin, int end,
                          const void *rows, int ld, void *out) {
    float sum[GM__BLOCK], v[GM__BLOCK];
    for (int k = 0; k < head_dim; k += GM__BLOCK) {
        int part = gm_min(GM__BLOCK, head_dim - k);
        memset(sum, 0, sizeof sum);
        for (int j = begin; j < end; j++) {
            float f = weight[j * step];
            gm__load(t, gm__at(t, rows, j, ld, k), part, v);
            for (int i = 0; i < part; i++) sum[i] += f * v[i];
        }
        gm__store(t, gm__at_mut(t, out, 0, 0, k), part, sum);
    }
}

static void softmax_row(int count, float *p) {
    float top = p[0], sum = 0;
    for (int j = 1; j < count; j++)
        if (p[j] > top) top = p[j];
    for (int j = 0; j < count; j++) {
        p[j] = expf(p[j] - top);
        sum += p[j];
    }
    float share = 1 / sum;
    for (int j = 0; j < count; j++) p[j] *= share;
}

static void attention(gm_dtype t, int tokens, int heads, int head_dim, const void *q, const void *k, const void *v,
                      int ld, float scale, bool causal, float *probs, void *y, int ldy) {
    for (int head = 0; head < heads; head++) {
        int at = head * head_dim;
        const void *keys = gm__at(t, k, 0, 0, at), *values = gm__at(t, v, 0, 0, at);
        for (int i = 0; i < tokens; i++) {
            float *p = probs + ((ptrdiff_t)head * tokens + i) * tokens;
            int seen = causal ? i + 1 : tokens;
            for (int j = 0; j < seen; j++)
                p[j] = scale * dot(t, head_dim, gm__at(t, q, i, ld, at), gm__at(t, keys, j, ld, 0));
            softmax_row(seen, p);
            memset(p + seen, 0, (size_t)(tokens - seen) * sizeof(float));
            weighted_rows(t, head_dim, p, 1, 0, seen, values, ld, gm__at_mut(t, y, i, ldy, at));
        }
    }
    for (int i = 0; i < tokens; i++) gm__zero_tail(t, y, i, ldy, heads * head_dim);
}

// What the gradients of q and k are made of. With dp[i][j] = dy_i.v_j and centre[i] = sum_j p[i][j]*dp[i][j], the
// gradient of a score is p*(dp - centre). It is recomputed where needed: there is one row of scratch, no matrix.
typedef struct head_gradient {
    gm_dtype t;
    int tokens, head_dim, ld, ldy;
    const void *v, *dy;
    const float *probs;
    const float *centre;
    float scale;
} head_gradient;

static float score_gradient(const head_gradient *h, int i, int j) {
    float p = h->probs[(ptrdiff_t)i * h->tokens + j];
    if (p == 0) return 0;
    float dp = dot(h->t, h->head_dim, gm__at(h->t, h->dy, i, h->ldy, 0), gm__at(h->t, h->v, j, h->ld, 0));
    return h->scale * p * (dp - h->centre[i]);
}

// One row of dq (row is a query, others are keys) or of dk (row is a key, others are queries).
static void gather_row(const head_gradient *h, bool row_is_query, int row, const void *others, void *out) {
    float sum[GM__BLOCK], v[GM__BLOCK];
    for (int k = 0; k < h->head_dim; k += GM__BLOCK) {
        int part = gm_min(GM__BLOCK, h->head_dim - k);
        memset(sum, 0, sizeof sum);
        for (int other = 0; other < h->tokens; other++) {
            float f = row_is_query ? score_gradient(h, row, other) : score_gradient(h, other, row);
            if (f == 0) continue;
            gm__load(h->t, gm__at(h->t, others, other, h->ld, k), part, v);
            for (int i = 0; i < part; i++) sum[i] += f * v[i];
        }
        gm__store(h->t, gm__at_mut(h->t, out, 0, 0, k), part, sum);
    }
}

static void attention_grad(gm_dtype t, int tokens, int heads, int head_dim, const void *q, const void *k,
                           const void *v, int ld, float scale, const float *probs, const void *dy, int ldy,
                           void *dq, void *dk, void *dv, int ldd, float *scratch) {
    for (int head = 0; head < heads; head++) {
        int at = head * head_dim;
        const float *ps = probs + (ptrdiff_t)head * tokens * tokens;
        const void *qs = gm__at(t, q, 0, 0, at), *ks = gm__at(t, k, 0, 0, at);
        head_gradient h = {.t = t, .tokens = tokens, .head_dim = head_dim, .ld = ld, .ldy = ldy,
                           .v = gm__at(t, v, 0, 0, at), .dy = gm__at(t, dy, 0, 0, at), .probs = ps,
                           .centre = scratch, .scale = scale};
        for (int i = 0; i < tokens; i++) {
            float sum = 0;
            for (int j = 0; j < tokens; j++) {
                float p = ps[(ptrdiff_t)i * tokens + j];
                if (p == 0) continue;
                sum += p * dot(t, head_dim, gm__at(t, h.dy, i, ldy, 0), gm__at(t, h.v, j, ld, 0));
            }
            scratch[i] = sum;
        }
        for (int i = 0; i < tokens; i++) {
            gather_row(&h, true, i, ks, gm__at_mut(t, dq, i, ldd, at));
            gather_row(&h, false, i, qs, gm__at_mut(t, dk, i, ldd, at));
            weighted_rows(t, head_dim, ps + i, tokens, 0, tokens, h.dy, ldy, gm__at_mut(t, dv, i, ldd, at));
        }
    }
    for (int i = 0; i < tokens; i++) {
        gm__zero_tail(t, dq, i, ldd, heads * head_dim);
        gm__zero_tail(t, dk, i, ldd, heads * head_dim);
        gm__zero_tail(t, dv, i, ldd, heads * head_dim);
    }
}

void gm__attention_fill_ref(gm_kernels *table) {
    table->attention = attention;
    table->attention_grad = attention_grad;
}
