// SPDX-License-Identifier: Apache-2.0
// What is held of a checkpoint in memory, for the next one to be a difference to.
#include "checkpoint/container.h"

// States a tenth of an epoch apart (CIFAR-10 ResNet): weights as differences 9 % smaller, momentum 0.0 %, Adam's second moments 7 %. Moments
// would take as much memory as the weights, or twice that.
static bool is_kept(const gm_tensor_info *t, bool state, bool weights) {
    gm_checkpoint_role role = gm__role_of(t, state);
    return role == GM_CHECKPOINT_WEIGHTS ? weights : role != GM_CHECKPOINT_OPTIMIZER;
}

gm_tensor_image *gm__parent_make(const gm_tensor_file *image, uint64_t bytes, bool weights) {
    bool state = gm__names_are_state(image);
    gm_tensor_image *out = NULL;
    gm_tensor_writer *w = NULL;
    uint64_t kept = 0;
    gm_status status = gm_tensor_writer_create(&w, NULL);
    for (int i = 0; i < gm_tensor_count(image) && status == GM_OK; i++) {
        const gm_tensor_info *t = gm_tensor_at(image, i);
        if (!is_kept(t, state, weights)) continue;
        kept += t->bytes;
        status = gm_tensor_writer_add(w, t->name, t->type, t->rank, t->dims, t->data, NULL);
    }
    if (status == GM_OK && kept * GM__LITTLE > bytes) gm_tensor_writer_image(w, &out, NULL); // or NULL: no memory for it
    gm_tensor_writer_destroy(w);
    return out;
}

const gm_tensor_info *gm__parent_tensor(const gm_tensor_file *parent, const gm_tensor_info *t) {
    const gm_tensor_info *p = parent ? gm_tensor_find(parent, t->name) : NULL;
    return p && p->type == t->type && p->bytes == t->bytes ? p : NULL;
}
