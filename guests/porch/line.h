/* A line editor for a VT100: cursor keys, history, Backspace, Ctrl-U, Ctrl-W, Ctrl-C. */
#pragma once

#define LINE_LENGTH 128

/* Asks with `prompt` and gives the line without its end; empty after Ctrl-C. */
const char *line_read(const char *prompt);
