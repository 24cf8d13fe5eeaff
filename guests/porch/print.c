#include "print.h"

#include <stdarg.h>
#include <stdbool.h>

#include "serial.h"
#include "text.h"

void print_char(char c) {
  if (c == '\n') serial_write('\r');
  serial_write(c);
}

void print_run(char c, int count) {
  while (count-- > 0) print_char(c);
}

static void print_padded(const char *text, int length, int width, bool left, char fill) {
  if (!left) print_run(fill, width - length);
  for (int i = 0; i < length; i++) print_char(text[i]);
  if (left) print_run(' ', width - length);
}

/* Digits of `value` right-aligned in `buffer[24]`; the address of the first. */
static char *digits(uint64_t value, uint32_t base, char *buffer) {
  char *first = buffer + 23;
  *first = 0;
  do {
    uint32_t digit;
    value = divide64(value, base, &digit);
    *--first = "0123456789abcdef"[digit];
  } while (value);
  return first;
}

void print(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  for (; *format; format++) {
    if (*format != '%') {
      print_char(*format);
      continue;
    }
    format++;

    bool left = false;
    char fill = ' ';
    for (;; format++) {
      if (*format == '-')
        left = true;
      else if (*format == '0')
        fill = '0';
      else
        break;
    }
    int width = 0;
    if (*format == '*') {
      width = va_arg(arguments, int);
      format++;
    }
    for (; *format >= '0' && *format <= '9'; format++) width = width * 10 + (*format - '0');

    char buffer[24];
    const char *text = buffer;
    int length = -1;
    switch (*format) {
      case 's':
        text = va_arg(arguments, const char *);
        break;
      case 'c':
        buffer[0] = (char)va_arg(arguments, int);
        length = 1;
        break;
      case 'd': {
        int32_t value = va_arg(arguments, int32_t);
        char *first = digits(value < 0 ? -(uint32_t)value : (uint32_t)value, 10, buffer);
        if (value < 0) *--first = '-';
        text = first;
        break;
      }
      case 'u':
        text = digits(va_arg(arguments, uint32_t), 10, buffer);
        break;
      case 'U':
        text = digits(va_arg(arguments, uint64_t), 10, buffer);
        break;
      case 'x':
        text = digits(va_arg(arguments, uint32_t), 16, buffer);
        break;
      case 'X':
        text = digits(va_arg(arguments, uint64_t), 16, buffer);
        break;
      default:
        buffer[0] = *format;
        length = 1;
        break;
    }
    print_padded(text, length < 0 ? (int)text_length(text) : length, width, left, fill);
  }
  va_end(arguments);
}

void print_bytes(uint32_t address, const uint8_t *bytes, uint32_t count) {
  for (uint32_t row = 0; row < count; row += 16) {
    uint32_t in_row = count - row < 16 ? count - row : 16;
    print("0x%08x ", address + row);
    for (uint32_t i = 0; i < 16; i++) {
      if (i == 8) print(" ");
      if (i < in_row)
        print(" %02x", (uint32_t)bytes[row + i]);
      else
        print("   ");
    }
    print("  ");
    for (uint32_t i = 0; i < in_row; i++) {
      uint8_t c = bytes[row + i];
      print_char(c >= 0x20 && c < 0x7f ? (char)c : '.');
    }
    print("\n");
  }
}
