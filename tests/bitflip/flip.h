/* tests/bitflip: what a store makes of files that lie. See main.c. */
#ifndef VARVE_TESTS_BITFLIP_FLIP_H
#define VARVE_TESTS_BITFLIP_FLIP_H

#include "base/buf.h"
#include "snap/volume.h"

/* All that can be seen of a store: one line a name, sorted by nothing but the order of looking:
 *     /main/dir/file TAB metadata TAB sum of the bytes
 * An error stands where something could not be seen: "ERROR" in the place of the metadata, of the sum, or as "PATH/ TAB ERROR"
 * for a list that could not be read to its end. */
void picture_take(struct store *s, struct buf *out);

enum difference { SAME, ERRORS, WRONG_BYTES, WRONG };
/* What is shown against what it should be. WRONG: metadata that is other, a name too many or, without an error, missing; where gets
 * the line. WRONG_BYTES: only bytes of files. ERRORS: nothing is wrong, but something cannot be seen. */
enum difference picture_compare(struct buf *want, struct buf *got, char where[512]);

#endif
