// SPDX-License-Identifier: Apache-2.0
// add: the sum of two values of one shape (most residual adds are fused into norm).
#include <string.h>

#include "graph/ops/ops.h"

static gm_status resolve(const gm_graph *g, int node, gm_resolved *r, gm_error *err) {
    gm_shape a = r->node[r->node[node].from[0]].out, b = r->node[r->node[node].from[1]].out;
    if (a.h != b.h || a.w != b.w || a.c != b.c)
        return gm_fail(err, GM_ERR_RANGE, "%s: cannot add %dx%dx%d and %dx%dx%d", g->node[node].name, a.h, a.w, a.c,
                       b.h, b.w, b.c);
    r->node[node].out = a;
    return GM_OK;
}

static void forward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *a = gm__in(x, node, 0), *b = gm__in(x, node, 1), *out = gm__out(x, node);
    x->kernels->add(x->type, (image1 - image0) * gm__positions(out), out->shape.c, gm__data(a, image0), a->ld,
                    gm__data(b, image0), b->ld, gm__data(out, image0), out->ld);
}

static void backward(gm_exec *x, int node, int image0, int image1, int worker) {
    (void)worker;
    gm_value *out = gm__out(x, node);
    int rows = (image1 - image0) * gm__positions(out);
    for (int j = 0; j < 2; j++) {
        gm_value *in = gm__in(x, node, j);
        if (!in->grad) continue;
        void *dst = gm__grad(x, in, image0), *src = gm__grad(x, out, image0);
        if (gm__accumulates(x, node, j))
            x->kernels->add(x->type, rows, out->shape.c, src, out->ld, dst, in->ld, dst, in->ld);
        else
            memcpy(dst, src, (size_t)rows * (size_t)out->ld * gm_dtype_size(x->type));
    }
}

const gm_op gm__op_add = {.name = "add", .resolve = resolve, .forward = forward, .backward = backward};
