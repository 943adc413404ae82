// SPDX-License-Identifier: Apache-2.0
// Writes a page of the library to standard output: print_page NAME [JSON]
#include <gamut/web.h>

int main(int argc, char **argv) {
    char *page = NULL;
    size_t bytes = 0;
    gm_error err = {0};
    if (argc < 2) return 2;
    if (gm_web_page(argv[1], argc > 2 ? argv[2] : NULL, &page, &bytes, &err) != GM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    bool whole = fwrite(page, 1, bytes, stdout) == bytes && fflush(stdout) == 0;
    gm_free(page);
    return whole ? 0 : 1;
}
