// SPDX-License-Identifier: Apache-2.0
// web: the pages that the server and the reports show. The files of web/ and Chart.js are part of the library; a page is
// put together of them, with everything inside: it needs no network and no other file.
#ifndef GAMUT_WEB_H
#define GAMUT_WEB_H

#include <gamut/base.h>

typedef struct gm_web_asset {
    const char *name; // as in web/: "report.html", "style.css"; "chart.js" is Chart.js
    const uint8_t *data;
    size_t bytes; // a NUL byte follows that is not counted
} gm_web_asset;

// NULL: there is none of that name.
GM_API const gm_web_asset *gm_web_find(const char *name);

// The page `name` ("report.html", "dashboard.html"): each {{FILE}} of it is replaced by that asset, {{data}} by json, a
// JSON text (NULL: "null") in which every < is written \u003c, so that no text in it can end the script element around it.
// *page is the caller's (gm_free) and ends with a NUL byte that is not counted in *bytes.
// Errors: GM_ERR_NOT_FOUND for an unknown page, GM_ERR_MEMORY.
GM_API gm_status gm_web_page(const char *name, const char *json, char **page, size_t *bytes, gm_error *err);

#endif
