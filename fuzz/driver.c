// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without a fuzzer: every file of a corpus as it is, cut at random places, and
// damaged at random, always in the same way. Usage: fuzz_NAME FOLDER|FILE... (a FILE only as it is)
#include <dirent.h>
#include <gamut/base.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { DAMAGED_TOTAL = 20000, DAMAGED_MOST = 2000, MOST_BYTES = 1 << 24 };

// The target gets a block of exactly the input's size, so that sanitizers see any byte read beyond.
static bool try_bytes(const uint8_t *data, size_t bytes) {
    uint8_t *exact = malloc(bytes ? bytes : 1);
    if (!exact) return false;
    if (bytes) memcpy(exact, data, bytes);
    size_t live = gm_alloc_live();
    LLVMFuzzerTestOneInput(exact, bytes);
    free(exact);
    return gm_alloc_live() == live;
}

static size_t damage(uint8_t *data, size_t bytes, gm_rng *rng) {
    static const uint8_t telling[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '"', '{', '}', '-', '0', '9', ':'};
    if (bytes == 0) return 0;
    uint32_t n = (uint32_t)bytes;
    for (uint32_t changes = 1 + gm_rng_below(rng, 4); changes > 0; changes--) {
        uint32_t at = gm_rng_below(rng, n);
        // Headers decide most, so half of the changes go near the start.
        if (gm_rng_below(rng, 2)) at = gm_rng_below(rng, n < 64 ? n : 64);
        uint32_t length = 1 + gm_rng_below(rng, n - at < 16 ? n - at : 16);
        uint32_t from = gm_rng_below(rng, n - length + 1);
        switch (gm_rng_below(rng, 5)) {
        case 0: data[at] ^= (uint8_t)(1u << gm_rng_below(rng, 8)); break;
        case 1: data[at] = telling[gm_rng_below(rng, sizeof telling)]; break;
        case 2: memset(data + at, gm_rng_below(rng, 2) ? 0xff : 0, length); break;
        case 3: memmove(data + at, data + from, length); break;
        default: data[at] = (uint8_t)gm_rng_u32(rng); break;
        }
    }
    return gm_rng_below(rng, 4) == 0 ? gm_rng_below(rng, n) : bytes;
}

static int replay(const char *path, int damaged) {
    gm_error err;
    uint8_t *data;
    size_t bytes;
    if (gm_file_read(path, MOST_BYTES, &data, &bytes, &err) != GM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    int failures = 0;
    uint8_t *work = gm_alloc(bytes + 1, 1);
    if (!work || !try_bytes(data, bytes)) {
        fprintf(stderr, "%s: leaks memory as it is\n", path);
        failures++;
    }
    gm_rng rng = gm_rng_keyed(1, gm_hash64(data, bytes, 0), 0, GM_RNG_TEST);
    for (int i = 0; work && i < damaged && failures == 0; i++) {
        memcpy(work, data, bytes);
        size_t left = damage(work, bytes, &rng);
        if (!try_bytes(work, left)) {
            fprintf(stderr, "%s: leaks memory after damage %d\n", path, i);
            failures++;
        }
    }
    gm_free(work);
    gm_free(data);
    return failures;
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int replay_folder(const char *folder, int *files) {
    struct dirent **names;
    int n = scandir(folder, &names, visible, alphasort);
    if (n <= 0) {
        fprintf(stderr, "%s: no corpus there\n", folder);
        return 1;
    }
    int failures = 0, each = gm_min(DAMAGED_TOTAL / n, DAMAGED_MOST);
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        failures += replay(path, each);
        free(names[i]);
    }
    free(names);
    *files += n;
    return failures;
}

int main(int argc, char **argv) {
    int failures = 0, files = 0;
    gm_log_set(GM_LOG_ERROR);
    for (int i = 1; i < argc; i++) {
        if (gm_path_is_folder(argv[i])) {
            failures += replay_folder(argv[i], &files);
        } else {
            failures += replay(argv[i], 0);
            files++;
        }
    }
    printf("%d files replayed, %d failures\n", files, failures);
    return failures > 0 || files == 0;
}
