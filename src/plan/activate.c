// SPDX-License-Identifier: Apache-2.0
// LayerSelect, WeightSlice and SubnetNorm in place: a subnet becomes a list of live steps. Sizes follow from the choice,
// values get places by who reads them last. Nothing is allocated or copied, and no lock is taken: this is what a switch costs.
#include <string.h>

#include "plan/plan_private.h"

enum { BLOCK_BYTES = 1 << 20 }; // of a block's values: about half of a 2 MiB second-level cache
// A pointwise product and the depthwise step that reads it run together where the value between them is so large an image, so many
// bytes of it at a time. OFA-MobileNetV3 at 230 MMACs, f32, batch 1, two Zen 4 cores: these two steps (4.8 MB) from 504 to 373 us
// of 3.5 ms, 128 to 512 KiB at a time alike; with values of 1.2 MB as fast as one after the other, with all rows in memory of their own too.
enum { PAIR_IMAGE = 2 << 20, PAIR_BYTES = 256 << 10 };

// Activations whose rows are a multiple of 1 KiB apart would meet in few sets of the cache.
static int row_stride(gm_dtype type, int c) {
    int ld = gm_channel_stride(type, c);
    return type == GM_F32 && ld % 256 == 0 ? ld + 16 : ld;
}

static gm_shape shape_of(const gm_plan *p, int node) { return p->resolved.node[node].out; }
static int positions_of(const gm_plan *p, int node) {
    gm_shape s = shape_of(p, node);
    return s.h * s.w;
}

static int inputs_of(const gm_plan *p, const gm__step *s, int in[2]) {
    const gm__steps *steps = &p->packed->steps;
    in[0] = gm__source(steps, &p->resolved, s->node, 0);
    int second = s->kind == GM__STEP_ADD ? gm__source(steps, &p->resolved, s->node, 1)
                 : s->norm >= 0          ? gm__source(steps, &p->resolved, s->norm, 1)
                                         : -1;
    in[1] = second;
    return second >= 0 ? 2 : 1;
}

static bool product(const gm__step *s) { return s->kind == GM__STEP_DENSE || s->kind == GM__STEP_DEPTHWISE; }

// Begins a segment with the step that was listed last, which leaves the one before: its inputs may now cross.
static void restart_with_last(gm_plan *p) {
    const int last = p->lives - 1;
    gm__segment *before = &p->segment[p->segments - 1];
    if (before->count == 1) return;
    before->count--;
    p->segment[p->segments++] = (gm__segment){.first = last, .count = 1};
    int in[2];
    const gm__step *s = p->live[last].step;
    for (int j = inputs_of(p, s, in) - 1; j >= 0; j--) p->crosses[in[j]] |= p->segment_of[in[j]] != p->segments;
    p->segment_of[s->last] = p->segments;
}

// Steps in use, the segment of each value, and who reads it last. A segment ends where the size of the maps changes: one size of
// blocks cannot suit both sides. But a product that makes maps smaller is one segment with the product before it, whose
// value, often the largest of the network, so never leaves the thread: at batch 16 MobileNetV3 takes 0.86 to 0.89 of the time.
static void list_steps(gm_plan *p) {
    const gm__steps *steps = &p->packed->steps;
    p->lives = p->segments = 0;
    p->dense_first = true;
    int positions = -1;
    bool alone = false; // the segment ends here
    for (int i = 0; i < steps->count; i++) {
        const gm__step *s = &steps->at[i];
        if (!p->resolved.node[s->last].active) continue;
        int n = positions_of(p, s->last), in[2], inputs = inputs_of(p, s, in);
        const gm__step *before = p->lives > 0 ? p->live[p->lives - 1].step : NULL;
        const bool shrinks = n != positions && product(s) && before && product(before) && inputs == 1 && in[0] == before->last;
        if (shrinks) restart_with_last(p);
        else if (n != positions || alone) p->segment[p->segments++] = (gm__segment){.first = p->lives};
        gm__segment *segment = &p->segment[p->segments - 1];
        segment->count++;
        alone = shrinks;
        positions = n;
        p->live[p->lives].step = s;
        for (int j = inputs - 1; j >= 0; j--) {
            p->last_use[in[j]] = p->lives;
            if (in[j] == 0 && (j > 0 || s->kind != GM__STEP_DENSE)) p->dense_first = false;
            p->crosses[in[j]] |= p->segment_of[in[j]] != p->segments;
        }
        p->last_use[s->last] = -1;
        p->segment_of[s->last] = p->segments;
        p->crosses[s->last] = false;
        p->lives++;
    }
}

// Of the shared memory, what a segment gave up can be used from the next one on: other blocks of images may still read it.
typedef struct free_list {
    int slot[GM__SLOTS], count, made;
    int waiting[GM__SLOTS], waits;
} free_list;

static void end_segment(free_list *shared) {
    while (shared->waits) shared->slot[shared->count++] = shared->waiting[--shared->waits];
}

static int take_slot(free_list *f) {
    if (f->count) return f->slot[--f->count];
    return f->made < GM__SLOTS ? f->made++ : -1;
}

static bool elementwise(const gm__step *s) {
    return s->kind == GM__STEP_NORM || s->kind == GM__STEP_ACT || s->kind == GM__STEP_ADD || s->kind == GM__STEP_SQUEEZE;
}

// A place for the value of live step i; false when there are too few slots. An elementwise step may write over its input.
static bool place_value(gm_plan *p, int i, const int in[2], free_list *lists[2]) {
    const gm__step *s = p->live[i].step;
    gm__place *o = &p->place[s->last];
    gm_shape shape = shape_of(p, s->last);
    bool logits = s->last == p->packed->graph->nodes - 1;
    *o = (gm__place){.local = !logits && !p->crosses[s->last],
                     .type = logits ? GM_F32 : p->packed->precision.value[s->last]};
    o->ld = logits ? gm_channel_stride(p->packed->precision.wide, shape.c) : row_stride(o->type, shape.c);
    o->image = (size_t)(shape.h * shape.w) * (size_t)o->ld * gm_dtype_size(o->type);
    const gm__place *from = &p->place[in[0]];
    if (logits) {
        o->slot = GM__LOGITS;
    } else if (elementwise(s) && p->last_use[in[0]] == i && in[1] != in[0] && from->slot >= 0 &&
               from->local == o->local && from->type == o->type) {
        o->slot = from->slot;
    } else {
        o->slot = take_slot(lists[o->local]);
    }
    return o->slot != -1;
}

static void release(const gm_plan *p, int i, const int *in, int inputs, free_list *lists[2]) {
    const gm__place *o = &p->place[p->live[i].step->last];
    for (int j = 0; j < inputs; j++) {
        const gm__place *v = &p->place[in[j]];
        bool again = j == 1 && in[1] == in[0], kept = v->slot == o->slot && v->local == o->local;
        if (p->last_use[in[j]] != i || v->slot < 0 || again || kept) continue;
        free_list *f = lists[v->local];
        if (v->local) f->slot[f->count++] = v->slot;
        else f->waiting[f->waits++] = v->slot;
    }
}

// The value of a node as a step reads it.
static gm__operand operand(const gm_plan *p, int node, gm_dtype type, float unit) {
    const gm__place *v = &p->place[node];
    gm_shape shape = shape_of(p, node);
    gm__operand o = {.place = *v, .type = type, .ld = v->ld, .rows = shape.h * shape.w, .c = shape.c, .image = v->image};
    o.unit = v->type == GM_I8 ? p->packed->precision.unit[node] : unit;
    if (type != v->type) {
        o.ld = row_stride(type, shape.c);
        o.image = (size_t)o.rows * (size_t)o.ld * gm_dtype_size(type);
    }
    return o;
}

static void fill(gm_plan *p, gm__live *l, const int in[2], int inputs, int subnet) {
    const gm_packed *k = p->packed;
    const gm__step *s = l->step;
    const gm_node *n = &k->graph->node[s->node];
    const gm_resolved_node *r = &p->resolved.node[s->node];
    int taps = r->kernel > 0 ? r->kernel : 1;
    const gm__precision *q = &k->precision;
    l->out = p->place[s->last];
    l->in_unit = q->unit[in[0]];
    l->out_unit = q->unit[s->last];
    l->in = operand(p, in[0], q->narrow[s->node] ? GM_I8 : q->wide, l->in_unit);
    l->residual = inputs > 1 ? operand(p, in[1], l->out.type, l->out_unit)
                             : (gm__operand){.place = {.slot = GM__NOWHERE}};
    l->g = (gm_conv){.h = r->in.h, .w = r->in.w, .c = r->in.c, .ho = r->out.h, .wo = r->out.w, .k = r->out.c, .r = taps,
                     .s = taps, .stride = n->stride > 0 ? n->stride : 1, .pad = n->pad, .ldx = l->in.ld, .ldy = l->out.ld};
    l->hidden = r->hidden;
    l->norm = s->norm >= 0 ? gm__norm_entry_at(&k->norms, subnet, k->norms.number[s->norm]) : NULL;
    l->bias = NULL;
    if (s->kind == GM__STEP_DENSE) {
        l->panels = &k->panels[n->param[0]];
        if (n->param[1] >= 0) l->bias = k->plain[n->param[1]];
    } else if (s->kind == GM__STEP_DEPTHWISE) {
        l->g.pad = taps / 2;
        l->taps = k->taps[s->node * GM__KERNELS + (taps - 3) / 2];
    }
}

static size_t live_bytes(const gm__live *l) {
    return l->in.place.image + l->out.image + (l->residual.place.slot == GM__NOWHERE ? 0 : l->residual.place.image);
}

static void choose_pairs(gm_plan *p) {
    for (int i = 0; i < p->lives; i++) {
        gm__live *l = &p->live[i], *next = l + 1;
        const gm_conv *g = &l->g;
        l->pair_rows = 0;
        if (i + 1 == p->lives || l->step->kind != GM__STEP_DENSE || next->step->kind != GM__STEP_DEPTHWISE) continue;
        if (g->r != 1 || g->s != 1 || g->stride != 1 || g->pad != 0 || l->out.image < PAIR_IMAGE) continue;
        const bool own = l->out.local && p->last_use[l->step->last] == i + 1 && next->in.place.local && next->in.place.slot == l->out.slot;
        const bool plain = l->residual.place.slot == GM__NOWHERE && next->residual.place.slot == GM__NOWHERE;
        if (!own || !plain || gm__step_converts(l) || gm__step_converts(next)) continue;
        l->pair_rows = gm_max(1, (int)(PAIR_BYTES / (l->out.image / (size_t)g->ho * (size_t)next->g.stride)));
    }
}

static void choose_blocks(gm_plan *p) {
    for (int i = 0; i < p->segments; i++) {
        gm__segment *s = &p->segment[i];
        size_t most = 1;
        for (int j = 0; j < s->count; j++) {
            size_t bytes = live_bytes(&p->live[s->first + j]);
            most = bytes > most ? bytes : most;
        }
        s->block = gm_max(1, gm_min(p->max_batch, (int)(BLOCK_BYTES / most)));
    }
}

// Rows of the images. Dense kernels read of a pixel in f32 four channels at most, where it has no more: so four are enough, a
// quarter of what other values take.
static int image_stride(const gm_plan *p, gm_dtype type, int channels) {
    return type == GM_F32 && channels <= 4 && p->dense_first ? 4 : gm_channel_stride(type, channels);
}

bool gm__plan_resolve(gm_plan *p, int subnet) {
    const gm_packed *k = p->packed;
    // every calibrated choice was resolved when the norm table was made
    if (gm_resolve(k->graph, &k->choice[subnet], &p->resolved, NULL) != GM_OK) return false;
    gm_shape image = shape_of(p, 0);
    gm_dtype type = k->precision.wide;
    p->segment_of[0] = 0;
    list_steps(p);
    int ld = image_stride(p, type, image.c);
    p->place[0] = (gm__place){.slot = GM__INPUT, .ld = ld, .type = type,
                              .image = (size_t)(image.h * image.w) * (size_t)ld * gm_dtype_size(type)};
    free_list shared = {.count = 0}, local = {.count = 0}, *lists[2] = {&shared, &local};
    for (int i = 0, segment = 1; i < p->lives; i++) {
        int in[2], inputs = inputs_of(p, p->live[i].step, in), its = p->segment_of[p->live[i].step->last];
        if (its != segment) end_segment(&shared);
        segment = its;
        if (!place_value(p, i, in, lists)) return false;
        fill(p, &p->live[i], in, inputs, subnet);
        release(p, i, in, inputs, lists);
    }
    choose_blocks(p);
    choose_pairs(p);
    p->active = subnet;
    return true;
}
