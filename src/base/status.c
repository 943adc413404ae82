// SPDX-License-Identifier: Apache-2.0
// Statuses and the errors that explain them.
#include <gamut/base.h>
#include <string.h>

gm_status gm_fail(gm_error *err, gm_status status, const char *format, ...) {
    if (!err) return status;
    // Formatted aside first: callers may pass err->text itself to put their own context around it.
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0) text[0] = '\0';
    if (length >= (int)sizeof text) memcpy(text + sizeof text - 4, "...", 4);
    err->status = status;
    memcpy(err->text, text, sizeof text);
    return status;
}

const char *gm_status_name(gm_status status) {
    switch (status) {
#define GM_STATUS_NAME(name, number, text)                                                         \
    case name: return #name;
        GM_STATUS_LIST(GM_STATUS_NAME)
#undef GM_STATUS_NAME
    }
    return "GM_ERR_UNKNOWN";
}

const char *gm_status_text(gm_status status) {
    switch (status) {
#define GM_STATUS_TEXT(name, number, text)                                                         \
    case name: return text;
        GM_STATUS_LIST(GM_STATUS_TEXT)
#undef GM_STATUS_TEXT
    }
    return "unknown status";
}

const char *gm_version(void) {
    return GAMUT_VERSION;
}
