// SPDX-License-Identifier: Apache-2.0
// One step on a range of images, or one part of a step on a few of them. How a step is cut never shows in its result: every
// output element is the same sum in the same order.
#include <string.h>

#include "plan/plan_private.h"

// Cuts of outputs: whole pairs of panels, and 64 bytes of int8 (kernel.h). Fewer positions than this an image: outputs are
// cut, so that each thread reads its own part of the weights; with more, rows. Narrow types prefer outputs: without instructions
// for them, weights are widened in each call.
enum { CUT = 64, FEW_POSITIONS = 196 };
// Of squeeze-and-excite; each reads what all parts of the one before have written.
enum { POOL, REDUCE, EXPAND, SCALE, SQUEEZE_PHASES };

static char *at(const gm_plan *p, const gm__place *v, const gm__slice *s) {
    if (v->slot == GM__INPUT) return p->input + (size_t)s->i0 * v->image;
    if (v->slot == GM__LOGITS) return (char *)p->logits + (size_t)s->i0 * v->image;
    if (v->local) return s->values + p->local_offset[v->slot] + (size_t)(s->i0 - s->base) * v->image;
    return p->shared_at[v->slot] + (size_t)s->i0 * v->image;
}

static size_t bytes_of(gm_dtype type, int elements) { return (size_t)elements * gm_dtype_size(type); }

typedef struct range {
    int begin, end;
} range;

static range part_of(int units, int unit, const gm__slice *s) {
    int groups = (units + unit - 1) / unit;
    int begin = (int)((int64_t)groups * s->part / s->parts) * unit, end = (int)((int64_t)groups * (s->part + 1) / s->parts) * unit;
    return (range){gm_min(begin, units), gm_min(end, units)};
}

// An operand in the type that the step reads: where it lies, or where it was converted to.
static char *read_at(const gm_plan *p, const gm__operand *o, int number, const gm__slice *s) {
    return o->type == o->place.type ? at(p, &o->place, s) : gm__worker_converted(p, s->values, number);
}

static void convert(const gm_plan *p, const gm__operand *o, int number, const gm__slice *s) {
    if (o->place.slot == GM__NOWHERE || o->type == o->place.type) return;
    range r = part_of((s->i1 - s->i0) * o->rows, 1, s);
    const char *from = at(p, &o->place, s) + bytes_of(o->place.type, r.begin * o->place.ld);
    char *to = gm__worker_converted(p, s->values, number) + bytes_of(o->type, r.begin * o->ld);
    if (o->type == GM_I8)
        p->kernels->quantize(r.end - r.begin, o->c, o->unit, (const float *)(const void *)from, o->place.ld, (int8_t *)to, o->ld);
    else
        p->kernels->dequantize(r.end - r.begin, o->c, o->unit, (const int8_t *)from, o->place.ld, (float *)(void *)to, o->ld);
}

bool gm__step_converts(const gm__live *l) {
    return l->in.type != l->in.place.type || (l->residual.place.slot != GM__NOWHERE && l->residual.type != l->residual.place.type);
}

void gm__step_convert(const gm_plan *p, const gm__live *l, const gm__slice *s) {
    convert(p, &l->in, 0, s);
    convert(p, &l->residual, 1, s);
}

typedef struct operands {
    char *x, *y;
    const char *residual;
    gm_epilogue e;
} operands;

static operands operands_of(const gm_plan *p, const gm__live *l, const gm__slice *s) {
    operands o = {.x = read_at(p, &l->in, 0, s), .y = at(p, &l->out, s)};
    o.e = (gm_epilogue){.shift = l->bias, .act = l->step->act, .out = l->out.type, .out_scale = l->out_unit};
    float *scale = gm__worker_fold(p, s->worker), *shift = scale + p->fold_floats;
    if (l->norm) {
        gm__norm_expand(&p->packed->norms, l->norm, l->g.k, scale, shift);
        o.e.scale = scale;
        o.e.shift = shift;
    }
    if (l->step->kind == GM__STEP_DENSE && l->panels->type == GM_I8) { // accumulators count in units of input and weights
        for (int k = 0; k < l->g.k; k++) scale[k] = (l->norm ? scale[k] : 1.0f) * (l->panels->scale[k] * l->in_unit);
        o.e.scale = scale;
    }
    if (l->residual.place.slot != GM__NOWHERE) {
        o.residual = read_at(p, &l->residual, 1, s);
        o.e.residual = o.residual;
        o.e.ldr = l->residual.ld;
    }
    return o;
}

// Positions [begin,end) of all images together: only steps that look at one position at a time.
static void move_positions(operands *o, const gm__live *l, int begin) {
    o->x += bytes_of(l->in.type, begin * l->in.ld);
    o->y += bytes_of(l->out.type, begin * l->out.ld);
    if (o->residual) o->residual += bytes_of(l->residual.type, begin * l->residual.ld);
    o->e.residual = o->residual;
}

static void move_rows(operands *o, const gm__live *l, int y0) {
    int positions = y0 * l->g.wo;
    o->y += bytes_of(l->out.type, positions * l->out.ld);
    if (o->residual) o->residual += bytes_of(l->residual.type, positions * l->residual.ld);
    o->e.residual = o->residual;
}

// Outputs r alone of a dense product: its panels, its part of the epilogue, and up to where rows are written.
static void cut_outputs(gm_conv *g, range r, gm_panels *w, gm_epilogue *e) {
    e->row = r.end == g->k ? g->ldy - r.begin : r.end - r.begin;
    if (e->scale) e->scale += r.begin;
    if (e->shift) e->shift += r.begin;
    w->data = (char *)w->data + (size_t)(r.begin / 16) * w->panel_stride * gm_dtype_size(w->type);
    g->k = r.end - r.begin;
}

static void move_outputs(operands *o, const gm__live *l, range r, gm_conv *g, gm_panels *w) {
    cut_outputs(g, r, w, &o->e);
    o->y += bytes_of(l->out.type, r.begin);
    if (o->residual) o->residual += bytes_of(l->residual.type, r.begin);
    o->e.residual = o->residual;
    w->scale = NULL; // already in e
}

static void conv(const gm_plan *p, const gm_conv *g, const operands *o, const gm_panels *w, char *worker) {
    p->kernels->conv(w->type, g, o->x, w, &o->e, o->y, gm__worker_scratch(p, worker));
}

// Of one image.
static void dense_part(const gm_plan *p, const gm__live *l, const gm__slice *s, gm_conv g, operands o) {
    gm_panels w = *l->panels;
    bool pointwise = g.r == 1 && g.s == 1 && g.stride == 1 && g.pad == 0;
    int positions = g.n * g.ho * g.wo;
    if (g.k >= CUT * s->parts && (g.ho * g.wo < FEW_POSITIONS || (!pointwise && w.type != GM_F32))) {
        range r = part_of(g.k, CUT, s);
        if (r.begin == r.end) return;
        move_outputs(&o, l, r, &g, &w);
        conv(p, &g, &o, &w, s->worker);
    } else if (pointwise) {
        range r = part_of(positions, 16, s);
        if (r.begin == r.end) return;
        move_positions(&o, l, r.begin);
        g.n = g.h = g.ho = 1;
        g.w = g.wo = r.end - r.begin;
        conv(p, &g, &o, &w, s->worker);
    } else {
        range r = part_of(g.ho, 1, s);
        if (r.begin == r.end) return;
        move_rows(&o, l, r.begin);
        g.y0 = r.begin;
        g.ho = r.end - r.begin;
        conv(p, &g, &o, &w, s->worker);
    }
}

static void dense(const gm_plan *p, const gm__live *l, const gm__slice *s) {
    gm_conv g = l->g;
    g.n = s->i1 - s->i0;
    operands o = operands_of(p, l, s);
    if (s->parts > 1) dense_part(p, l, s, g, o);
    else conv(p, &g, &o, l->panels, s->worker);
}

// Rows [y0,y1) of a depthwise step's output for one image, whose row 0 would lie at x.
static void depthwise_rows(const gm_plan *p, const gm__live *l, const gm__slice *s, int y0, int y1, char *x) {
    operands o = operands_of(p, l, s);
    gm_conv g = l->g;
    move_rows(&o, l, y0);
    g.n = 1;
    g.y0 = y0;
    g.ho = y1 - y0;
    p->kernels->depthwise(l->in.type, &g, x, l->taps.w, l->taps.row, l->taps.ld, &o.e, o.y, gm__worker_scratch(p, s->worker));
}

static void depthwise(const gm_plan *p, const gm__live *l, const gm__slice *s) {
    if (s->parts > 1) {
        const range r = part_of(l->g.ho, 1, s);
        if (r.begin < r.end) depthwise_rows(p, l, s, r.begin, r.end, read_at(p, &l->in, 0, s));
        return;
    }
    operands o = operands_of(p, l, s);
    gm_conv g = l->g;
    g.n = s->i1 - s->i0;
    p->kernels->depthwise(l->in.type, &g, o.x, l->taps.w, l->taps.row, l->taps.ld, &o.e, o.y, gm__worker_scratch(p, s->worker));
}

// Rows [y0,y1) of what a pointwise product makes of one image, whose row 0 would lie at y.
static void pointwise_rows(const gm_plan *p, const gm__live *l, const gm__slice *s, int y0, int y1, char *y) {
    operands o = operands_of(p, l, s);
    gm_conv g = l->g;
    o.y = y;
    move_positions(&o, l, y0 * g.wo);
    g.n = g.h = g.ho = 1;
    g.w = g.wo = (y1 - y0) * g.wo;
    conv(p, &g, &o, l->panels, s->worker);
}

// What lies between the two steps is made and read a few rows at a time, in the same memory of the worker, so that it stays in the
// second-level cache. Rows that the next outputs need again are moved to its front.
void gm__pair_run(const gm_plan *p, const gm__live *l, const gm__slice *s) {
    const gm_conv *g = &l[1].g;
    const range r = part_of(g->ho, 1, s);
    const size_t row = l->out.image / (size_t)l->g.ho;
    char *memory = s->worker + p->local_offset[l->out.slot];
    int first = gm_max(0, r.begin * g->stride - g->pad), made = first; // rows [first,made) lie in memory
    for (int y0 = r.begin; y0 < r.end; y0 += l->pair_rows) {
        const int y1 = gm_min(y0 + l->pair_rows, r.end);
        const int from = gm_max(0, y0 * g->stride - g->pad), to = gm_min(g->h, (y1 - 1) * g->stride - g->pad + g->r);
        if (from > first && made > from) memmove(memory, memory + (size_t)(from - first) * row, (size_t)(made - from) * row);
        first = from;
        made = gm_max(made, from);
        char *row0 = (char *)((uintptr_t)memory - (uintptr_t)first * row);
        if (to > made) pointwise_rows(p, l, s, made, to, row0);
        made = gm_max(made, to);
        depthwise_rows(p, l + 1, s, y0, y1, row0);
    }
}

static void elementwise(const gm_plan *p, const gm__live *l, const gm__slice *s) {
    operands o = operands_of(p, l, s);
    range r = part_of((s->i1 - s->i0) * l->g.ho * l->g.wo, 1, s);
    int rows = r.end - r.begin, c = l->g.k;
    if (rows == 0) return;
    move_positions(&o, l, r.begin);
    if (l->step->kind == GM__STEP_ACT)
        p->kernels->act(l->in.type, l->step->act, rows, c, o.x, l->in.ld, o.y, l->out.ld);
    else if (l->step->kind == GM__STEP_ADD)
        p->kernels->add(l->in.type, rows, c, o.x, l->in.ld, o.residual, l->residual.ld, o.y, l->out.ld);
    else
        p->kernels->norm_apply(l->in.type, rows, c, o.x, l->in.ld, o.e.scale, o.e.shift, o.residual, l->residual.ld,
                               l->step->act, o.y, l->out.ld);
}

static gm_conv vector_product(int rows, int c, int k, int ldx, int ldy) {
    return (gm_conv){.n = rows, .h = 1, .w = 1, .c = c, .ho = 1, .wo = 1, .k = k, .r = 1, .s = 1, .stride = 1, .ldx = ldx, .ldy = ldy};
}

typedef struct gate { // of a squeeze-and-excite step, in memory that the parts share
    char *pool, *hidden, *gate;
    int ldc, ldh;
} gate;

static gate gate_of(const gm_plan *p, const gm__live *l, const gm__slice *s) {
    gate g = {.ldc = gm_channel_stride(l->in.type, l->g.c), .ldh = gm_channel_stride(l->in.type, l->hidden)};
    size_t bytes = bytes_of(l->in.type, (s->i1 - s->i0) * g.ldc);
    g.pool = gm__worker_squeeze(p, s->values);
    g.gate = g.pool + bytes;
    g.hidden = g.gate + bytes;
    return g;
}

// Outputs r of a product of vectors. One row when r is not all of them.
static void outputs_of(const gm_plan *p, const gm__slice *s, gm_dtype t, gm_conv g, range r, const char *x, const int *param, gm_act act,
                       char *y) {
    gm_panels w = p->packed->panels[param[0]];
    gm_epilogue e = {.shift = p->packed->plain[param[1]], .act = act, .out = t};
    if (r.begin == r.end) return;
    cut_outputs(&g, r, &w, &e);
    p->kernels->conv(t, &g, x, &w, &e, y + bytes_of(t, r.begin), gm__worker_scratch(p, s->worker));
}

static void squeeze(const gm_plan *p, const gm__live *l, const gm__slice *s, int phase) {
    const int *param = p->packed->graph->node[l->step->node].param;
    const gm_dtype t = l->in.type;
    const int rows = s->i1 - s->i0, c = l->g.c, h = l->hidden, positions = l->g.h * l->g.w;
    const gate g = gate_of(p, l, s);
    char *x = read_at(p, &l->in, 0, s), *y = at(p, &l->out, s);
    if (phase == POOL) {
        const range r = part_of(c, CUT, s);
        const int row = r.end == c ? g.ldc - r.begin : r.end - r.begin;
        if (r.begin < r.end)
            p->kernels->global_pool(t, rows, positions, r.end - r.begin, x + bytes_of(t, r.begin), l->in.ld, g.pool + bytes_of(t, r.begin), row);
    } else if (phase == REDUCE) {
        outputs_of(p, s, t, vector_product(rows, c, h, g.ldc, g.ldh), part_of(h, CUT / 2, s), g.pool, param, GM_ACT_RELU, g.hidden);
    } else if (phase == EXPAND) {
        outputs_of(p, s, t, vector_product(rows, h, c, g.ldh, g.ldc), part_of(c, CUT, s), g.hidden, param + 2, GM_ACT_HSIGMOID, g.gate);
    } else {
        const range r = part_of(positions, 1, s);
        if (r.begin < r.end)
            p->kernels->channel_scale(t, rows, r.end - r.begin, c, x + bytes_of(t, r.begin * l->in.ld), l->in.ld, g.gate, g.ldc,
                                      y + bytes_of(t, r.begin * l->out.ld), l->out.ld);
    }
}

int gm__step_phases(const gm__live *l) { return l->step->kind == GM__STEP_SQUEEZE ? SQUEEZE_PHASES : 1; }

static void pool(const gm_plan *p, const gm__live *l, const gm__slice *s) {
    gm_conv g = l->g;
    g.n = s->i1 - s->i0;
    char *x = read_at(p, &l->in, 0, s), *y = at(p, &l->out, s);
    if (l->step->kind == GM__STEP_MAX_POOL) p->kernels->max_pool(l->in.type, &g, x, y, NULL);
    else if (l->step->kind == GM__STEP_AVG_POOL) p->kernels->avg_pool(l->in.type, &g, x, y);
    else p->kernels->global_pool(l->in.type, g.n, g.h * g.w, g.c, x, l->in.ld, y, l->out.ld);
}

void gm__step_run(const gm_plan *p, const gm__live *l, const gm__slice *s) {
    if (s->parts == 1) gm__step_convert(p, l, s);
    switch (l->step->kind) {
    case GM__STEP_DENSE: dense(p, l, s); break;
    case GM__STEP_DEPTHWISE: depthwise(p, l, s); break;
    case GM__STEP_NORM:
    case GM__STEP_ACT:
    case GM__STEP_ADD: elementwise(p, l, s); break;
    case GM__STEP_SQUEEZE:
        if (s->parts > 1) squeeze(p, l, s, s->phase);
        for (int phase = 0; s->parts == 1 && phase < SQUEEZE_PHASES; phase++) squeeze(p, l, s, phase);
        break;
    case GM__STEP_MAX_POOL:
    case GM__STEP_AVG_POOL:
    case GM__STEP_GLOBAL_POOL:
        if (s->part == 0) pool(p, l, s);
        break;
    }
}
