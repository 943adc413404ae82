// SPDX-License-Identifier: Apache-2.0
// CIFAR-10 and CIFAR-100 records.
#include "data/readers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    for (int classes = 10; classes <= 100; classes += 90) {
        gm_dataset *d;
        gm_error err;
        int images;
        if (gm__dataset_new("input", 4, 32, 32, 3, classes, false, &d, &err) != GM_OK) return 0;
        if (gm__cifar_parse("input", data, bytes, d, 1, &images, &err) == GM_OK)
            for (int i = 1; i <= images; i++)
                if (d->labels[i] < 0 || d->labels[i] >= classes) __builtin_trap();
        gm_dataset_destroy(d);
    }
    return 0;
}
