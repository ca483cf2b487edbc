/* UTF-8 as the tokenizers need it: validation, one code point at a time, and the two character
 * classes that the rules of added tokens use. */
#ifndef PX_TEXT_UTF8_H
#define PX_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum px_utf8_kind {
    PX_UTF8_VALID,     /* *length bytes are one code point */
    PX_UTF8_INVALID,   /* *length bytes (the maximal subpart) can never become one */
    PX_UTF8_INCOMPLETE /* the text ends inside a sequence that is good so far */
} px_utf8_kind;

/* Looks at the sequence that begins at text[0]; size >= 1. The maximal subpart is what the Unicode
 * standard (3.9, "U+FFFD substitution") replaces with one U+FFFD. */
px_utf8_kind px_utf8_look(const char *text, size_t size, size_t *length);

/* Offset of the first byte that is not part of valid UTF-8; `size` when all is valid. */
size_t px_utf8_valid_prefix(const char *text, size_t size);

/* The code point at text[*at] of valid UTF-8; moves *at behind it. */
uint32_t px_utf8_next(const char *text, size_t *at);
/* The code point that ends before text[*at], *at >= 1; moves *at to its first byte. */
uint32_t px_utf8_previous(const char *text, size_t *at);

/* Writes at most 4 bytes and returns how many. */
size_t px_utf8_write(uint32_t code_point, char *out);

/* White_Space of Unicode. */
bool px_is_space(uint32_t code_point);
/* A word character as Unicode TR18 defines \w: alphabetic, mark, decimal number, connector
 * punctuation, join control. */
bool px_is_word(uint32_t code_point);

#endif
