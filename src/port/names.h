// SPDX-License-Identifier: Apache-2.0
// Names of tensors: Once-for-all has one spelling for elastic modules and one for plain ones (specs: training 6.2).
#ifndef GAMUT_PORT_NAMES_H
#define GAMUT_PORT_NAMES_H

#include <gamut/base.h>

// The plain spelling: ".mobile_inverted_conv." -> ".conv.", ".bn.bn." -> ".bn.", ".conv.conv.weight" -> ".conv.weight",
// ".linear.linear." -> ".linear.". out has at least as much room as name needs. Names that are plain stay.
void gm__name_plain(const char *name, char *out, size_t size);
// What all spellings of a name have in common, for comparing: plain, and repeated until nothing changes.
void gm__name_key(const char *name, char *out, size_t size);
// Numbers of list members become 0, 1, 2... in the order of their numbers: names[i] keeps its text, out[i] (rows of
// `size`) gets the new one.
void gm__names_renumber(const char *const *names, int count, char *out, size_t size);

#endif
