#include "line.h"

#include <stdbool.h>
#include <stdint.h>

#include "print.h"
#include "serial.h"
#include "text.h"

#define HISTORY 16

enum { CTRL_A = 1, CTRL_B, CTRL_C, CTRL_D, CTRL_E, CTRL_F, BACKSPACE = 8, CTRL_L = 12, CTRL_N = 14, CTRL_P = 16 };
enum { CTRL_U = 21, CTRL_W = 23, ESCAPE = 27, DELETE = 127 };

static char line[LINE_LENGTH];
static uint32_t length, cursor;
static char history[HISTORY][LINE_LENGTH];
static uint32_t remembered;      /* lines entered so far; the last HISTORY of them are kept */
static char draft[LINE_LENGTH];  /* what was being typed before history was called up */

static void cursor_left(uint32_t count) {
  if (count) print("\x1b[%uD", count);
}

/* Shows the line from `from` on, where the terminal's cursor is, and returns the cursor to its place. */
static void redraw(uint32_t from) {
  for (uint32_t i = from; i < length; i++) print_char(line[i]);
  print("\x1b[K");
  cursor_left(length - cursor);
}

static void move_to(uint32_t target) {
  if (target < cursor) cursor_left(cursor - target);
  if (target > cursor) print("\x1b[%uC", target - cursor);
  cursor = target;
}

static void replace(const char *text) {
  move_to(0);
  length = cursor = (uint32_t)text_length(text);
  memcpy(line, text, length);
  redraw(0);
}

static void insert(char c) {
  if (length + 1 >= LINE_LENGTH) {
    print_char('\a');
    return;
  }
  memmove(line + cursor + 1, line + cursor, length - cursor);
  line[cursor] = c;
  length++;
  cursor++;
  print_char(c);
  if (cursor < length) redraw(cursor);
}

/* Removes the characters from `from` up to the cursor. */
static void erase_back_to(uint32_t from) {
  uint32_t count = cursor - from;
  if (!count) return;
  memmove(line + from, line + cursor, length - cursor);
  length -= count;
  move_to(from);
  redraw(from);
}

static void erase_forward(void) {
  if (cursor == length) return;
  memmove(line + cursor, line + cursor + 1, length - cursor - 1);
  length--;
  redraw(cursor);
}

static uint32_t word_start(void) {
  uint32_t at = cursor;
  while (at && line[at - 1] == ' ') at--;
  while (at && line[at - 1] != ' ') at--;
  return at;
}

/* Shows the line entered `back` lines ago; 0 is what was being typed. False if there is none. */
static bool recall(uint32_t back, uint32_t current) {
  if (back > remembered || back > HISTORY) return false;
  if (current == 0) {
    memcpy(draft, line, length);
    draft[length] = 0;
  }
  replace(back == 0 ? draft : history[(remembered - back) % HISTORY]);
  return true;
}

static void remember(void) {
  if (!length) return;
  if (remembered && text_equal(history[(remembered - 1) % HISTORY], line)) return;
  memcpy(history[remembered % HISTORY], line, length + 1);
  remembered++;
}

/* The final character of an escape sequence (`ESC [ A`, `ESC O A`, `ESC [ 3 ~`), and its number if it has one. */
static char escape_sequence(uint32_t *number) {
  *number = 0;
  char c = serial_read();
  if (c != '[' && c != 'O') return 0;
  for (;;) {
    c = serial_read();
    if (c >= '0' && c <= '9')
      *number = *number * 10 + (uint32_t)(c - '0');
    else if (c != ';')
      return c;
  }
}

const char *line_read(const char *prompt) {
  uint32_t back = 0, number;
  length = cursor = 0;
  print("%s", prompt);
  for (;;) {
    char c = serial_read();
    if (c == ESCAPE) {
      switch (escape_sequence(&number)) {
        case 'A': c = CTRL_P; break;
        case 'B': c = CTRL_N; break;
        case 'C': c = CTRL_F; break;
        case 'D': c = CTRL_B; break;
        case 'H': c = CTRL_A; break;
        case 'F': c = CTRL_E; break;
        case '~': c = number == 3 ? CTRL_D : number == 1 || number == 7 ? CTRL_A : number == 4 || number == 8 ? CTRL_E : 0; break;
        default: c = 0; break;
      }
    }
    switch (c) {
      case '\r':
      case '\n':
        line[length] = 0;
        remember();
        print("\n");
        return line;
      case CTRL_C:
        print("^C\n");
        line[0] = 0;
        return line;
      case CTRL_P: back += recall(back + 1, back); break;
      case CTRL_N: if (back) recall(--back, 1); break;
      case CTRL_F: if (cursor < length) move_to(cursor + 1); break;
      case CTRL_B: if (cursor) move_to(cursor - 1); break;
      case CTRL_A: move_to(0); break;
      case CTRL_E: move_to(length); break;
      case CTRL_D: erase_forward(); break;
      case CTRL_U: erase_back_to(0); break;
      case CTRL_W: erase_back_to(word_start()); break;
      case BACKSPACE:
      case DELETE: if (cursor) erase_back_to(cursor - 1); break;
      case CTRL_L:
        print("\x1b[H\x1b[2J%s", prompt);
        redraw(0);
        break;
      default:
        if (c >= 0x20 && c < 0x7f) insert(c);
        break;
    }
  }
}
