// SPDX-License-Identifier: Apache-2.0
// Train and validation parts, pixel statistics, the order of an epoch.
#include <gamut/data.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void permute(int32_t *order, int count, gm_rng rng) {
    for (int i = 0; i < count; i++) order[i] = i;
    for (int i = count - 1; i > 0; i--) { // Fisher and Yates
        uint32_t j = gm_rng_below(&rng, (uint32_t)i + 1);
        int32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

void gm_shuffle(int32_t *order, int count, uint64_t seed, int epoch) {
    permute(order, count, gm_rng_keyed(seed, (uint64_t)epoch, 0, GM_RNG_SHUFFLE));
}

// One image of a group; sorting these puts groups together, in the order of their numbers.
typedef struct member {
    int32_t group, image;
} member;

static int compare_members(const void *a, const void *b) {
    const member *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

// Marks held_out images (or whole groups until there are at least so many).
static gm_status hold_out(const gm_dataset *d, int held_out, uint64_t seed, uint8_t *held,
                          gm_error *err) {
    gm_status status = GM_OK;
    size_t images = (size_t)d->images;
    member *members = gm_alloc(images, sizeof *members);
    int32_t *start = gm_alloc(images + 1, sizeof *start), *order = gm_alloc(images, sizeof *order);
    if (!members || !start || !order) {
        status =
            gm_fail(err, GM_ERR_MEMORY, "%s: out of memory to split %d images", d->name, d->images);
        goto done;
    }
    for (int i = 0; i < d->images; i++) members[i] = (member){d->group ? d->group[i] : i, i};
    if (d->group) qsort(members, images, sizeof *members, compare_members);
    int groups = 0;
    for (int i = 0; i < d->images; i++)
        if (i == 0 || members[i].group != members[i - 1].group) start[groups++] = i;
    start[groups] = d->images;
    permute(order, groups, gm_rng_keyed(seed, 0, 0, GM_RNG_SPLIT));
    int taken = 0;
    for (int k = 0; k < groups && taken < held_out; k++)
        for (int i = start[order[k]]; i < start[order[k] + 1]; i++, taken++)
            held[members[i].image] = 1;
done:
    gm_free(members);
    gm_free(start);
    gm_free(order);
    return status;
}

gm_status gm_dataset_split(const gm_dataset *d, int held_out, uint64_t seed, int32_t **train,
                           int *train_count, int32_t **val, int *val_count, gm_error *err) {
    *train = *val = NULL;
    *train_count = *val_count = 0;
    if (held_out < 0 || held_out >= d->images)
        return gm_fail(err, GM_ERR_RANGE, "%s: cannot hold out %d of %d images for validation",
                       d->name, held_out, d->images);
    gm_status status = GM_OK;
    uint8_t *held = gm_alloc((size_t)d->images, 1);
    *train = gm_alloc((size_t)d->images, sizeof **train);
    *val = gm_alloc((size_t)d->images, sizeof **val);
    if (!held || !*train || !*val) {
        status =
            gm_fail(err, GM_ERR_MEMORY, "%s: out of memory to split %d images", d->name, d->images);
        goto done;
    }
    status = hold_out(d, held_out, seed, held, err);
    if (status != GM_OK) goto done;
    for (int i = 0; i < d->images; i++) {
        if (held[i])
            (*val)[(*val_count)++] = i;
        else
            (*train)[(*train_count)++] = i;
    }
    if (*train_count == 0)
        status = gm_fail(
            err, GM_ERR_RANGE,
            "%s: holding out %d images in whole groups leaves none to train on: hold out fewer",
            d->name, held_out);
done:
    gm_free(held);
    if (status != GM_OK) {
        gm_free(*train);
        gm_free(*val);
        *train = *val = NULL;
        *train_count = *val_count = 0;
    }
    return status;
}

void gm_dataset_moments(const gm_dataset *d, const int32_t *index, int count, float *mean,
                        float *std) {
    // Counting each of the 256 values is exact, so the result does not depend on the order of the
    // images.
    uint64_t seen[4][256];
    memset(seen, 0, sizeof seen);
    size_t pixels = (size_t)d->height * (size_t)d->width, channels = (size_t)d->channels;
    for (int i = 0; i < count; i++) {
        const uint8_t *p = d->pixels + (size_t)(index ? index[i] : i) * pixels * channels;
        for (size_t k = 0; k < pixels; k++)
            for (size_t c = 0; c < channels; c++) seen[c][p[k * channels + c]]++;
    }
    double n = (double)count * (double)pixels;
    for (size_t c = 0; c < channels; c++) {
        double sum = 0, squares = 0;
        for (int v = 0; v < 256; v++) {
            sum += (double)seen[c][v] * v;
            squares += (double)seen[c][v] * v * v;
        }
        double average = n > 0 ? sum / n : 0,
               variance = n > 0 ? squares / n - average * average : 0;
        mean[c] = (float)(average / 255);
        std[c] = (float)(sqrt(variance > 0 ? variance : 0) / 255);
    }
}
