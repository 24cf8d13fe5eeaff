#include "text.h"

size_t text_length(const char *text) {
  size_t length = 0;
  while (text[length]) length++;
  return length;
}

bool text_equal(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

bool text_starts(const char *text, const char *prefix) {
  while (*prefix)
    if (*text++ != *prefix++) return false;
  return true;
}

static int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool parse_number(const char *text, uint32_t *value) {
  size_t length = text_length(text);
  uint32_t base = 10;
  if (length > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    base = 16;
    text += 2;
    length -= 2;
  } else if (length > 1 && (text[length - 1] == 'h' || text[length - 1] == 'H')) {
    base = 16;
    length--;
  }
  if (length == 0) return false;

  uint64_t number = 0;
  for (size_t i = 0; i < length; i++) {
    int digit = digit_of(text[i]);
    if (digit < 0 || (uint32_t)digit >= base) return false;
    number = number * base + (uint32_t)digit;
    if (number > 0xffffffffu) return false;
  }
  *value = (uint32_t)number;
  return true;
}

uint64_t divide64(uint64_t dividend, uint32_t divisor, uint32_t *remainder) {
  uint32_t high = (uint32_t)(dividend >> 32), low = (uint32_t)dividend;
  uint32_t quotient_high = high / divisor, rest = high % divisor, quotient_low;
  __asm__("divl %4" : "=a"(quotient_low), "=d"(rest) : "a"(low), "d"(rest), "r"(divisor) : "cc");
  if (remainder) *remainder = rest;
  return (uint64_t)quotient_high << 32 | quotient_low;
}

void *memcpy(void *to, const void *from, size_t length) {
  void *result = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
  return result;
}

void *memmove(void *to, const void *from, size_t length) {
  if (to <= from) return memcpy(to, from, length);
  uint8_t *target = to;
  const uint8_t *source = from;
  while (length--) target[length] = source[length];
  return to;
}

void *memset(void *to, int value, size_t length) {
  void *result = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
  return result;
}

int memcmp(const void *a, const void *b, size_t length) {
  const uint8_t *left = a, *right = b;
  for (size_t i = 0; i < length; i++)
    if (left[i] != right[i]) return left[i] - right[i];
  return 0;
}
