// SPDX-License-Identifier: Apache-2.0
// port: a build without protobuf-c writes no ONNX files.
#include <gamut/port.h>

gm_status gm_export_onnx(const gm_subnet *s, const gm_export_settings *settings, const char *path, gm_error *err) {
    (void)s;
    (void)settings;
    return gm_fail(err, GM_ERR_UNSUPPORTED,
                   "%s: this build writes no ONNX: install libprotobuf-c-dev, protobuf-c-compiler and libonnx-dev, and "
                   "build again",
                   path);
}
